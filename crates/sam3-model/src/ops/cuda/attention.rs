//! Scaled dot-product attention.

use candle_core::{Result, Tensor, bail};

use super::host;

/// `softmax(q kᵀ / √head_dim + bias) v`, head by head, as [`crate::ops::attention`].
///
/// `q` is `[batch, queries, heads × head_dim]`, `k` and `v` `[batch, keys, heads × head_dim]`, all of one type; `bias`, f32,
/// broadcasts to `[heads, queries, keys]`. Returns `[batch, queries, heads × head_dim]` in `q`'s type. A query that may see no key
/// at all gives zeros. `head_dim` is 64 at most.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, bias: Option<&Tensor>) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let keys = k.dim(1)?;
    if k.dims() != [batch, keys, width] || v.dims() != k.dims() || width % heads != 0 {
        bail!(
            "attention of {heads} heads: q {:?}, k {:?}, v {:?}",
            q.dims(),
            k.dims(),
            v.dims()
        );
    }
    if let Some(bias) = bias {
        bias.broadcast_as((heads, queries, keys))?;
    }
    twin(q, k, v, heads, bias)
}

fn twin(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, bias: Option<&Tensor>) -> Result<Tensor> {
    let (batch, queries, width) = q.dims3()?;
    let keys = k.dim(1)?;
    let bias = bias
        .map(|bias| host::values(&bias.broadcast_as((heads, queries, keys))?))
        .transpose()?;
    let (q_values, k, v) = (host::values(q)?, host::values(k)?, host::values(v)?);
    let mut out = vec![0f32; batch * queries * width];
    for b in 0..batch {
        let (q, out) = (&q_values[b * queries * width..], &mut out[b * queries * width..]);
        let (k, v) = (&k[b * keys * width..], &v[b * keys * width..]);
        rows(q, k, v, (heads, queries, keys), width, bias.as_deref(), out);
    }
    host::tensor(out, &[batch, queries, width], q.dtype(), q)
}

/// One batch element; rows of `q`, `k`, `v` and `out` are `width` long, `bias` is `[heads, queries, keys]`.
pub(super) fn rows(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    (heads, queries, keys): (usize, usize, usize),
    width: usize,
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let head_dim = width / heads;
    let scale = 1.0 / (head_dim as f32).sqrt();
    let mut scores = vec![0f32; keys];
    for (head, query) in (0..heads).flat_map(|head| (0..queries).map(move |query| (head, query))) {
        let at = |row: usize| row * width + head * head_dim;
        let q = &q[at(query)..][..head_dim];
        for (key, score) in scores.iter_mut().enumerate() {
            let k = &k[at(key)..][..head_dim];
            let bias = bias.map_or(0.0, |bias| bias[(head * queries + query) * keys + key]);
            *score = q.iter().zip(k).map(|(q, k)| q * k).sum::<f32>() * scale + bias;
        }
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if max == f32::NEG_INFINITY {
            continue;
        }
        scores.iter_mut().for_each(|score| *score = (*score - max).exp());
        let total: f32 = scores.iter().sum();
        let out = &mut out[at(query)..][..head_dim];
        for (key, score) in scores.iter().enumerate() {
            let v = &v[at(key)..][..head_dim];
            out.iter_mut().zip(v).for_each(|(out, v)| *out += score / total * v);
        }
    }
}
