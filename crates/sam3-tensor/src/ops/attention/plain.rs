//! The plain twins: loops, sums in f64, for tests.

use crate::{Result, Tensor};

use crate::ops::Rope;

/// See [`super::attention`]; `bias` is one of scores.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, bias: Option<&Tensor>) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let (keys, head_dim) = (k.dim(1)?, width / heads);
    let bias = bias.map(|bias| bias.broadcast_as((heads, queries, keys))).transpose()?;
    let bias = bias.as_ref().map(Tensor::values::<f32>).transpose()?;
    let (q_values, k, v) = (q.values::<f32>()?, k.values::<f32>()?, v.values::<f32>()?);
    let mut out = vec![0f32; batch * queries * width];
    for (i, out) in out.chunks_exact_mut(head_dim).enumerate() {
        let (batch, query, head) = (i / heads / queries, i / heads % queries, i % heads);
        let row = |key: usize| ((batch * keys + key) * heads + head) * head_dim;
        let q = &q_values[i * head_dim..][..head_dim];
        let score = |key: usize| {
            let k = &k[row(key)..][..head_dim];
            let product: f64 = q.iter().zip(k).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum();
            let bias = bias.map_or(0.0, |bias| bias[(head * queries + query) * keys + key]);
            product / (head_dim as f64).sqrt() + f64::from(bias)
        };
        let shares = softmax((0..keys).map(score).collect());
        for (channel, out) in out.iter_mut().enumerate() {
            let value = |key: usize| f64::from(v[row(key) + channel]);
            *out = shares
                .iter()
                .enumerate()
                .map(|(key, share)| share * value(key))
                .sum::<f64>() as f32;
        }
    }
    Tensor::from_vec(out, (batch, queries, width), q.device())
}

fn softmax(scores: Vec<f64>) -> Vec<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let shares: Vec<f64> = scores.into_iter().map(|score| (score - largest).exp()).collect();
    let total: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / total).collect()
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
        .permute([0, 2, 1, 3, 4])?
        .reshape((rows * columns, window * window, channels))
}

/// The way back: `[windows, window², channels]` -> `[height, width, channels]`.
fn window_unpartition(x: &Tensor, window: usize, height: usize, width: usize) -> Result<Tensor> {
    let channels = x.dim(2)?;
    let (rows, columns) = (height.div_ceil(window), width.div_ceil(window));
    x.reshape((rows, columns, window, window, channels))?
        .permute([0, 2, 1, 3, 4])?
        .reshape((rows * window, columns * window, channels))?
        .narrow(0, 0, height)?
        .narrow(1, 0, width)
}
