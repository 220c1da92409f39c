// Pictures in and masks out, as src/image/ does both on the CPU, to the last bit.
#include "kernel.cuh"

// One axis of a picture resized, in 16-bit fixed point: output pixel i is the sum of `counts[i]` pixels from
// `starts[i]` on.
struct ResizeArgs {
    const uint8_t *from;           // rows of `from_width` pixels of 3 bytes
    const int32_t *starts, *counts, *weights; // weights: `taps` of each output pixel
    void *out;
    uint32_t taps, precision;      // bits after the point
    uint32_t from_width, width, height; // of the output
    uint32_t unused;
};

constexpr unsigned THREADS = 256;

__device__ inline uint32_t rounded(int32_t sum, uint32_t precision) {
    return static_cast<uint32_t>(min(max(sum >> precision, 0), 255));
}

// Along rows: `out` is u8, [height, width, 3].
KERNEL(THREADS, ResizeArgs, resize_rows) {
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.width * a.height) return;
    uint32_t x = i % a.width, y = i / a.width;
    const uint8_t *from = a.from + (static_cast<size_t>(y) * a.from_width + a.starts[x]) * 3;
    const int32_t *weights = a.weights + static_cast<size_t>(x) * a.taps;
    int32_t sums[3];
    for (int32_t &sum : sums) sum = 1 << (a.precision - 1);
    for (int32_t tap = 0; tap < a.counts[x]; tap++)
        for (int c = 0; c < 3; c++) sums[c] += from[tap * 3 + c] * weights[tap];
    for (int c = 0; c < 3; c++) static_cast<uint8_t *>(a.out)[static_cast<size_t>(i) * 3 + c] = rounded(sums[c], a.precision);
}

// Along columns, then 0 to 255 becomes -1 to 1: `out` is f32, [3, height, width].
KERNEL(THREADS, ResizeArgs, resize_columns) {
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.width * a.height) return;
    uint32_t x = i % a.width, y = i / a.width;
    const uint8_t *from = a.from + (static_cast<size_t>(a.starts[y]) * a.from_width + x) * 3;
    const int32_t *weights = a.weights + static_cast<size_t>(y) * a.taps;
    int32_t sums[3];
    for (int32_t &sum : sums) sum = 1 << (a.precision - 1);
    for (int32_t tap = 0; tap < a.counts[y]; tap++)
        for (int c = 0; c < 3; c++) sums[c] += from[static_cast<size_t>(tap) * a.from_width * 3 + c] * weights[tap];
    for (int c = 0; c < 3; c++) {
        float value = __fdiv_rn(static_cast<float>(rounded(sums[c], a.precision)), 255.f);
        static_cast<float *>(a.out)[static_cast<size_t>(c) * a.width * a.height + i] = (value - 0.5f) / 0.5f;
    }
}

// Where an output pixel of an axis lies between two input pixels.
struct Between {
    uint32_t low, high;
    float low_weight, high_weight;
};

struct MaskArgs {
    const float *logits; // [n, h, w]
    const Between *rows, *columns; // [height], [width]
    uint32_t *out;       // [n, height, words]
    uint32_t h, w, height, width;
    float threshold;
    uint32_t words;      // of a row: pixel x is bit x % 32 of word x / 32
};

// Bits where the resized logits are above the threshold; a warp makes a word. A block's y is the mask. No product is
// fused with a sum, as none is on the CPU.
KERNEL(THREADS, MaskArgs, upsample_masks) {
    uint32_t word = (blockIdx.x * THREADS + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (word >= a.height * a.words) return;
    uint32_t x = word % a.words * WARP + lane;
    const Between row = a.rows[word / a.words], column = a.columns[min(x, a.width - 1)];
    const float *logits = a.logits + static_cast<size_t>(blockIdx.y) * a.h * a.w;
    const float *low = logits + row.low * a.w, *high = logits + row.high * a.w;
    float above = __fadd_rn(__fmul_rn(low[column.low], column.low_weight), __fmul_rn(low[column.high], column.high_weight));
    float below = __fadd_rn(__fmul_rn(high[column.low], column.low_weight), __fmul_rn(high[column.high], column.high_weight));
    float value = __fadd_rn(__fmul_rn(above, row.low_weight), __fmul_rn(below, row.high_weight));
    uint32_t bits = __ballot_sync(FULL, x < a.width && value > a.threshold);
    if (lane == 0) a.out[static_cast<size_t>(blockIdx.y) * a.height * a.words + word] = bits;
}
