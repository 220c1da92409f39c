#!/usr/bin/env bash
# A CUDA 13.0 toolkit from PyPI's wheels, without root and without a GPU: enough to compile kernels and to build and
# link `--features cuda`. Prints what to export:
#
#   eval "$(tools/cuda_toolkit.sh)"                   into ${XDG_CACHE_HOME:-~/.cache}/sam3-ci/cuda-13.0
#   eval "$(tools/cuda_toolkit.sh FOLDER)"
#
# Needs Python's pip (or PYTHON naming a Python that has it), a C compiler, and 1 GB of disk; x86-64 Linux only, since
# other machines with a GPU have NVIDIA's own toolkit. CUDA_COMPUTE_CAP stays as it was set, else 87, a Jetson Orin's.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/sam3-ci/cuda-13.0}
wheels=$here/cuda_toolkit.txt

say() { printf 'cuda_toolkit: %s\n' "$*" >&2; }

die() {
    say "$@"
    exit 1
}

# pip checks each wheel's SHA-256.
fetch() {
    rm -rf "$1"
    "${PYTHON:-python3}" -m pip install --quiet --disable-pip-version-check --no-input --no-cache-dir --no-compile --no-deps \
        --only-binary :all: --require-hashes --target "$1" -r "$wheels" >&2
}

# `-lcublas` wants libcublas.so; the wheels hold libcublas.so.13.
link_unversioned() {
    local library
    for library in "$1"/lib*.so.*; do
        ln -sf "$(basename "$library")" "${library%%.so.*}.so"
    done
}

# The driver's library is on machines with a GPU only: here a stub with every name of cuda.h, each of which answers
# "this is a stub" (CUDA_ERROR_STUB_LIBRARY), as the full toolkit's stub does.
make_stub() {
    mkdir -p "$2"
    grep -oE '\bcu[A-Z][A-Za-z0-9_]*' "$1/include/cuda.h" | sort -u | grep -vE '_(enum|st|t)$' |
        sed 's/.*/int &(void) { return 34; }/' >"$2/stub.c"
    cc -shared -fPIC -w -Wl,-soname,libcuda.so.1 -o "$2/libcuda.so.1" "$2/stub.c"
    ln -sf libcuda.so.1 "$2/libcuda.so"
    rm "$2/stub.c"
}

# A kernel to machine code, and a program to each library that ours is linked with.
verify() {
    local scratch
    scratch=$(mktemp -d)
    printf '__global__ void twice(float *x) { x[threadIdx.x] *= 2.f; }\n' >"$scratch/twice.cu"
    "$1/bin/nvcc" -arch=sm_87 -cubin -o "$scratch/twice.cubin" "$scratch/twice.cu" >&2 || die "$1/bin/nvcc compiles nothing"
    printf 'int cuInit(void), cublasCreate_v2(void), curandCreateGenerator(void), nvrtcVersion(void), cudaMalloc(void);\n' >"$scratch/all.c"
    printf 'int main(void) { return cuInit() + cublasCreate_v2() + curandCreateGenerator() + nvrtcVersion() + cudaMalloc(); }\n' \
        >>"$scratch/all.c"
    cc -w -o "$scratch/all" "$scratch/all.c" -L"$1/lib" -L"$1/lib/stubs" -lcuda -lcublas -lcublasLt -lcurand -lnvrtc -lcudart \
        -Wl,--allow-shlib-undefined >&2 || die "$1/lib lacks a library"
    rm -rf "$scratch"
}

stamp=$home/.complete
if ! cmp -s "$wheels" "$stamp"; then
    [ "$(uname -sm)" = "Linux x86_64" ] || die "the wheels in $wheels are for x86-64 Linux; install NVIDIA's toolkit 12.6 or 13.0"
    say "into $home (0.7 GB to fetch)"
    fresh=$home.$$
    trap 'rm -rf "$fresh"' EXIT
    fetch "$fresh"
    toolkit=$fresh/nvidia/cu13
    link_unversioned "$toolkit/lib"
    make_stub "$toolkit" "$toolkit/lib/stubs"
    ln -s lib "$toolkit/lib64"
    verify "$toolkit"
    cp "$wheels" "$toolkit/.complete"
    rm -rf "$home"
    mkdir -p "$(dirname "$home")"
    mv "$toolkit" "$home"
fi
"$home/bin/nvcc" --version | tail -2 | head -1 >&2

printf 'export CUDA_HOME=%q CUDA_PATH=%q\n' "$home" "$home"
printf 'export PATH=%q:$PATH\n' "$home/bin"
printf 'export LIBRARY_PATH=%q:%q${LIBRARY_PATH:+:$LIBRARY_PATH}\n' "$home/lib" "$home/lib/stubs"
printf 'export CUDA_COMPUTE_CAP=%q\n' "${CUDA_COMPUTE_CAP:-87}"
