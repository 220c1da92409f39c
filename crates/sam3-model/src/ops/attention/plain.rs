//! The plain twins: candle's composed ops, for tests.

use candle_core::{D, Result, Tensor};

use crate::ops::Rope;

/// Queries that share one pass: the scores of 5184 tokens with each other are never all in memory.
const QUERY_BLOCK: usize = 128;

/// See [`super::attention`].
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

/// See [`super::MapAttention`].
pub fn map_attention(
    qkv: &Tensor,
    padding: Option<&Tensor>,
    heads: usize,
    rope: &Rope,
    window: Option<usize>,
) -> Result<Tensor> {
    let (height, width, channels) = qkv.dims3()?;
    let channels = channels / 3;
    let tokens = match window {
        Some(window) => window_partition(qkv, padding, window)?,
        None => qkv.reshape((1, height * width, 3 * channels))?,
    };
    let part = |index: usize| tokens.narrow(2, index * channels, channels);
    let (q, k) = (rope.forward(&part(0)?, heads)?, rope.forward(&part(1)?, heads)?);
    let y = attention(&q, &k, &part(2)?, heads, None)?;
    match window {
        Some(window) => window_unpartition(&y, window, height, width),
        None => y.reshape((height, width, channels)),
    }
}

/// `[height, width, channels]` -> `[windows, window², channels]`, padded to whole windows.
fn window_partition(x: &Tensor, padding: Option<&Tensor>, window: usize) -> Result<Tensor> {
    let (height, width, channels) = x.dims3()?;
    let (rows, columns) = (height.div_ceil(window), width.div_ceil(window));
    let padding = match padding {
        Some(padding) => padding.clone(),
        None => Tensor::zeros(channels, x.dtype(), x.device())?,
    };
    let right = padding.broadcast_as((height, columns * window - width, channels))?;
    let x = Tensor::cat(&[x, &right], 1)?;
    let below = padding.broadcast_as((rows * window - height, columns * window, channels))?;
    let x = Tensor::cat(&[&x, &below], 0)?;
    x.reshape((rows, window, columns, window, channels))?
        .permute((0, 2, 1, 3, 4))?
        .reshape((rows * columns, window * window, channels))
}

/// The way back: `[windows, window², channels]` -> `[height, width, channels]`.
fn window_unpartition(x: &Tensor, window: usize, height: usize, width: usize) -> Result<Tensor> {
    let channels = x.dim(2)?;
    let (rows, columns) = (height.div_ceil(window), width.div_ceil(window));
    x.reshape((rows, columns, window, window, channels))?
        .permute((0, 2, 1, 3, 4))?
        .reshape((rows * window, columns * window, channels))?
        .narrow(0, 0, height)?
        .narrow(1, 0, width)?
        .contiguous()
}
