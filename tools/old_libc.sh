#!/usr/bin/env bash
# The C library of Debian 11 (glibc 2.31) to link with, for x86-64 and aarch64, out of Debian's packages, unpacked into
# a folder: no root, nothing installed. A program linked with it starts where glibc is 2.31 or later: Ubuntu 20.04,
# JetPack 5, Debian 11.
#
#   eval "$(tools/old_libc.sh)"                       into ${XDG_CACHE_HOME:-~/.cache}/sam3-ci/glibc-2.31
#   eval "$(tools/old_libc.sh FOLDER)"
#   cargo build --target x86_64-unknown-linux-gnu …
#   cargo build --target aarch64-unknown-linux-gnu …
#
# Prints what to export: for each target a linker that finds this library, and no other. Call tools/aarch64_toolchain.sh
# before, for Rust's standard libraries and the linker of aarch64. Needs apt with a mirror of Debian among its sources,
# and 60 MB of disk.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/sam3-ci/glibc-2.31}
suite=bullseye
# GCC 12's libgcc_s wants a later C library than this one: that of the same Debian goes with it.
packages=(libc6 libc6-dev libgcc-s1 libgcc-10-dev)

say() { printf 'old_libc: %s\n' "$*" >&2; }

die() {
    say "$@"
    exit 1
}

. "$here/apt.bash"

# The mirror that this machine installs Debian from.
mirror() {
    local sources=/etc/apt/sources.list.d/debian.sources
    if [ -e "$sources" ]; then
        awk '$1 == "URIs:" { print $2; exit }' "$sources"
    else
        awk '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i ~ /^[a-z]+:\/\//) { print $i; exit } }' /etc/apt/sources.list
    fi
}

fetch() {
    local uri package machine deb
    uri=$(mirror)
    [ -n "$uri" ] || die "no mirror of Debian is among apt's sources"
    mkdir -p "$1/apt" "$1/debs"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" >"$1/apt/sources.list"
    configure_apt "$1/apt" "$1/apt/sources.list"
    for machine in amd64 arm64; do
        (cd "$1/debs" && printf "%s:$machine\n" "${packages[@]}" | xargs apt-get -q download >&2)
        for deb in "$1"/debs/*_"$machine".deb; do
            dpkg-deb --extract "$deb" "$1/$machine"
        done
        # A link to /lib/… would lead to the library of the machine that builds.
        find "$1/$machine" -type l -lname '/*' | while read -r link; do
            ln -sf "$1/$machine$(readlink "$link")" "$link"
        done
        rm -rf "$1/$machine/usr/share" "$1/$machine/usr/include"
    done
    rm -r "$1/apt" "$1/debs"
}

# A linker for a target: Debian's name of the machine, its compiler, which calls the linker proper.
wrap() {
    local triple=$2-linux-gnu
    cat >"$1/$2-cc" <<WRAP
#!/bin/sh
root=\${0%/*}/$3
exec $4 --sysroot="\$root" -B"\$root/usr/lib/$triple" -L"\$root/usr/lib/gcc/$triple/10" \\
    -L"\$root/usr/lib/$triple" -L"\$root/lib/$triple" "\$@"
WRAP
    chmod +x "$1/$2-cc"
}

# Before it is moved: links are relative to where it will be.
prepare() {
    fetch "$1"
    find "$1" -type l -lname "$1/*" | while read -r link; do
        ln -sfr "$(readlink "$link")" "$link"
    done
    wrap "$1" x86_64 amd64 cc
    wrap "$1" aarch64 arm64 "${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:-aarch64-linux-gnu-gcc}"
}

stamp=$home/.complete
key=$(cat "$0" && printf '%s' "${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:-}")
# Called twice, it would call itself.
[ "${CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER:-}" != "$home/aarch64-cc" ] || key=$(cat "$stamp")
if [ "$key" != "$(cat "$stamp" 2>/dev/null)" ]; then
    command -v apt-get >/dev/null || die "apt-get is needed, and Debian's packages"
    say "into $home (10 MB to fetch, and Debian's lists)"
    fresh=$home.$$
    trap 'rm -rf "$fresh"' EXIT
    mkdir -p "$fresh"
    prepare "$fresh"
    printf '%s' "$key" >"$fresh/.complete"
    rm -rf "$home"
    mv "$fresh" "$home"
fi

printf 'export CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=%q\n' "$home/x86_64-cc"
printf 'export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=%q\n' "$home/aarch64-cc"
