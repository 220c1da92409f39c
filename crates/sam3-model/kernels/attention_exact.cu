// Attention without tensor cores: f32 throughout, and any head_dim up to 64 of any type.
//
// A block is 128 threads and 64 queries; keys come past in tiles of 32. A thread has 4 queries by 4 keys of a tile's scores and 4
// queries by 8 columns of the output; the 8 threads of the same queries are neighbours in a warp, so that only scores and rows of
// keys pass through shared memory.
#include "attention.cuh"

constexpr unsigned THREADS = 128;
constexpr unsigned QUERIES = 64, KEYS = 32, DIM = 64;
constexpr unsigned TEAM = 8;                        // threads of the same 4 queries
constexpr unsigned Q_EACH = QUERIES / (THREADS / TEAM), KEYS_EACH = KEYS / TEAM, DIM_EACH = DIM / TEAM;
constexpr unsigned ROW = DIM + 1;                   // odd, so that the rows of a column lie in different banks

// One value of a row of queries or values.
template <typename T>
__device__ inline float read(const void *rows, const T *padding, const Places &places, uint32_t index, uint32_t token, size_t stride,
                             uint32_t column) {
    uint32_t place = row_of(places, index, token);
    if (place != PADDING) return to_float(static_cast<const T *>(rows)[place * stride + column]);
    return padding == nullptr ? 0.f : to_float(padding[column]);
}

template <typename T> __device__ inline void attention_exact(const AttentionArgs &a) {
    SHARED(float, q, QUERIES * ROW);
    SHARED(float, k, KEYS * ROW);
    SHARED(float, v, KEYS * ROW);
    SHARED(float, p, QUERIES * (KEYS + 1));

    const unsigned team = threadIdx.x / TEAM * Q_EACH, member = threadIdx.x % TEAM;
    const uint32_t head = blockIdx.y, index = blockIdx.z, first = blockIdx.x * QUERIES;
    const uint32_t keys = a.keys.tokens, offset = head * a.head_dim;
    const T *padding = static_cast<const T *>(a.padding);
    const T *v_padding = padding == nullptr ? nullptr : padding + a.v_padding;

    for (unsigned i = threadIdx.x; i < QUERIES * DIM; i += THREADS) {
        uint32_t row = i / DIM, dim = i % DIM, token = first + row;
        float value = 0.f;
        if (token < a.queries.tokens && dim < a.head_dim) {
            value = read<T>(a.q, padding, a.queries, index, token, a.q_stride, offset + dim);
            if (a.q_bias != nullptr) value += a.q_bias[offset + dim];
            if (a.cos != nullptr) {
                float other = read<T>(a.q, padding, a.queries, index, token, a.q_stride, offset + (dim ^ 1));
                if (a.q_bias != nullptr) other += a.q_bias[offset + (dim ^ 1)];
                size_t at = static_cast<size_t>(token) * (a.head_dim / 2) + dim / 2;
                value = dim % 2 == 0 ? value * a.cos[at] - other * a.sin[at] : other * a.sin[at] + value * a.cos[at];
            }
        }
        q[row * ROW + dim] = value * a.scale;
    }

    float out[Q_EACH][DIM_EACH] = {}, max[Q_EACH], sum[Q_EACH] = {};
    for (unsigned i = 0; i < Q_EACH; i++) max[i] = -INFINITY;

    for (uint32_t start = 0; start < keys; start += KEYS) {
        __syncthreads(); // the last tile is done with
        for (unsigned i = threadIdx.x; i < KEYS * DIM; i += THREADS) {
            uint32_t row = i / DIM, dim = i % DIM, token = start + row;
            bool valid = token < keys && dim < a.head_dim;
            k[row * ROW + dim] = valid ? read<T>(a.k, nullptr, a.keys, index, token, a.k_stride, offset + dim) : 0.f;
            v[row * ROW + dim] = valid ? read<T>(a.v, v_padding, a.values, index, token, a.v_stride, offset + dim) : 0.f;
        }
        __syncthreads();

        float scores[Q_EACH][KEYS_EACH] = {};
        for (unsigned dim = 0; dim < a.head_dim; dim++) {
            float column[KEYS_EACH];
#pragma unroll
            for (unsigned j = 0; j < KEYS_EACH; j++) column[j] = k[(member + j * TEAM) * ROW + dim];
#pragma unroll
            for (unsigned i = 0; i < Q_EACH; i++)
#pragma unroll
                for (unsigned j = 0; j < KEYS_EACH; j++) scores[i][j] = fmaf(q[(team + i) * ROW + dim], column[j], scores[i][j]);
        }

#pragma unroll
        for (unsigned i = 0; i < Q_EACH; i++) {
            uint32_t query = min(first + team + i, a.queries.tokens - 1);
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
                p[(team + i) * (KEYS + 1) + member + j * TEAM] = weight;
            }
#pragma unroll
            for (unsigned j = 0; j < DIM_EACH; j++) out[i][j] *= shrink;
        }
        __syncwarp(); // a team's weights are read by the team alone

        for (unsigned key = 0; key < KEYS; key++) {
            float row[DIM_EACH];
#pragma unroll
            for (unsigned j = 0; j < DIM_EACH; j++) row[j] = v[key * ROW + member + j * TEAM];
#pragma unroll
            for (unsigned i = 0; i < Q_EACH; i++) {
                float weight = p[(team + i) * (KEYS + 1) + key];
#pragma unroll
                for (unsigned j = 0; j < DIM_EACH; j++) out[i][j] = fmaf(weight, row[j], out[i][j]);
            }
        }
    }

#pragma unroll
    for (unsigned i = 0; i < Q_EACH; i++) {
        float total = sum[i];
#pragma unroll
        for (unsigned step = TEAM / 2; step > 0; step /= 2) total += __shfl_xor_sync(FULL, total, step);
        uint32_t token = first + team + i;
        uint32_t place = token < a.queries.tokens ? row_of(a.queries, index, token) : PADDING;
        if (place == PADDING) continue;
        float factor = total > 0.f ? 1.f / total : 0.f;
        T *row = static_cast<T *>(a.out) + static_cast<size_t>(place) * a.out_stride + offset;
#pragma unroll
        for (unsigned j = 0; j < DIM_EACH; j++) {
            uint32_t dim = member + j * TEAM;
            if (dim >= a.head_dim) break;
            // Weights add up to 1, so the values' bias is added once, here.
            float bias = a.v_bias == nullptr ? 0.f : a.v_bias[offset + dim];
            row[dim] = from_float<T>(out[i][j] * factor + bias);
        }
    }
}

KERNEL(THREADS, AttentionArgs, attention_exact_f32) { attention_exact<float>(a); }
KERNEL(THREADS, AttentionArgs, attention_exact_f16) { attention_exact<f16>(a); }
KERNEL(THREADS, AttentionArgs, attention_exact_bf16) { attention_exact<bf16>(a); }
