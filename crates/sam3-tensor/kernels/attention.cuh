// What the attention kernels share.
#pragma once
#include "places.cuh"

struct AttentionArgs {
    const void *q, *k, *v;      // rows of heads × head_dim values
    const void *padding;        // the q and v rows of a token that is padding; null: zeros
    const float *bias;          // added to scores; null: nothing is
    const float *q_bias, *v_bias; // [heads × head_dim], added to queries and values; null: nothing is
    const float *cos, *sin;     // [tokens, head_dim / 2], turns of the queries; null: none. Keys come turned
    void *out;
    float *parts;               // [batch, heads, queries, splits, 2 + head_dim]: maximum, sum and output of some of the keys; null: all in one
    uint32_t q_stride, k_stride, v_stride, out_stride; // values from row to row
    uint32_t v_padding;         // where in `padding` v begins
    uint32_t head_dim;
    uint32_t bias_head, bias_query, bias_key; // values from one to the next; 0 broadcasts
    Places queries, keys, values;
    float scale;
    uint32_t splits, split_keys; // keys are shared among `splits` blocks, so many each; 1 where `parts` is null
    uint32_t by_fours;          // whether four values of a row may be moved as one
    uint32_t unused;
};

constexpr float LOG2_E = 1.44269504088896f;
