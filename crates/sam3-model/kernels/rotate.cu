// Rotary positions: the keys of a map turned once, before each block of queries reads them again.
#include "places.cuh"

struct RotateArgs {
    const void *rows;       // where each row's keys begin
    const void *padding;    // the keys of a token that is padding; null: zeros
    const float *cos, *sin; // [tokens, pairs]
    void *out;              // [windows, tokens, channels]
    uint32_t stride;        // values from row to row
    uint32_t pairs;         // of a head
    uint32_t channels;
    uint32_t total;         // windows × tokens × channels / 2
    Places places;
};

constexpr unsigned THREADS = 256;

// A thread turns one pair.
template <typename T> __device__ inline void rotate(const RotateArgs &a) {
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.total) return;
    uint32_t half = a.channels / 2, pair = i % half, token = i / half % a.places.tokens, window = i / half / a.places.tokens;
    uint32_t place = row_of(a.places, window, token);
    const T *rows = static_cast<const T *>(a.rows), *padding = static_cast<const T *>(a.padding);
    float re = 0.f, im = 0.f;
    if (place != PADDING || padding != nullptr) {
        const T *from = place != PADDING ? rows + static_cast<size_t>(place) * a.stride : padding;
        Pack<T, 2> values = load<2>(from + 2 * pair);
        re = to_float(values.at[0]);
        im = to_float(values.at[1]);
    }
    uint32_t at = token * a.pairs + pair % a.pairs;
    float cos = a.cos[at], sin = a.sin[at];
    Pack<T, 2> turned = {from_float<T>(re * cos - im * sin), from_float<T>(re * sin + im * cos)};
    store(static_cast<T *>(a.out) + 2 * static_cast<size_t>(i), turned);
}

KERNEL(THREADS, RotateArgs, rotate_f32) { rotate<float>(a); }
KERNEL(THREADS, RotateArgs, rotate_f16) { rotate<f16>(a); }
KERNEL(THREADS, RotateArgs, rotate_bf16) { rotate<bf16>(a); }
