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

// The rows of one batch element, or window: what is the same for all of its tokens.
struct Rows {
    uint32_t tokens, window, inverse, height, width;
    uint32_t y, x; // of its first token in the map; of a sequence, x alone is where it begins
    uint32_t first, skip; // its first row, and rows between two of its lines: for row_inside
    bool whole;           // none of its tokens is padding, so that row_inside knows them
};

__device__ inline Rows rows_of(const Places &p, uint32_t index) {
    Rows rows = {p.tokens, p.window, 0, p.height, p.width, 0, index * p.tokens, index * p.tokens, 0, true};
    if (p.window != 0) {
        rows.inverse = p.inverse;
        rows.y = index / p.columns * p.window;
        rows.x = index % p.columns * p.window;
        rows.first = rows.y * p.width + rows.x;
        rows.skip = p.width - p.window;
        rows.whole = p.window > 1 && rows.y + p.window <= p.height && rows.x + p.window <= p.width;
    }
    return rows;
}

// The row of a token where all of them are inside the map: without a branch.
__device__ inline uint32_t row_inside(const Rows &r, uint32_t token) { return r.first + token + __umulhi(token, r.inverse) * r.skip; }

// The row of a token; PADDING beyond the map. Exact while tokens × window < 2³².
__device__ inline uint32_t row_of(const Rows &r, uint32_t token) {
    if (r.window == 0) return r.x + token;
    uint32_t down = r.window == 1 ? token : __umulhi(token, r.inverse);
    uint32_t y = r.y + down, x = r.x + token - down * r.window;
    return y < r.height && x < r.width ? y * r.width + x : PADDING;
}

__device__ inline uint32_t row_of(const Places &p, uint32_t index, uint32_t token) { return row_of(rows_of(p, index), token); }
