// Which row of memory a token is: of a sequence, or of a window of a map.
#pragma once
#include "kernel.cuh"

struct Places {
    uint32_t tokens; // of a batch element, or of a window
    uint32_t window; // a window's side; 0: these are sequences, one after the other
    uint32_t inverse; // ⌈2³² / window⌉
    uint32_t columns; // windows in a row of windows
    uint32_t height, width; // of the map
};

constexpr uint32_t PADDING = 0xffffffff;

// The row of a token of batch element, or window, `index`; PADDING beyond the map. Exact while tokens × window < 2³².
__device__ inline uint32_t row_of(const Places &p, uint32_t index, uint32_t token) {
    if (p.window == 0) return index * p.tokens + token;
    uint32_t down = p.window == 1 ? token : __umulhi(token, p.inverse);
    uint32_t y = index / p.columns * p.window + down;
    uint32_t x = index % p.columns * p.window + token - down * p.window;
    return y < p.height && x < p.width ? y * p.width + x : PADDING;
}
