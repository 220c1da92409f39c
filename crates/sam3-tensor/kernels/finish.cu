// What follows a matrix product: residual + activation(y + bias), one pass over memory.
#include "kernel.cuh"

struct FinishArgs {
    const void *y;
    const float *bias;    // [columns], or with bias_of_rows [rows]; null: none
    const void *residual; // of the output's type where residual_is_f32 is 0; null: none
    void *out;
    uint32_t columns, activation, residual_is_f32;
    uint32_t total; // values; a multiple of VEC, as is `columns`
    uint32_t bias_of_rows;
    uint32_t unused;
};

constexpr unsigned THREADS = 256;
constexpr uint32_t GELU = 1, RELU = 2;

// x Φ(x), Φ by erf: exact.
template <typename Out> __device__ inline float gelu(float x) { return x * 0.5f * (1.f + erff(x * 0.70710678118654752f)); }

// The same to be rounded to 16 bits. Abramowitz and Stegun's 7.1.26 gives Φ within 8e-8; erff alone would take longer
// than memory does.
__device__ inline float gelu_rounded(float x) {
    float z = fabsf(x) * 0.70710678118654752f, t = __fdividef(1.f, fmaf(z, 0.3275911f, 1.f));
    float sum = fmaf(fmaf(fmaf(fmaf(1.061405429f, t, -1.453152027f), t, 1.421413741f), t, -0.284496736f), t, 0.254829592f);
    float tail = 0.5f * sum * t * __expf(-z * z); // Φ(-|x|)
    return x > 0.f ? fmaf(-x, tail, x) : x * tail;
}
template <> __device__ inline float gelu<f16>(float x) { return gelu_rounded(x); }
template <> __device__ inline float gelu<bf16>(float x) { return gelu_rounded(x); }

template <typename T, typename Out, int VEC> __device__ inline void finish(const FinishArgs &a) {
    uint32_t i = (blockIdx.x * THREADS + threadIdx.x) * VEC;
    if (i >= a.total) return;
    Pack<T, VEC> y = load<VEC>(static_cast<const T *>(a.y) + i);
    float values[VEC];
#pragma unroll
    for (int j = 0; j < VEC; j++) values[j] = to_float(y.at[j]);
    if (a.bias != nullptr && a.bias_of_rows) {
        float bias = a.bias[i / a.columns];
#pragma unroll
        for (int j = 0; j < VEC; j++) values[j] += bias;
    } else if (a.bias != nullptr) {
        Pack<float, VEC> bias = load<VEC>(a.bias + i % a.columns);
#pragma unroll
        for (int j = 0; j < VEC; j++) values[j] += bias.at[j];
    }
    if (a.activation == GELU) {
#pragma unroll
        for (int j = 0; j < VEC; j++) values[j] = gelu<Out>(values[j]);
    } else if (a.activation == RELU) {
#pragma unroll
        for (int j = 0; j < VEC; j++) values[j] = relu(values[j]);
    }
    if (a.residual != nullptr) {
        if (a.residual_is_f32) {
            Pack<float, VEC> residual = load<VEC>(static_cast<const float *>(a.residual) + i);
#pragma unroll
            for (int j = 0; j < VEC; j++) values[j] += residual.at[j];
        } else {
            Pack<Out, VEC> residual = load<VEC>(static_cast<const Out *>(a.residual) + i);
#pragma unroll
            for (int j = 0; j < VEC; j++) values[j] += to_float(residual.at[j]);
        }
    }
    Pack<Out, VEC> out;
#pragma unroll
    for (int j = 0; j < VEC; j++) out.at[j] = from_float<Out>(values[j]);
    store(static_cast<Out *>(a.out) + i, out);
}

#define FINISHES(from, From, to, To)                                                                                             \
    KERNEL(THREADS, FinishArgs, finish_##from##_##to) { finish<From, To, 1>(a); }                                                 \
    KERNEL(THREADS, FinishArgs, finish_vectors_##from##_##to) { finish<From, To, sizeof(From) + sizeof(To) == 4 ? 8 : 4>(a); }

EACH_PAIR(FINISHES)
