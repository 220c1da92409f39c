#!/usr/bin/env bash
# What an x86-64 Debian needs to build for aarch64 Linux and to run that under emulation, out of Debian's own packages,
# unpacked into a folder: no root, nothing installed. Prints what to export; cargo then builds, tests and runs with
# `--target`:
#
#   eval "$(tools/aarch64_toolchain.sh)"              into ${XDG_CACHE_HOME:-~/.cache}/sam3-ci/aarch64
#   eval "$(tools/aarch64_toolchain.sh FOLDER)"
#   cargo test --target aarch64-unknown-linux-gnu …
#   FOLDER/bin/clippy-driver …
#
# Where rustup can be reached, `rustup target add aarch64-unknown-linux-gnu` is the shorter way to the same. Here Rust
# is `rustc-web`, which Debian keeps new enough for its browsers, with the standard libraries of both machines; cargo is
# yours. Needs Debian 12 or later with its security updates among apt's sources, a C compiler, and 1 GB of disk.
# QEMU_CPU is the CPU to be emulated: `max` when unset.
set -euo pipefail

home=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/sam3-ci/aarch64}
target=aarch64-unknown-linux-gnu

say() { printf 'aarch64_toolchain: %s\n' "$*" >&2; }

die() {
    say "$@"
    exit 1
}

. "$(dirname "$0")/apt.bash"

# What this machine installs Debian's packages from.
sources() {
    local sources=/etc/apt/sources.list.d/debian.sources
    [ -e "$sources" ] || sources=/etc/apt/sources.list
    echo "$sources"
}

# The names that carry versions are found by following what is depended on. The host's C library, compiler and linker
# are those installed.
packages() {
    echo "libstd-rust-web-dev:arm64"
    apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
        rustc-web rust-web-clippy gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static |
        grep -xE 'rustc-web|rust-web-clippy|libstd-rust-web-[a-z0-9.]+|libllvm[0-9]+|libz3-4|libedit2|binutils-aarch64-linux-gnu|gcc-[0-9]+-aarch64-linux-gnu|(libgcc|libc6)-.*arm64-cross|qemu-user(-static)?' |
        sort -u
}

fetch() {
    local package
    mkdir "$1/debs"
    (cd "$1/debs" && packages | xargs apt-get -q download >&2)
    for package in "$1"/debs/*.deb; do
        dpkg-deb --extract "$package" "$1"
    done
    rm -r "$1/debs"
    # Emulators of other machines, compilers proper (only the linker is called) and documents: half of it.
    find "$1/usr" \( -name 'qemu-*' ! -name 'qemu-aarch64*' -o -name lto1 -o -name 'lto-dump*' -o -path '*/share/*' \) -type f -delete
}

# Programs that find what they need beside themselves, so that nothing else of the environment is changed.
wrap() {
    local gcc qemu
    gcc=$(cd "$1/usr/bin" && ls aarch64-linux-gnu-gcc-[0-9]*)
    qemu=$(cd "$1/usr/bin" && ls qemu-aarch64-static 2>/dev/null || echo qemu-aarch64)
    mkdir "$1/bin"
    cat >"$1/bin/within" <<'WITHIN'
#!/bin/sh
home=${0%/*}/..
LD_LIBRARY_PATH=$home/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LD_LIBRARY_PATH
WITHIN
    { cat "$1/bin/within" && echo 'exec "$home/usr/bin/rustc" "$@"'; } >"$1/bin/rustc"
    { cat "$1/bin/within" && echo 'exec "$home/usr/bin/clippy-driver" --sysroot "$home/usr" "$@"'; } >"$1/bin/clippy-driver"
    { cat "$1/bin/within" && echo 'exec "$home/usr/bin/'"$gcc"'" --sysroot="$home" "$@"'; } >"$1/bin/cc"
    cat >"$1/bin/emulate" <<EMULATE
#!/bin/sh
home=\${0%/*}/..
QEMU_CPU=\${QEMU_CPU:-max} QEMU_LD_PREFIX=\$home/usr/aarch64-linux-gnu exec "\$home/usr/bin/$qemu" "\$@"
EMULATE
    rm "$1/bin/within"
    chmod +x "$1"/bin/*
}

# A program that is built, linked and run.
verify() {
    echo 'fn main() { println!("{}", std::env::consts::ARCH) }' >"$1/hello.rs"
    "$1/bin/rustc" --target $target -C linker="$1/bin/cc" -o "$1/hello" "$1/hello.rs" >&2 || die "$1 builds nothing"
    [ "$("$1/bin/emulate" "$1/hello")" = aarch64 ] || die "$1 runs nothing"
    rm "$1/hello" "$1/hello.rs"
}

stamp=$home/.complete
if ! cmp -s "$0" "$stamp"; then
    [ "$(uname -sm)" = "Linux x86_64" ] || die "the packages are for x86-64 Linux"
    command -v apt-get >/dev/null || die "apt-get is needed, and Debian's packages"
    say "into $home (0.2 GB to fetch)"
    fresh=$home.$$
    trap 'rm -rf "$fresh"' EXIT
    mkdir -p "$fresh"
    configure_apt "$fresh/apt" "$(sources)"
    fetch "$fresh"
    wrap "$fresh"
    verify "$fresh"
    rm -r "$fresh/apt"
    cp "$0" "$fresh/.complete"
    rm -rf "$home"
    mv "$fresh" "$home"
fi
"$home/bin/rustc" --version >&2

printf 'export RUSTC=%q\n' "$home/bin/rustc"
printf 'export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=%q\n' "$home/bin/cc"
printf 'export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=%q\n' "$home/bin/emulate"
