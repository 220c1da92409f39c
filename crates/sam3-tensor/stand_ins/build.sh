#!/usr/bin/env bash
# Builds libcuda.so.1 and libcublasLt.so.13 for machines without a GPU into a folder, for LD_LIBRARY_PATH: see cuda.cpp.
#
#   crates/sam3-tensor/stand_ins/build.sh FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
flags=(-std=c++17 -O2 -fPIC -shared -pthread -fno-strict-aliasing -ffp-contract=off -Wall -Wextra -Werror -Wno-unknown-pragmas)
# Names that two libraries of the same headers share must not become one.
flags+=(-fvisibility=hidden -fno-gnu-unique)
"${CXX:-c++}" "${flags[@]}" -Wl,-soname,libcuda.so.1 -o "$1/libcuda.so.1" "$here/cuda.cpp" &
"${CXX:-c++}" "${flags[@]}" -Wl,-soname,libcublasLt.so.13 -o "$1/libcublasLt.so.13" "$here/cublaslt.cpp" -ldl
wait $!
