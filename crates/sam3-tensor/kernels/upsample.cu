// A coarse map upsampled to its nearest neighbours and added to some rows of a fine one.
#include "kernel.cuh"

struct UpsampleArgs {
    const float *x;    // [h, w, channels]
    const void *level; // [height, width, channels]
    void *out;         // rows of `level` from `first` on
    uint32_t h, w, height, width, channels;
    uint32_t total;         // values of `out`; a multiple of VEC, as is `channels`
    uint32_t first, unused;
};

constexpr unsigned THREADS = 256;

template <typename Level, typename Out, int VEC> __device__ inline void upsample_add(const UpsampleArgs &a) {
    uint32_t i = (blockIdx.x * THREADS + threadIdx.x) * VEC;
    if (i >= a.total) return;
    uint32_t pixel = i / a.channels, channel = i % a.channels, y = a.first + pixel / a.width, x = pixel % a.width;
    uint32_t from = y * a.h / a.height * a.w + x * a.w / a.width;
    const Level *level = static_cast<const Level *>(a.level) + static_cast<size_t>(a.first) * a.width * a.channels;
    Pack<float, VEC> coarse = load<VEC>(a.x + static_cast<size_t>(from) * a.channels + channel);
    Pack<Level, VEC> fine = load<VEC>(level + i);
    Pack<Out, VEC> sum;
#pragma unroll
    for (int j = 0; j < VEC; j++) sum.at[j] = from_float<Out>(coarse.at[j] + to_float(fine.at[j]));
    store(static_cast<Out *>(a.out) + i, sum);
}

#define UPSAMPLES(from, From, to, To)                                                                                             \
    KERNEL(THREADS, UpsampleArgs, upsample_add_##from##_##to) { upsample_add<From, To, 1>(a); }                                   \
    KERNEL(THREADS, UpsampleArgs, upsample_add_vectors_##from##_##to) { upsample_add<From, To, 4>(a); }

EACH_PAIR(UPSAMPLES)
