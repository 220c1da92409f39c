// What follows a matrix product: residual + activation(y + bias), one pass over memory.
#include "kernel.cuh"

struct FinishArgs {
    const void *y;
    const float *bias;    // [columns]; null: none
    const void *residual; // of the output's type where residual_is_f32 is 0; null: none
    void *out;
    uint32_t columns, activation, residual_is_f32;
    uint32_t total; // values; a multiple of VEC, as is `columns`
};

constexpr unsigned THREADS = 256;
constexpr uint32_t GELU = 1, RELU = 2;

template <typename T, typename Out, int VEC> __device__ inline void finish(const FinishArgs &a) {
    uint32_t i = (blockIdx.x * THREADS + threadIdx.x) * VEC;
    if (i >= a.total) return;
    Pack<T, VEC> y = load<VEC>(static_cast<const T *>(a.y) + i);
    float values[VEC];
#pragma unroll
    for (int j = 0; j < VEC; j++) values[j] = to_float(y.at[j]);
    if (a.bias != nullptr) {
        Pack<float, VEC> bias = load<VEC>(a.bias + i % a.columns);
#pragma unroll
        for (int j = 0; j < VEC; j++) values[j] += bias.at[j];
    }
    if (a.activation == GELU) {
#pragma unroll
        for (int j = 0; j < VEC; j++) values[j] *= 0.5f * (1.f + erff(values[j] * 0.70710678118654752f));
    } else if (a.activation == RELU) {
#pragma unroll
        for (int j = 0; j < VEC; j++) values[j] = fmaxf(values[j], 0.f);
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
    KERNEL(THREADS, FinishArgs, finish_vectors_##from##_##to) { finish<From, To, 4>(a); }

EACH_PAIR(FINISHES)
