// The decoder's box bias: how much each query attends to each cell of the map, by the cell's distance from the edges of
// its box.
//
// A bias is the sum of one for the cell's column and one for its row; each is a small network of the signed distances
// to two edges.
#include "kernel.cuh"

constexpr unsigned THREADS = 128;
constexpr unsigned HIDDEN = 256, HEADS = 8; // at most
constexpr unsigned UNIT = 4 + HEADS;        // of the hidden layer: two weights, bias, nothing, then what it gives each head

// Two layers with ReLU between them: 2 → hidden → heads.
struct Network {
    const float *weight1, *bias1, *weight2, *bias2; // [hidden, 2], [hidden], [heads, hidden], [heads]
};

struct BoxEdgesArgs {
    const float *boxes;  // [queries, 4]: center x, center y, width, height, as shares of the map
    Network networks[2]; // for columns and for rows
    float *out;          // [2, heads, queries, side]
    uint32_t queries, side, hidden, heads;
};

// A thread has a query and a column, or a row.
KERNEL(THREADS, BoxEdgesArgs, box_edges) {
    SHARED(float, units, HIDDEN * UNIT);
    const uint32_t axis = blockIdx.y;
    const Network network = a.networks[axis];
    for (unsigned i = threadIdx.x; i < a.hidden * UNIT; i += THREADS) {
        unsigned unit = i / UNIT, place = i % UNIT;
        float value = 0.f;
        if (place < 2) value = network.weight1[unit * 2 + place];
        else if (place == 2) value = network.bias1[unit];
        else if (place >= 4 && place - 4 < a.heads) value = network.weight2[(place - 4) * a.hidden + unit];
        units[i] = value;
    }
    __syncthreads();
    const uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= a.queries * a.side) return;
    const uint32_t query = i / a.side, cell = i % a.side;
    const float center = a.boxes[query * 4 + axis], half = 0.5f * a.boxes[query * 4 + 2 + axis];
    const float at = __fdiv_rn(static_cast<float>(cell), static_cast<float>(a.side));
    float distance[2];
    for (int edge = 0; edge < 2; edge++) {
        float delta = (at - (edge == 0 ? center - half : center + half)) * 8.f;
        distance[edge] = copysignf(log2f(fabsf(delta) + 1.f), delta) / 3.f;
    }
    float sums[HEADS];
#pragma unroll
    for (unsigned head = 0; head < HEADS; head++) sums[head] = head < a.heads ? network.bias2[head] : 0.f;
    for (unsigned unit = 0; unit < a.hidden; unit++) {
        const float *weights = units + unit * UNIT;
        float active = relu(fmaf(weights[1], distance[1], fmaf(weights[0], distance[0], weights[2])));
#pragma unroll
        for (unsigned head = 0; head < HEADS; head++) sums[head] = fmaf(weights[4 + head], active, sums[head]);
    }
    for (unsigned head = 0; head < a.heads; head++)
        a.out[((axis * a.heads + head) * static_cast<size_t>(a.queries) + query) * a.side + cell] = sums[head];
}

struct BoxSumsArgs {
    const float *edges; // [2, heads, queries, side]
    float *out;         // [heads, 1 + queries, side, side]; nothing for query 0, which has no box
    uint32_t queries, side;
};

// A block has a query of a head; its x is the query, its y the head.
KERNEL(THREADS, BoxSumsArgs, box_sums) {
    const uint32_t query = blockIdx.x, head = blockIdx.y, cells = a.side * a.side;
    float *out = a.out + (static_cast<size_t>(head) * (1 + a.queries) + query) * cells;
    const float *columns = a.edges + (static_cast<size_t>(head) * a.queries + query - 1) * a.side;
    const float *rows = columns + static_cast<size_t>(gridDim.y) * a.queries * a.side;
    for (uint32_t i = threadIdx.x; i < cells; i += THREADS) out[i] = query == 0 ? 0.f : rows[i / a.side] + columns[i % a.side];
}
