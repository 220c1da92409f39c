// A coarse map upsampled to its nearest neighbours and added to a fine one.
#include "kernel.cuh"

struct UpsampleArgs {
    const float *x, *level; // [h, w, channels] and [height, width, channels]
    void *out;              // as `level`
    uint32_t h, w, height, width, channels;
    uint32_t total;         // values of `out`; a multiple of VEC, as is `channels`
};

constexpr unsigned THREADS = 256;

template <typename Out, int VEC> __device__ inline void upsample_add(const UpsampleArgs &a) {
    uint32_t i = (blockIdx.x * THREADS + threadIdx.x) * VEC;
    if (i >= a.total) return;
    uint32_t pixel = i / a.channels, channel = i % a.channels, y = pixel / a.width, x = pixel % a.width;
    uint32_t from = y * a.h / a.height * a.w + x * a.w / a.width;
    Pack<float, VEC> coarse = load<VEC>(a.x + static_cast<size_t>(from) * a.channels + channel), fine = load<VEC>(a.level + i);
    Pack<Out, VEC> sum;
#pragma unroll
    for (int j = 0; j < VEC; j++) sum.at[j] = from_float<Out>(coarse.at[j] + fine.at[j]);
    store(static_cast<Out *>(a.out) + i, sum);
}

KERNEL(THREADS, UpsampleArgs, upsample_add_f32) { upsample_add<float, 1>(a); }
KERNEL(THREADS, UpsampleArgs, upsample_add_f16) { upsample_add<f16, 1>(a); }
KERNEL(THREADS, UpsampleArgs, upsample_add_bf16) { upsample_add<bf16, 1>(a); }
KERNEL(THREADS, UpsampleArgs, upsample_add_vectors_f32) { upsample_add<float, 4>(a); }
KERNEL(THREADS, UpsampleArgs, upsample_add_vectors_f16) { upsample_add<f16, 4>(a); }
KERNEL(THREADS, UpsampleArgs, upsample_add_vectors_bf16) { upsample_add<bf16, 4>(a); }
