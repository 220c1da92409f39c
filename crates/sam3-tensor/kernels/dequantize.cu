// int8 codes times their row's scale.
#include "kernel.cuh"

struct DequantizeArgs {
    const int8_t *codes;
    const float *scales; // [rows]
    void *out;
    uint64_t columns; // a multiple of VEC
};

constexpr unsigned THREADS = 128;

// A block takes a row.
template <typename Out, int VEC> __device__ inline void dequantize(const DequantizeArgs &a) {
    float scale = a.scales[blockIdx.x];
    const int8_t *codes = a.codes + blockIdx.x * a.columns;
    Out *out = static_cast<Out *>(a.out) + blockIdx.x * a.columns;
    for (uint32_t i = threadIdx.x * VEC; i < a.columns; i += THREADS * VEC) {
        Pack<int8_t, VEC> read = load<VEC>(codes + i);
        Pack<Out, VEC> written;
#pragma unroll
        for (int j = 0; j < VEC; j++) written.at[j] = from_float<Out>(read.at[j] * scale);
        store(out + i, written);
    }
}

#define DEQUANTIZE(to, To)                                                                                                          \
    KERNEL(THREADS, DequantizeArgs, dequantize_##to) { dequantize<To, 1>(a); }                                                    \
    KERNEL(THREADS, DequantizeArgs, dequantize_vectors_##to) { dequantize<To, 8>(a); }

DEQUANTIZE(f32, float)
DEQUANTIZE(f16, f16)
DEQUANTIZE(bf16, bf16)
