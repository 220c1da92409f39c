// Attention without tensor cores: f32 throughout, and any head_dim up to 64 of any type.
//
// A block is 128 threads and 64 queries; keys come past in tiles of 32, the next of which is fetched while one is
// worked on. A thread has 4 queries by 4 keys of a tile's scores and the same queries by DIM / 8 columns of the output;
// the 8 threads of the same queries are neighbours in a warp. Values go from shared memory to registers by fours, along
// head_dim for scores and along keys for outputs, so that a load feeds 16 products. Where queries are few, several
// blocks share their keys, and attention_merge puts the parts together.
#include "attention.cuh"

constexpr unsigned THREADS = 128;
constexpr unsigned QUERIES = 64, KEYS = 32;
constexpr unsigned TEAM = 8;               // threads of the same queries
constexpr unsigned TEAMS = THREADS / TEAM; // a team's queries are this far apart
constexpr unsigned Q_EACH = QUERIES / TEAMS, KEYS_EACH = KEYS / TEAM;
constexpr unsigned P_ROW = KEYS + 4;       // rows of 4 values more than a multiple of 32 lie in different banks

// Where a token's row begins; null where it is padding that nothing is known of, or lies past `tokens`.
template <typename T>
__device__ inline const T *row_at(const void *rows, const T *padding, const Places &places, uint32_t index, uint32_t token,
                                  uint32_t tokens, uint32_t stride) {
    if (token >= tokens) return nullptr;
    uint32_t place = row_of(places, index, token);
    return place == PADDING ? padding : static_cast<const T *>(rows) + static_cast<size_t>(place) * stride;
}

// Four values of a row from `dim` on; zeros where there is no row, and past head_dim. `at_once` says that they may be
// moved as one.
template <typename T> __device__ inline Pack<float, 4> read4(const T *row, uint32_t dim, uint32_t head_dim, bool at_once) {
    Pack<float, 4> x = {};
    if (row == nullptr) return x;
    if (at_once && dim < head_dim) {
        Pack<T, 4> read = load<4>(row + dim);
#pragma unroll
        for (unsigned i = 0; i < 4; i++) x.at[i] = to_float(read.at[i]);
    } else {
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
            if (dim + i < head_dim) x.at[i] = to_float(row[dim + i]);
    }
    return x;
}

// Four values of a query with their bias, turned by their position, and scaled.
template <typename T>
__device__ inline Pack<float, 4> query4(const AttentionArgs &a, const T *row, uint32_t token, uint32_t offset, uint32_t dim) {
    Pack<float, 4> x = read4(row, dim, a.head_dim, a.by_fours != 0);
    if (a.q_bias != nullptr && row != nullptr) {
#pragma unroll
        for (unsigned i = 0; i < 4; i++)
            if (dim + i < a.head_dim) x.at[i] += a.q_bias[offset + dim + i];
    }
    if (a.cos != nullptr) {
        size_t at = static_cast<size_t>(token) * (a.head_dim / 2) + dim / 2;
#pragma unroll
        for (unsigned i = 0; i < 4; i += 2)
            if (dim + i < a.head_dim) {
                float re = x.at[i], im = x.at[i + 1], cos = a.cos[at + i / 2], sin = a.sin[at + i / 2];
                x.at[i] = re * cos - im * sin;
                x.at[i + 1] = re * sin + im * cos;
            }
    }
#pragma unroll
    for (unsigned i = 0; i < 4; i++) x.at[i] *= a.scale;
    return x;
}

// The parts of a query of this block's head.
__device__ inline float *part_of(const AttentionArgs &a, uint32_t token) {
    size_t row = (static_cast<size_t>(blockIdx.z) * gridDim.y + blockIdx.y) * a.queries.tokens + token;
    return a.parts + row * a.splits * (2 + a.head_dim);
}

template <typename T, unsigned DIM> __device__ inline void attention_exact(const AttentionArgs &a) {
    constexpr unsigned ROW = DIM + 4, FOURS = DIM / 4; // of a row in shared memory
    constexpr unsigned FETCHES = KEYS * FOURS / THREADS, BLOCKS = DIM / 32;
    SHARED(float, q, QUERIES * ROW);
    SHARED(float, k, KEYS * ROW);
    SHARED(float, v, KEYS * DIM);
    SHARED(float, p, QUERIES * P_ROW);

    const unsigned team = threadIdx.x / TEAM, member = threadIdx.x % TEAM;
    const uint32_t head = blockIdx.y, index = blockIdx.z, first = blockIdx.x / a.splits * QUERIES;
    const uint32_t split = blockIdx.x % a.splits, first_key = split * a.split_keys;
    const uint32_t keys = min(a.keys.tokens, first_key + a.split_keys), offset = head * a.head_dim;
    const T *padding = static_cast<const T *>(a.padding);
    const T *v_padding = padding == nullptr ? nullptr : padding + a.v_padding;
    const bool at_once = a.by_fours != 0;

    Pack<float, 4> next_k[FETCHES], next_v[FETCHES];
    auto fetch = [&](uint32_t start) {
#pragma unroll
        for (unsigned i = 0; i < FETCHES; i++) {
            uint32_t token = start + (threadIdx.x + i * THREADS) / FOURS, dim = threadIdx.x % FOURS * 4;
            const T *k_row = row_at<T>(a.k, nullptr, a.keys, index, token, keys, a.k_stride);
            const T *v_row = row_at<T>(a.v, v_padding, a.values, index, token, keys, a.v_stride);
            next_k[i] = read4(k_row == nullptr ? k_row : k_row + offset, dim, a.head_dim, at_once);
            next_v[i] = read4(v_row == nullptr ? v_row : v_row + offset, dim, a.head_dim, at_once);
        }
    };
    fetch(first_key);
#pragma unroll 4
    for (unsigned i = threadIdx.x; i < QUERIES * FOURS; i += THREADS) {
        uint32_t row = i / FOURS, dim = i % FOURS * 4, token = first + row;
        const T *from = row_at<T>(a.q, padding, a.queries, index, token, a.queries.tokens, a.q_stride);
        // A row of padding has no queries; what is made of it is not stored.
        Pack<float, 4> x = {};
        if (from != nullptr) x = query4(a, from + offset, token, offset, dim);
        store(q + row * ROW + dim, x);
    }

    float out[Q_EACH][BLOCKS][4] = {}, max[Q_EACH], sum[Q_EACH] = {};
    for (unsigned i = 0; i < Q_EACH; i++) max[i] = -INFINITY;

    for (uint32_t start = first_key; start < keys; start += KEYS) {
        __syncthreads(); // the last tile is done with
#pragma unroll
        for (unsigned i = 0; i < FETCHES; i++) {
            unsigned row = (threadIdx.x + i * THREADS) / FOURS, dim = threadIdx.x % FOURS * 4;
            store(k + row * ROW + dim, next_k[i]);
            store(v + row * DIM + dim, next_v[i]);
        }
        __syncthreads();
        fetch(start + KEYS);

        float scores[Q_EACH][KEYS_EACH] = {};
#pragma unroll 4
        for (unsigned dim = 0; dim < DIM; dim += 4) {
            Pack<float, 4> column[KEYS_EACH];
#pragma unroll
            for (unsigned j = 0; j < KEYS_EACH; j++) column[j] = load<4>(k + (member + j * TEAM) * ROW + dim);
#pragma unroll
            for (unsigned i = 0; i < Q_EACH; i++) {
                Pack<float, 4> row = load<4>(q + (team + i * TEAMS) * ROW + dim);
#pragma unroll
                for (unsigned j = 0; j < KEYS_EACH; j++)
#pragma unroll
                    for (unsigned d = 0; d < 4; d++) scores[i][j] = fmaf(row.at[d], column[j].at[d], scores[i][j]);
            }
        }

#pragma unroll
        for (unsigned i = 0; i < Q_EACH; i++) {
            uint32_t query = min(first + team + i * TEAMS, a.queries.tokens - 1);
            float now = max[i];
#pragma unroll
            for (unsigned j = 0; j < KEYS_EACH; j++) {
                uint32_t key = start + member + j * TEAM;
                if (key >= keys) {
                    scores[i][j] = -INFINITY;
                } else if (a.bias != nullptr) {
                    scores[i][j] += a.bias[static_cast<size_t>(head) * a.bias_head + static_cast<size_t>(query) * a.bias_query +
                                           static_cast<size_t>(key) * a.bias_key];
                }
                now = fmaxf(now, scores[i][j]);
            }
#pragma unroll
            for (unsigned step = TEAM / 2; step > 0; step /= 2) now = fmaxf(now, __shfl_xor_sync(FULL, now, step));
            // While every key so far is hidden, nothing is subtracted: -inf - -inf is no number.
            float shift = now == -INFINITY ? 0.f : now;
            float shrink = expf(max[i] - shift);
            max[i] = now;
            sum[i] *= shrink;
#pragma unroll
            for (unsigned j = 0; j < KEYS_EACH; j++) {
                float weight = expf(scores[i][j] - shift);
                sum[i] += weight;
                p[(team + i * TEAMS) * P_ROW + member + j * TEAM] = weight;
            }
#pragma unroll
            for (unsigned b = 0; b < BLOCKS; b++)
#pragma unroll
                for (unsigned d = 0; d < 4; d++) out[i][b][d] *= shrink;
        }
        __syncwarp(); // a team's weights are read by the team alone

#pragma unroll 2
        for (unsigned key = 0; key < KEYS; key += 4) {
            Pack<float, 4> weights[Q_EACH];
#pragma unroll
            for (unsigned i = 0; i < Q_EACH; i++) weights[i] = load<4>(p + (team + i * TEAMS) * P_ROW + key);
#pragma unroll
            for (unsigned j = 0; j < 4; j++)
#pragma unroll
                for (unsigned b = 0; b < BLOCKS; b++) {
                    Pack<float, 4> row = load<4>(v + (key + j) * DIM + (b * TEAM + member) * 4);
#pragma unroll
                    for (unsigned i = 0; i < Q_EACH; i++)
#pragma unroll
                        for (unsigned d = 0; d < 4; d++) out[i][b][d] = fmaf(weights[i].at[j], row.at[d], out[i][b][d]);
                }
        }
    }

#pragma unroll
    for (unsigned i = 0; i < Q_EACH; i++) {
        float total = sum[i];
#pragma unroll
        for (unsigned step = TEAM / 2; step > 0; step /= 2) total += __shfl_xor_sync(FULL, total, step);
        uint32_t token = first + team + i * TEAMS;
        uint32_t place = token < a.queries.tokens ? row_of(a.queries, index, token) : PADDING;
        if (place == PADDING) continue;
        float *part = a.parts == nullptr ? nullptr : part_of(a, token) + split * (2 + a.head_dim);
        T *row = static_cast<T *>(a.out) + static_cast<size_t>(place) * a.out_stride + offset;
        float factor = 1.f / total; // no number where every key is hidden
        if (part != nullptr && member == 0) {
            part[0] = max[i];
            part[1] = total;
        }
#pragma unroll
        for (unsigned b = 0; b < BLOCKS; b++)
#pragma unroll
            for (unsigned d = 0; d < 4; d++) {
                uint32_t dim = (b * TEAM + member) * 4 + d;
                if (dim >= a.head_dim) continue;
                // Weights add up to 1, so the values' bias is added once, here.
                float bias = a.v_bias == nullptr ? 0.f : a.v_bias[offset + dim];
                if (part != nullptr) part[2 + dim] = out[i][b][d];
                else row[dim] = from_float<T>(out[i][b][d] * factor + bias);
            }
    }
}

// A warp puts the parts of a query together.
template <typename T> __device__ inline void attention_merge(const AttentionArgs &a) {
    const uint32_t token = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP, lane = threadIdx.x % WARP;
    if (token >= a.queries.tokens) return;
    const uint32_t place = row_of(a.queries, blockIdx.z, token), offset = blockIdx.y * a.head_dim, size = 2 + a.head_dim;
    if (place == PADDING) return;
    const float *parts = part_of(a, token);
    float max = -INFINITY, sum = 0.f;
    for (uint32_t split = 0; split < a.splits; split++) max = fmaxf(max, parts[split * size]);
    float shift = max == -INFINITY ? 0.f : max;
    for (uint32_t split = 0; split < a.splits; split++) sum += parts[split * size + 1] * expf(parts[split * size] - shift);
    float factor = 1.f / sum;
    T *row = static_cast<T *>(a.out) + static_cast<size_t>(place) * a.out_stride + offset;
    for (uint32_t dim = lane; dim < a.head_dim; dim += WARP) {
        float total = 0.f;
        for (uint32_t split = 0; split < a.splits; split++)
            total += parts[split * size + 2 + dim] * expf(parts[split * size] - shift);
        row[dim] = from_float<T>(total * factor + (a.v_bias == nullptr ? 0.f : a.v_bias[offset + dim]));
    }
}

// attention_exact_TYPE_DIM: head_dim up to DIM.
KERNEL(THREADS, AttentionArgs, attention_exact_f32_32) { attention_exact<float, 32>(a); }
KERNEL(THREADS, AttentionArgs, attention_exact_f32_64) { attention_exact<float, 64>(a); }
KERNEL(THREADS, AttentionArgs, attention_exact_f16_32) { attention_exact<f16, 32>(a); }
KERNEL(THREADS, AttentionArgs, attention_exact_f16_64) { attention_exact<f16, 64>(a); }
KERNEL(THREADS, AttentionArgs, attention_exact_bf16_32) { attention_exact<bf16, 32>(a); }
KERNEL(THREADS, AttentionArgs, attention_exact_bf16_64) { attention_exact<bf16, 64>(a); }
KERNEL(THREADS, AttentionArgs, attention_merge_f32) { attention_merge<float>(a); }
KERNEL(THREADS, AttentionArgs, attention_merge_f16) { attention_merge<f16>(a); }
KERNEL(THREADS, AttentionArgs, attention_merge_bf16) { attention_merge<bf16>(a); }
