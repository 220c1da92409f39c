// Softmax of rows of any length, a block each.
#include "kernel.cuh"

struct SoftmaxArgs {
    const float *x; // [rows, columns]
    void *out;      // the same
    uint64_t columns;
};

constexpr unsigned THREADS = 256;
constexpr unsigned WARPS = THREADS / WARP;

// The largest of a maximum and its sum of exponentials, merged with another such pair. NaN stays NaN: it is in the sum.
struct Running {
    float most, sum;
};

__device__ inline Running merged(Running a, Running b) {
    float most = fmaxf(a.most, b.most);
    // Where nothing was seen there is nothing to weigh; and -inf - -inf would be NaN.
    float of_a = a.sum == 0.f ? 0.f : a.sum * expf(a.most - most);
    float of_b = b.sum == 0.f ? 0.f : b.sum * expf(b.most - most);
    return {most, of_a + of_b};
}

template <typename Out> __device__ inline void softmax(const SoftmaxArgs &a) {
    const float *x = a.x + blockIdx.x * a.columns;
    Running own = {-INFINITY, 0.f};
    for (uint64_t i = threadIdx.x; i < a.columns; i += THREADS) own = merged(own, {x[i], 1.f});
#pragma unroll
    for (unsigned step = WARP / 2; step > 0; step /= 2)
        own = merged(own, {__shfl_xor_sync(FULL, own.most, step), __shfl_xor_sync(FULL, own.sum, step)});
    SHARED(float, most, WARPS);
    SHARED(float, sum, WARPS);
    if (threadIdx.x % WARP == 0) {
        most[threadIdx.x / WARP] = own.most;
        sum[threadIdx.x / WARP] = own.sum;
    }
    __syncthreads();
    Running all = {most[0], sum[0]};
#pragma unroll
    for (unsigned i = 1; i < WARPS; i++) all = merged(all, {most[i], sum[i]});
    Out *out = static_cast<Out *>(a.out) + blockIdx.x * a.columns;
    for (uint64_t i = threadIdx.x; i < a.columns; i += THREADS)
        out[i] = from_float<Out>(expf(x[i] - all.most) / all.sum);
}

KERNEL(THREADS, SoftmaxArgs, softmax_f32) { softmax<float>(a); }
KERNEL(THREADS, SoftmaxArgs, softmax_f16) { softmax<f16>(a); }
KERNEL(THREADS, SoftmaxArgs, softmax_bf16) { softmax<bf16>(a); }
