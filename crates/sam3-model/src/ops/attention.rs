//! Scaled dot-product attention.

use candle_core::{D, Result, Tensor};

/// Queries that share one pass: the scores of 5184 tokens with each other are never all in memory.
const QUERY_BLOCK: usize = 128;

/// `softmax(q kᵀ / √head_dim + bias) v`, head by head.
///
/// `q` is `[batch, queries, heads × head_dim]`, `k` and `v` `[batch, keys, heads × head_dim]`; `bias` broadcasts to
/// `[heads, queries, keys]`. Returns `[batch, queries, heads × head_dim]`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, bias: Option<&Tensor>) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let keys = k.dim(1)?;
    let scale = 1.0 / ((width / heads) as f64).sqrt();
    let q = (split_heads(q, heads)? * scale)?;
    let k = split_heads(k, heads)?.transpose(2, 3)?;
    let v = split_heads(v, heads)?;
    let bias = match bias {
        Some(bias) => {
            let (bias_heads, bias_queries, _) = bias.dims3()?;
            Some(bias.broadcast_as((bias_heads, if bias_queries == 1 { queries } else { bias_queries }, keys))?)
        }
        None => None,
    };
    let mut blocks = Vec::with_capacity(queries.div_ceil(QUERY_BLOCK));
    for start in (0..queries).step_by(QUERY_BLOCK) {
        let len = QUERY_BLOCK.min(queries - start);
        let mut scores = q.narrow(2, start, len)?.contiguous()?.matmul(&k)?;
        if let Some(bias) = &bias {
            scores = scores.broadcast_add(&bias.narrow(1, start, len)?)?;
        }
        blocks.push(softmax(&scores)?.matmul(&v)?);
    }
    // [batch, heads, queries, head_dim] -> [batch, queries, heads × head_dim]
    Tensor::cat(&blocks, 2)?
        .transpose(1, 2)?
        .reshape((batch, queries, width))
}

/// `[batch, tokens, heads × head_dim]` -> `[batch, heads, tokens, head_dim]`.
fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (batch, tokens, width) = x.dims3()?;
    x.reshape((batch, tokens, heads, width / heads))?
        .transpose(1, 2)?
        .contiguous()
}

fn softmax(scores: &Tensor) -> Result<Tensor> {
    let exp = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}
