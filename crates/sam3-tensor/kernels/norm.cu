// LayerNorm of rows, and GroupNorm with ReLU of a map; both find mean and variance in two passes, in f32.
#include "kernel.cuh"

struct LayerNormArgs {
    const void *x;
    const float *weight, *bias;
    void *out;
    uint32_t rows, width;
    float eps;
    uint32_t unused;
};

// 1 / √(variance + eps). NaN where the variance is beyond f32's range: 0, its reciprocal, would make finite values of
// any.
__device__ inline float inverse_deviation(float variance, float eps) {
    return variance < INFINITY ? rsqrtf(variance + eps) : NAN;
}

constexpr unsigned WARPS = 4;
constexpr unsigned VECTOR = 4;
constexpr unsigned IN_REGISTERS = 8; // vectors of a lane

// A warp normalises a row of up to 32 × 4 × 8 values, a multiple of 4, which it keeps in registers.
template <typename T, typename Out> __device__ inline void layer_norm_vectors(const LayerNormArgs &a) {
    uint32_t row = blockIdx.x * WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= a.rows) return;
    const T *x = static_cast<const T *>(a.x) + static_cast<size_t>(row) * a.width;
    float values[IN_REGISTERS][VECTOR];
    float sum = 0.f;
#pragma unroll
    for (unsigned i = 0; i < IN_REGISTERS; i++) {
        uint32_t column = (i * WARP + lane) * VECTOR;
        Pack<T, VECTOR> read = {};
        if (column < a.width) read = load<VECTOR>(x + column);
#pragma unroll
        for (unsigned j = 0; j < VECTOR; j++) sum += values[i][j] = to_float(read.at[j]);
    }
    float mean = warp_sum(sum) / a.width, squares = 0.f;
#pragma unroll
    for (unsigned i = 0; i < IN_REGISTERS; i++)
#pragma unroll
        for (unsigned j = 0; j < VECTOR; j++)
            if ((i * WARP + lane) * VECTOR < a.width) squares += (values[i][j] - mean) * (values[i][j] - mean);
    float scale = inverse_deviation(warp_sum(squares) / a.width, a.eps);
    Out *out = static_cast<Out *>(a.out) + static_cast<size_t>(row) * a.width;
#pragma unroll
    for (unsigned i = 0; i < IN_REGISTERS; i++) {
        uint32_t column = (i * WARP + lane) * VECTOR;
        if (column >= a.width) break;
        Pack<float, VECTOR> weight = load<VECTOR>(a.weight + column), bias = load<VECTOR>(a.bias + column);
        Pack<Out, VECTOR> written;
#pragma unroll
        for (unsigned j = 0; j < VECTOR; j++)
            written.at[j] = from_float<Out>((values[i][j] - mean) * scale * weight.at[j] + bias.at[j]);
        store(out + column, written);
    }
}

// The same for rows of any width.
template <typename T, typename Out> __device__ inline void layer_norm_any(const LayerNormArgs &a) {
    uint32_t row = blockIdx.x * WARPS + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (row >= a.rows) return;
    const T *x = static_cast<const T *>(a.x) + static_cast<size_t>(row) * a.width;
    float sum = 0.f, squares = 0.f;
    for (uint32_t i = lane; i < a.width; i += WARP) sum += to_float(x[i]);
    float mean = warp_sum(sum) / a.width;
    for (uint32_t i = lane; i < a.width; i += WARP) squares += (to_float(x[i]) - mean) * (to_float(x[i]) - mean);
    float scale = inverse_deviation(warp_sum(squares) / a.width, a.eps);
    Out *out = static_cast<Out *>(a.out) + static_cast<size_t>(row) * a.width;
    for (uint32_t i = lane; i < a.width; i += WARP)
        out[i] = from_float<Out>((to_float(x[i]) - mean) * scale * a.weight[i] + a.bias[i]);
}

struct GroupStatisticsArgs {
    const void *x;
    float *parts; // [blocks, groups, 2]: mean and sum of squared distances from it
    uint32_t pixels, channels, groups, each; // pixels of a block
};

constexpr unsigned THREADS = 256;

// A block's sum, for all of its threads.
__device__ inline float block_sum(float x) {
    SHARED(float, sums, THREADS / WARP);
    x = warp_sum(x);
    __syncthreads(); // the last sum has been read
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = x;
    __syncthreads();
    float total = 0.f;
#pragma unroll
    for (unsigned i = 0; i < THREADS / WARP; i++) total += sums[i];
    return total;
}

// Mean and squares of one group in some pixels.
template <typename T> __device__ inline void group_statistics(const GroupStatisticsArgs &a) {
    uint32_t group = blockIdx.y, size = a.channels / a.groups, first = blockIdx.x * a.each;
    uint32_t count = min(a.each, a.pixels - first) * size;
    const T *x = static_cast<const T *>(a.x) + static_cast<size_t>(first) * a.channels + group * size;
    float sum = 0.f, squares = 0.f;
    for (uint32_t i = threadIdx.x; i < count; i += THREADS) sum += to_float(x[i / size * a.channels + i % size]);
    float mean = block_sum(sum) / count;
    for (uint32_t i = threadIdx.x; i < count; i += THREADS) {
        float distance = to_float(x[i / size * a.channels + i % size]) - mean;
        squares += distance * distance;
    }
    squares = block_sum(squares);
    if (threadIdx.x == 0) {
        float *part = a.parts + (static_cast<size_t>(blockIdx.x) * a.groups + group) * 2;
        part[0] = mean;
        part[1] = squares;
    }
}

struct GroupMergeArgs {
    const float *parts, *weight, *bias;
    float *scale, *shift; // [channels]
    uint32_t count, pixels, channels, groups, each;
    float eps;
};

// All parts of a group to what each of its channels is multiplied with and moved by.
KERNEL(THREADS, GroupMergeArgs, group_norm_merge) {
    uint32_t group = blockIdx.x, size = a.channels / a.groups;
    float sum = 0.f, squares = 0.f;
    for (uint32_t i = threadIdx.x; i < a.count; i += THREADS) {
        uint32_t pixels = min(a.each, a.pixels - i * a.each);
        sum += a.parts[(i * a.groups + group) * 2] * pixels;
    }
    float mean = block_sum(sum) / a.pixels;
    for (uint32_t i = threadIdx.x; i < a.count; i += THREADS) {
        uint32_t pixels = min(a.each, a.pixels - i * a.each);
        const float *part = a.parts + (i * a.groups + group) * 2;
        squares += part[1] + (part[0] - mean) * (part[0] - mean) * (static_cast<float>(pixels) * size);
    }
    float variance = block_sum(squares) / (static_cast<float>(a.pixels) * size), scale = inverse_deviation(variance, a.eps);
    for (uint32_t i = group * size + threadIdx.x; i < (group + 1) * size; i += THREADS) {
        a.scale[i] = scale * a.weight[i];
        a.shift[i] = a.bias[i] - mean * scale * a.weight[i];
    }
}

struct GroupApplyArgs {
    const void *x;
    const float *scale, *shift;
    void *out;
    uint32_t total, channels; // values; a multiple of VEC
};

// relu(x × scale + shift), VEC values a thread.
template <typename T, typename Out, int VEC> __device__ inline void group_apply(const GroupApplyArgs &a) {
    uint32_t i = (blockIdx.x * THREADS + threadIdx.x) * VEC;
    if (i >= a.total) return;
    uint32_t channel = i % a.channels;
    Pack<T, VEC> x = load<VEC>(static_cast<const T *>(a.x) + i);
    Pack<Out, VEC> out;
#pragma unroll
    for (int j = 0; j < VEC; j++)
        out.at[j] = from_float<Out>(relu(to_float(x.at[j]) * a.scale[channel + j] + a.shift[channel + j]));
    store(static_cast<Out *>(a.out) + i, out);
}

KERNEL(THREADS, GroupStatisticsArgs, group_norm_statistics_f32) { group_statistics<float>(a); }
KERNEL(THREADS, GroupStatisticsArgs, group_norm_statistics_f16) { group_statistics<f16>(a); }
KERNEL(THREADS, GroupStatisticsArgs, group_norm_statistics_bf16) { group_statistics<bf16>(a); }

#define NORMS(from, From, to, To)                                                                                             \
    KERNEL(WARPS *WARP, LayerNormArgs, layer_norm_##from##_##to) { layer_norm_any<From, To>(a); }                                 \
    KERNEL(WARPS *WARP, LayerNormArgs, layer_norm_vectors_##from##_##to) { layer_norm_vectors<From, To>(a); }                     \
    KERNEL(THREADS, GroupApplyArgs, group_norm_apply_##from##_##to) { group_apply<From, To, 1>(a); }                              \
    KERNEL(THREADS, GroupApplyArgs, group_norm_apply_vectors_##from##_##to) { group_apply<From, To, 4>(a); }

EACH_PAIR(NORMS)
