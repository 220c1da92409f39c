#!/usr/bin/env bash
# The wheel sam3-edge, for Python 3.10 and later:
#
#   tools/wheel.sh FOLDER --program sam3       for this machine, with that program, linked with this machine's glibc
#   tools/wheel.sh FOLDER --machine x86_64     to release: glibc 2.28 or later (manylinux_2_28), CUDA in module and program
#   tools/wheel.sh FOLDER --machine aarch64    the same for a Jetson, JetPack 5 and later
#
# Needs maturin on the PATH; for --machine also `ziglang` and `cargo-zigbuild` of PyPI, whose linker knows every glibc. CARGO_TARGET_DIR keeps
# what is built.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
how=$2 what=$3
cd "$root/crates/sam3-python"
data=sam3_edge.data/scripts
trap 'rm -rf "$root/crates/sam3-python/sam3_edge.data"' EXIT
mkdir -p "$data"

case $how in
--program)
    cp "$what" "$data/sam3"
    maturin build --release --out "$out" --compatibility linux
    ;;
--machine)
    rustup target add "$what-unknown-linux-gnu"
    # As tools/dist.sh makes them.
    export SAM3_KERNELS=${XDG_CACHE_HOME:-$HOME/.cache}/sam3-ci/dist-kernels
    [ -e "$SAM3_KERNELS" ] || python3 "$root/tools/kernels.py" "$SAM3_KERNELS" --cache "${SAM3_KERNELS%/*}"
    (cd "$root" && CARGO_PROFILE_RELEASE_STRIP=symbols cargo zigbuild --locked --release -p sam3-cli --features cuda \
        --target "$what-unknown-linux-gnu.2.28")
    cp "${CARGO_TARGET_DIR:-$root/target}/$what-unknown-linux-gnu/release/sam3" "$data"
    maturin build --release --zig --target "$what-unknown-linux-gnu" --features cuda --out "$out" \
        --compatibility manylinux_2_28
    ;;
*)
    echo "expected --program or --machine, found $how" >&2
    exit 2
    ;;
esac
