# Sourced: apt with lists of its own, which have the packages of both machines, and nothing of the system's changed.

# configure_apt FOLDER SOURCES: keeps apt's state in FOLDER, and takes packages from what the file SOURCES names.
configure_apt() {
    mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
    : >"$1/status"
    cat >"$1/apt.conf" <<CONF
APT::Architectures { "amd64"; "arm64"; };
APT::Sandbox::User "";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Languages "none";
Dir::Etc::sourcelist "$2";
Dir::Etc::sourceparts "-";
Dir::State "$1";
Dir::State::lists "$1/lists";
Dir::State::status "$1/status";
Dir::Cache "$1/cache";
CONF
    export APT_CONFIG=$1/apt.conf
    apt-get -q update >&2
}
