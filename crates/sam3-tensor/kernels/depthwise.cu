// The 7 × 7 convolution of each channel for itself, a thread for each value; neighbouring threads read neighbouring
// channels.
#include "kernel.cuh"

struct DepthwiseArgs {
    const float *x;      // [height, width, channels]
    const float *kernel; // [7 × 7, channels]
    const float *bias;   // [channels]
    float *out;          // as x
    uint64_t total;
    uint32_t height, width, channels, unused;
};

constexpr unsigned THREADS = 256;
constexpr int SIDE = 7, REACH = SIDE / 2;

KERNEL(THREADS, DepthwiseArgs, depthwise_7x7) {
    uint64_t i = static_cast<uint64_t>(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= a.total) return;
    uint32_t channel = static_cast<uint32_t>(i % a.channels), pixel = static_cast<uint32_t>(i / a.channels);
    int y = static_cast<int>(pixel / a.width), x = static_cast<int>(pixel % a.width);
    float sum = a.bias[channel];
    for (int dy = 0; dy < SIDE; dy++) {
        int row = y + dy - REACH;
        if (row < 0 || row >= static_cast<int>(a.height)) continue;
#pragma unroll
        for (int dx = 0; dx < SIDE; dx++) {
            int column = x + dx - REACH;
            if (column < 0 || column >= static_cast<int>(a.width)) continue;
            size_t place = static_cast<size_t>(row) * a.width + column;
            sum = fmaf(a.x[place * a.channels + channel], a.kernel[(dy * SIDE + dx) * a.channels + channel], sum);
        }
    }
    a.out[i] = sum;
}
