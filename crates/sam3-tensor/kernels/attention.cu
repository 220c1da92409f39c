// FlashAttention (arxiv.org/abs/2205.14135) on tensor cores: scores exist a tile at a time, in registers.
//
// A block is 4 warps and takes 64 or 128 queries of one head; each warp holds 16 or 32 of them with their running
// maxima, sums and outputs. The keys come past in tiles of 64 through two buffers in shared memory: while one is worked
// on, the other is filled. Rows there are cut into 16-byte chunks, which are swizzled so that the eight rows that
// ldmatrix reads at once lie in different banks. With 32 queries a warp, each value read from shared memory feeds two
// products: reading it for one would take as long as the product.
#include "attention.cuh"
#include "tensor_core.cuh"

constexpr unsigned WARPS = 4;
constexpr unsigned THREADS = WARPS * WARP;
constexpr unsigned KEYS = 64;
constexpr unsigned CHUNK = 8; // values in 16 bytes

// Where a chunk of a row lies in a tile, in values.
template <unsigned DIM> __device__ inline unsigned swizzled(unsigned row, unsigned chunk) {
    constexpr unsigned CHUNKS = DIM / CHUNK;
    constexpr unsigned ROWS = 8 / CHUNKS; // in the 128 bytes that all banks hold
    return row * DIM + (chunk ^ (row / ROWS % CHUNKS)) * CHUNK;
}

// Starts to fill a tile with the rows of keys `start..start + 64`; zeros past the last key and past head_dim. Most
// tiles are whole, and for them there are no questions to ask: that is half of the instructions around a tile's
// products.
template <typename T, unsigned DIM>
__device__ inline void fetch(T *tile, const T *from, uint32_t stride, const T *padding, const Rows &rows, uint32_t start,
                             uint32_t head_dim) {
    constexpr unsigned CHUNKS = DIM / CHUNK;
    const unsigned chunk = threadIdx.x % CHUNKS;
    if (rows.whole && start + KEYS <= rows.tokens && head_dim == DIM) {
#pragma unroll
        for (unsigned i = 0; i < KEYS * CHUNKS / THREADS; i++) {
            unsigned row = threadIdx.x / CHUNKS + i * (THREADS / CHUNKS);
            const T *source = from + static_cast<size_t>(row_inside(rows, start + row)) * stride;
            copy_async(tile + swizzled<DIM>(row, chunk), source + chunk * CHUNK);
        }
        return;
    }
#pragma unroll 1
    for (unsigned i = 0; i < KEYS * CHUNKS / THREADS; i++) {
        unsigned row = threadIdx.x / CHUNKS + i * (THREADS / CHUNKS);
        uint32_t token = start + row, place = row_of(rows, token);
        bool inside = token < rows.tokens && chunk * CHUNK < head_dim, there = inside && place != PADDING;
        const T *source = from + static_cast<size_t>(there ? place : 0) * stride;
        if (padding != nullptr && inside && !there) source = padding;
        copy_async(tile + swizzled<DIM>(row, chunk), source + chunk * CHUNK, there || (padding != nullptr && inside));
    }
}

// A chunk of a query: with its bias, and turned by its position.
template <typename T>
__device__ inline Pack<T, CHUNK> turned(const AttentionArgs &a, Pack<T, CHUNK> x, uint32_t token, uint32_t offset, uint32_t dim) {
    if (a.cos == nullptr) return x;
    size_t at = static_cast<size_t>(token) * (a.head_dim / 2) + dim / 2;
    Pack<float, 4> cos = load<4>(a.cos + at), sin = load<4>(a.sin + at);
    Pack<float, 4> bias[2] = {};
    if (a.q_bias != nullptr) {
        bias[0] = load<4>(a.q_bias + offset + dim);
        bias[1] = load<4>(a.q_bias + offset + dim + 4);
    }
#pragma unroll
    for (unsigned i = 0; i < CHUNK; i += 2) {
        float re = to_float(x.at[i]) + bias[i / 4].at[i % 4], im = to_float(x.at[i + 1]) + bias[i / 4].at[i % 4 + 1];
        x.at[i] = from_float<T>(re * cos.at[i / 2] - im * sin.at[i / 2]);
        x.at[i + 1] = from_float<T>(re * sin.at[i / 2] + im * cos.at[i / 2]);
    }
    return x;
}

// Fills tiles of 64 rows with the queries from `first` on; zeros past the last one and past head_dim.
template <typename T, unsigned DIM, unsigned TILES>
__device__ inline void load_queries(T *const (&tiles)[TILES], const AttentionArgs &a, const Rows &rows, uint32_t offset, uint32_t first) {
    constexpr unsigned CHUNKS = DIM / CHUNK, EACH = THREADS / CHUNKS; // rows at a time
    const unsigned chunk = threadIdx.x % CHUNKS;
    const T *q = static_cast<const T *>(a.q) + offset + chunk * CHUNK;
    if (rows.whole && first + TILES * KEYS <= rows.tokens && a.head_dim == DIM) {
#pragma unroll
        for (unsigned tile = 0; tile < TILES; tile++)
#pragma unroll
            for (unsigned i = 0; i < KEYS / EACH; i++) {
                unsigned row = threadIdx.x / CHUNKS + i * EACH;
                uint32_t token = first + tile * KEYS + row;
                Pack<T, CHUNK> x = load<CHUNK>(q + static_cast<size_t>(row_inside(rows, token)) * a.q_stride);
                store(tiles[tile] + swizzled<DIM>(row, chunk), turned(a, x, token, offset, chunk * CHUNK));
            }
        return;
    }
#pragma unroll
    for (unsigned tile = 0; tile < TILES; tile++)
#pragma unroll 1
        for (unsigned i = 0; i < KEYS / EACH; i++) {
            unsigned row = threadIdx.x / CHUNKS + i * EACH;
            uint32_t token = first + tile * KEYS + row;
            uint32_t place = token < a.queries.tokens && chunk * CHUNK < a.head_dim ? row_of(rows, token) : PADDING;
            Pack<T, CHUNK> x = {};
            if (place != PADDING) x = turned(a, load<CHUNK>(q + static_cast<size_t>(place) * a.q_stride), token, offset, chunk * CHUNK);
            store(tiles[tile] + swizzled<DIM>(row, chunk), x);
        }
}

template <typename T, unsigned DIM, unsigned TILES, bool BIASED> __device__ inline void attention(const AttentionArgs &a) {
    constexpr unsigned STEPS = DIM / 16;          // of 16 values, in a score's sum
    constexpr unsigned SPANS = DIM / 8;           // of 8 columns, in the output
    constexpr unsigned KEY_SPANS = KEYS / 8;
    SHARED(T, k_tiles, 2 * KEYS * DIM);
    SHARED(T, v_tiles, 2 * KEYS * DIM);

    const unsigned warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    const uint32_t head = blockIdx.y, index = blockIdx.z;
    const uint32_t first = (blockIdx.x * WARPS + warp) * TILES * 16; // query of this warp
    const uint32_t keys = a.keys.tokens, offset = head * a.head_dim;
    const T *k = static_cast<const T *>(a.k) + offset, *v = static_cast<const T *>(a.v) + offset;
    const T *padding = static_cast<const T *>(a.padding);
    const T *v_padding = padding == nullptr ? nullptr : padding + a.v_padding + offset;
    const Rows query_rows = rows_of(a.queries, index), key_rows = rows_of(a.keys, index), value_rows = rows_of(a.values, index);

    fetch<T, DIM>(k_tiles, k, a.k_stride, nullptr, key_rows, 0, a.head_dim);
    fetch<T, DIM>(v_tiles, v, a.v_stride, v_padding, value_rows, 0, a.head_dim);

    // The queries, as left operands, by way of the buffers that the second tile of keys and values will fill.
    T *const query_tiles[2] = {k_tiles + KEYS * DIM, v_tiles + KEYS * DIM};
    uint32_t q[TILES][STEPS][4];
    load_queries<T, DIM, TILES>(reinterpret_cast<T *const(&)[TILES]>(query_tiles), a, query_rows, offset, first - warp * TILES * 16);
    __syncthreads();
#pragma unroll
    for (unsigned tile = 0; tile < TILES; tile++)
#pragma unroll
        for (unsigned step = 0; step < STEPS; step++) {
            unsigned row = (warp * TILES + tile) * 16 + lane % 16;
            ldmatrix(q[tile][step], query_tiles[row / KEYS] + swizzled<DIM>(row % KEYS, step * 2 + lane / 16));
        }

    float out[TILES][SPANS][4] = {};
    float max[TILES][2], sum[TILES][2] = {};
#pragma unroll
    for (unsigned tile = 0; tile < TILES; tile++) max[tile][0] = max[tile][1] = -INFINITY;
    // With a bias the scores are scaled before it is added, else within the exponential.
    const float scale = a.scale * LOG2_E, exponent = BIASED ? 1.f : scale;
    const bool idle = first >= a.queries.tokens;

    for (uint32_t start = 0, buffer = 0; start < keys; start += KEYS, buffer ^= 1) {
        copies_done();
        __syncthreads(); // this tile is there for all, and all are done with the other
        if (start + KEYS < keys) {
            unsigned other = (buffer ^ 1) * KEYS * DIM;
            fetch<T, DIM>(k_tiles + other, k, a.k_stride, nullptr, key_rows, start + KEYS, a.head_dim);
            fetch<T, DIM>(v_tiles + other, v, a.v_stride, v_padding, value_rows, start + KEYS, a.head_dim);
        }
        if (idle) continue;
        const T *k_tile = k_tiles + buffer * KEYS * DIM, *v_tile = v_tiles + buffer * KEYS * DIM;

        float scores[TILES][KEY_SPANS][4] = {};
        // Two spans at a time, step by step: a product never waits for the one before it.
#pragma unroll
        for (unsigned span = 0; span < KEY_SPANS; span += 2) {
            uint32_t b[2][STEPS / 2][4]; // 8 keys, 32 values of each
#pragma unroll
            for (unsigned i = 0; i < 2; i++)
#pragma unroll
                for (unsigned step = 0; step < STEPS; step += 2)
                    ldmatrix(b[i][step / 2], k_tile + swizzled<DIM>((span + i) * 8 + lane % 8, step * 2 + lane / 8));
#pragma unroll
            for (unsigned step = 0; step < STEPS; step++)
#pragma unroll
                for (unsigned i = 0; i < 2; i++)
#pragma unroll
                    for (unsigned tile = 0; tile < TILES; tile++)
                        mma<T>(scores[tile][span + i], q[tile][step], b[i][step / 2][step % 2 * 2], b[i][step / 2][step % 2 * 2 + 1]);
        }

        if constexpr (BIASED) {
#pragma unroll
            for (unsigned tile = 0; tile < TILES; tile++)
#pragma unroll
                for (unsigned half = 0; half < 2; half++) {
                    // A row past the last query reads the last one's bias.
                    uint32_t query = min(first + tile * 16 + half * 8 + g, a.queries.tokens - 1);
                    const float *bias = a.bias + static_cast<size_t>(head) * a.bias_head + static_cast<size_t>(query) * a.bias_query;
#pragma unroll
                    for (unsigned span = 0; span < KEY_SPANS; span++)
#pragma unroll
                        for (unsigned i = 0; i < 2; i++) {
                            uint32_t key = min(start + span * 8 + 2 * t + i, keys - 1);
                            float &score = scores[tile][span][2 * half + i];
                            score = score * scale + bias[static_cast<size_t>(key) * a.bias_key] * LOG2_E;
                        }
                }
        }
        if (start + KEYS > keys) {
#pragma unroll
            for (unsigned tile = 0; tile < TILES; tile++)
#pragma unroll
                for (unsigned span = 0; span < KEY_SPANS; span++)
#pragma unroll
                    for (unsigned i = 0; i < 4; i++)
                        if (start + span * 8 + 2 * t + i % 2 >= keys) scores[tile][span][i] = -INFINITY;
        }

        // Softmax: what was summed with an older maximum is scaled down to the new one.
#pragma unroll
        for (unsigned tile = 0; tile < TILES; tile++)
#pragma unroll
            for (unsigned half = 0; half < 2; half++) {
                float now = max[tile][half];
#pragma unroll
                for (unsigned span = 0; span < KEY_SPANS; span++)
                    now = fmaxf(now, fmaxf(scores[tile][span][2 * half], scores[tile][span][2 * half + 1]));
                now = fmaxf(now, __shfl_xor_sync(FULL, now, 1));
                now = fmaxf(now, __shfl_xor_sync(FULL, now, 2));
                // While every key so far is hidden, nothing is subtracted: -inf - -inf is no number.
                float shift = now == -INFINITY ? 0.f : now * exponent;
                float shrink = exp2_fast(max[tile][half] * exponent - shift);
                max[tile][half] = now;
                float total = 0.f;
#pragma unroll
                for (unsigned span = 0; span < KEY_SPANS; span++)
#pragma unroll
                    for (unsigned i = 0; i < 2; i++) {
                        float &score = scores[tile][span][2 * half + i];
                        score = exp2_fast(fmaf(score, exponent, -shift));
                        total += score;
                    }
                sum[tile][half] = sum[tile][half] * shrink + total;
#pragma unroll
                for (unsigned span = 0; span < SPANS; span++) {
                    out[tile][span][2 * half] *= shrink;
                    out[tile][span][2 * half + 1] *= shrink;
                }
            }

        // A product's result lies in registers just as its left operand does: two spans of scores are 16 keys.
#pragma unroll
        for (unsigned step = 0; step < KEYS / 16; step++) {
            uint32_t p[TILES][4];
#pragma unroll
            for (unsigned tile = 0; tile < TILES; tile++)
#pragma unroll
                for (unsigned i = 0; i < 4; i++) {
                    const float *pair = &scores[tile][2 * step + i / 2][i % 2 * 2];
                    p[tile][i] = pack2<T>(pair[0], pair[1]);
                }
#pragma unroll
            for (unsigned span = 0; span < SPANS; span += 2) {
                uint32_t b[4]; // 16 keys, 16 columns
                ldmatrix_transposed(b, v_tile + swizzled<DIM>(step * 16 + lane % 16, span + lane / 16));
#pragma unroll
                for (unsigned tile = 0; tile < TILES; tile++) {
                    mma<T>(out[tile][span], p[tile], b[0], b[1]);
                    mma<T>(out[tile][span + 1], p[tile], b[2], b[3]);
                }
            }
        }
    }

#pragma unroll
    for (unsigned tile = 0; tile < TILES; tile++)
#pragma unroll
        for (unsigned half = 0; half < 2; half++) {
            float total = sum[tile][half];
            total += __shfl_xor_sync(FULL, total, 1);
            total += __shfl_xor_sync(FULL, total, 2);
            uint32_t token = first + tile * 16 + half * 8 + g;
            uint32_t place = token < a.queries.tokens ? row_of(query_rows, token) : PADDING;
            if (place == PADDING) continue;
            float factor = 1.f / total; // no number where every key is hidden
            T *row = static_cast<T *>(a.out) + static_cast<size_t>(place) * a.out_stride + offset;
#pragma unroll
            for (unsigned span = 0; span < SPANS; span++) {
                uint32_t dim = span * 8 + 2 * t;
                if (dim >= a.head_dim) break;
                float low = out[tile][span][2 * half] * factor, high = out[tile][span][2 * half + 1] * factor;
                // Weights add up to 1, so the values' bias is added once, here.
                if (a.v_bias != nullptr) {
                    low += a.v_bias[offset + dim];
                    high += a.v_bias[offset + dim + 1];
                }
                *reinterpret_cast<uint32_t *>(row + dim) = pack2<T>(low, high);
            }
        }
}

// attention_TYPE_DIM_QUERIES: head_dim up to DIM, QUERIES of them in a block; and with a bias.
#define ATTENTIONS(type, T, DIM)                                                                                                  \
    KERNEL(THREADS, AttentionArgs, attention_##type##_##DIM##_64) { attention<T, DIM, 1, false>(a); }                             \
    KERNEL(THREADS, AttentionArgs, attention_##type##_##DIM##_128) { attention<T, DIM, 2, false>(a); }                            \
    KERNEL(THREADS, AttentionArgs, attention_biased_##type##_##DIM##_64) { attention<T, DIM, 1, true>(a); }

ATTENTIONS(f16, f16, 32)
ATTENTIONS(f16, f16, 64)
ATTENTIONS(bf16, bf16, 32)
ATTENTIONS(bf16, bf16, 64)
