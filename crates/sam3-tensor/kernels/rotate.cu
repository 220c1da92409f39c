// Rotary positions: the keys of a map turned once, before each block of queries reads them again.
#include "places.cuh"

struct RotateArgs {
    const void *rows;       // where each row's keys begin
    const void *padding;    // the keys of a token that is padding; null: zeros
    const float *bias;      // [channels], added to all of them; null: nothing is
    const float *cos, *sin; // [tokens, pairs]
    void *out;              // [windows, tokens, channels]
    uint32_t stride;        // values from row to row
    uint32_t pairs;         // of a head; a multiple of PAIRS
    uint32_t channels;
    uint32_t total;         // threads: windows × tokens × channels / (2 × PAIRS)
    Places places;
};

constexpr unsigned THREADS = 256;

// A thread turns PAIRS neighbouring pairs.
template <typename T, int PAIRS> __device__ inline void rotate(const RotateArgs &a) {
    constexpr int VALUES = 2 * PAIRS;
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.total) return;
    uint32_t each = a.channels / VALUES, channel = i % each * VALUES;
    uint32_t token = i / each % a.places.tokens, window = i / each / a.places.tokens;
    uint32_t place = row_of(a.places, window, token);
    const T *from = static_cast<const T *>(a.padding);
    if (place != PADDING) from = static_cast<const T *>(a.rows) + static_cast<size_t>(place) * a.stride;
    Pack<float, VALUES> x = {};
    if (from != nullptr) {
        Pack<T, VALUES> read = load<VALUES>(from + channel);
#pragma unroll
        for (int j = 0; j < VALUES; j++) x.at[j] = to_float(read.at[j]);
    }
    if (a.bias != nullptr) {
#pragma unroll
        for (int j = 0; j < VALUES; j++) x.at[j] += a.bias[channel + j];
    }
    uint32_t at = token * a.pairs + channel / 2 % a.pairs;
    Pack<float, PAIRS> cos = load<PAIRS>(a.cos + at), sin = load<PAIRS>(a.sin + at);
    Pack<T, VALUES> turned;
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        float re = x.at[2 * j], im = x.at[2 * j + 1];
        turned.at[2 * j] = from_float<T>(re * cos.at[j] - im * sin.at[j]);
        turned.at[2 * j + 1] = from_float<T>(re * sin.at[j] + im * cos.at[j]);
    }
    store(static_cast<T *>(a.out) + static_cast<size_t>(i) * VALUES, turned);
}

KERNEL(THREADS, RotateArgs, rotate_f32) { rotate<float, 1>(a); }
KERNEL(THREADS, RotateArgs, rotate_f16) { rotate<f16, 1>(a); }
KERNEL(THREADS, RotateArgs, rotate_bf16) { rotate<bf16, 1>(a); }
KERNEL(THREADS, RotateArgs, rotate_vectors_f32) { rotate<float, 2>(a); }
KERNEL(THREADS, RotateArgs, rotate_vectors_f16) { rotate<f16, 4>(a); }
KERNEL(THREADS, RotateArgs, rotate_vectors_bf16) { rotate<bf16, 4>(a); }
