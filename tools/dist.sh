#!/usr/bin/env bash
# The released files, from Debian's and PyPI's packages alone, without root and without a GPU, on x86-64 Debian 12 or
# later:
#
#   tools/dist.sh                     dist/sam3-VERSION-{x86_64,aarch64}-linux.tar.gz and dist/SHA256SUMS
#   tools/dist.sh FOLDER              there, and not in dist/
#   tools/dist.sh FOLDER aarch64      for that machine alone
#
# Each archive holds the program with CUDA in it, man pages, completions of shells, documents, licences and install.sh.
# The same commit gives the same bytes: SOURCE_DATE_EPOCH is the commit's time unless it is set. What is fetched and
# built is kept in ${XDG_CACHE_HOME:-~/.cache}/sam3-ci; PYTHON names a Python with pip. Ends with 1 where a program
# wants more of the system than it may.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/sam3-ci
out=$(mkdir -p "${1:-$root/dist}" && cd "${1:-$root/dist}" && pwd)
machines=("${@:2}")
[ ${#machines[@]} -gt 0 ] || machines=(x86_64 aarch64)
python=${PYTHON:-python3}
newest_glibc=GLIBC_2.31
cd "$root"

say() { printf 'dist: %s\n' "$*" >&2; }

die() {
    say "$@"
    exit 1
}

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# For every card; minutes, so once for the same sources.
kernels() {
    local key
    key=$(cat tools/kernels.py tools/kernels_*.txt crates/sam3-tensor/kernels/* | sha256sum)
    if [ "$key" != "$(cat "$cache/dist-kernels/.made" 2>/dev/null)" ]; then
        rm -rf "$cache/dist-kernels"
        "$python" tools/kernels.py "$cache/dist-kernels" --cache "$cache" >&2
        printf '%s\n' "$key" >"$cache/dist-kernels/.made"
    fi
}

build() {
    local flags=(
        # Nothing of this machine's folders is in the program.
        "--remap-path-prefix=$root=sam3"
        "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
        "--remap-path-prefix=$cache=cache"
        # A build ID would be of the linker's command line.
        "-Clink-arg=-Wl,--build-id=none"
    )
    (
        IFS=$'\x1f'
        CARGO_ENCODED_RUSTFLAGS="${flags[*]}"
        export CARGO_ENCODED_RUSTFLAGS CARGO_PROFILE_RELEASE_STRIP=symbols
        export SAM3_KERNELS=$cache/dist-kernels CARGO_TARGET_DIR=$cache/dist-target
        cargo build --locked --release -p sam3-cli --features cuda,manual --target "$1-unknown-linux-gnu"
    )
}

# What a program wants of the system: a C library of that age, and no other library.
check() {
    local newest
    if readelf --wide --dynamic "$1" | grep NEEDED | grep -vE '\[lib(c|m|dl|pthread|gcc_s)\.so\.[0-9]+\]|\[ld-linux'; then
        die "$1 wants a library that not every system has"
    fi
    if readelf --wide --dynamic "$1" | grep -E 'R(UN)?PATH'; then
        die "$1 looks for libraries in a folder of this machine"
    fi
    newest=$(readelf --wide --version-info "$1" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -1)
    say "$1 wants $newest"
    [ "$(printf '%s\n' "$newest" "$newest_glibc" | sort -V | tail -1)" = "$newest_glibc" ] || die "at most $newest_glibc is allowed"
    if grep -aqF -e "$root/" -e "$HOME/" "$1"; then
        die "$1 names a folder of this machine"
    fi
}

# Runs a program for a machine: here, or emulated.
run_on() {
    local machine=$1
    shift
    if [ "$machine" = "$(uname -m)" ]; then "$@"; else "$CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER" "$@"; fi
}

pack() {
    local machine=$1 name=sam3-$version-$1-linux
    local folder=$scratch/$name
    mkdir -p "$folder/docs"
    cp "$cache/dist-target/$machine-unknown-linux-gnu/release/sam3" "$folder/sam3"
    check "$folder/sam3"
    run_on "$machine" "$folder/sam3" manual "$folder"
    cp README.md CHANGELOG.md THIRD_PARTY.md LICENSE-MIT LICENSE-APACHE tools/dist/install.sh "$folder"
    cp docs/*.md docs/*.png "$folder/docs"
    "$python" tools/dist/licenses.py --target "$machine-unknown-linux-gnu" >"$folder/LICENSE-program.txt"
    tar --create --directory "$scratch" --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner \
        --mode=u=rwX,go=rX "$name" | gzip -9 --no-name >"$out/$name.tar.gz"
    rm -rf "$folder"
}

kernels
environment=$(tools/aarch64_toolchain.sh "$cache/aarch64")
eval "$environment"
environment=$(tools/old_libc.sh "$cache/glibc-2.31")
eval "$environment"
for machine in "${machines[@]}"; do
    say "building for $machine"
    build "$machine"
    pack "$machine"
done
(cd "$out" && sha256sum sam3-"$version"-*-linux.tar.gz >SHA256SUMS && cat SHA256SUMS)
