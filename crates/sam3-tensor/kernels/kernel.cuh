// What every kernel here starts from: how one is declared, and numbers of three types.
//
// A kernel takes one struct by value, whose fields its wrapper in src/ repeats in the same order. The same sources also
// compile as C++ (see emulation.h), which is how their indexing is tested on machines without a GPU.
#pragma once

#ifdef __CUDACC__

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

// KERNEL(most threads of a block, arguments, name) { uses `a` }
#define KERNEL(threads, Args, name) extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Args a)
#define SHARED(type, name, count) __shared__ __align__(16) type name[count]

#else
#include "emulation.h"
#endif

using f16 = __half;
using bf16 = __nv_bfloat16;

constexpr unsigned WARP = 32;
constexpr unsigned FULL = 0xffffffff;

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(f16 x) { return __half2float(x); }
__device__ inline float to_float(bf16 x) { return __bfloat162float(x); }

template <typename T> __device__ inline T from_float(float x);
template <> __device__ inline float from_float<float>(float x) { return x; }
template <> __device__ inline f16 from_float<f16>(float x) { return __float2half_rn(x); }
template <> __device__ inline bf16 from_float<bf16>(float x) { return __float2bfloat16_rn(x); }

// N neighbouring values, moved as one when they are 4, 8 or 16 bytes; the address must be a multiple of that.
template <typename T, int N> struct alignas(sizeof(T) * N) Pack {
    T at[N];
};

template <int N, typename T> __device__ inline Pack<T, N> load(const T *from) {
    return *reinterpret_cast<const Pack<T, N> *>(from);
}

template <int N, typename T> __device__ inline void store(T *to, const Pack<T, N> &values) {
    *reinterpret_cast<Pack<T, N> *>(to) = values;
}

// max(x, 0), of which NaN stays NaN: fmaxf would make 0 of it.
__device__ inline float relu(float x) { return x < 0.f ? 0.f : x; }

// Sum over a warp, for all of its lanes.
__device__ inline float warp_sum(float x) {
#pragma unroll
    for (unsigned step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(FULL, x, step);
    return x;
}

// OF(name, type, name, type) for each pair of types that a kernel may read and write.
#define EACH_PAIR(OF)                                                                                                             \
    OF(f32, float, f32, float)                                                                                                    \
    OF(f32, float, f16, f16)                                                                                                      \
    OF(f32, float, bf16, bf16)                                                                                                    \
    OF(f16, f16, f32, float)                                                                                                      \
    OF(f16, f16, f16, f16)                                                                                                        \
    OF(f16, f16, bf16, bf16)                                                                                                      \
    OF(bf16, bf16, f32, float)                                                                                                    \
    OF(bf16, bf16, f16, f16)                                                                                                      \
    OF(bf16, bf16, bf16, bf16)
