//! The plain twins: loops, sums in f64, for tests.

use crate::{Result, Tensor};

use super::{GroupNorm, LayerNorm};

/// See [`LayerNorm::forward`].
pub fn layer_norm(norm: &LayerNorm, x: &Tensor) -> Result<Tensor> {
    let (weight, bias) = (norm.weight.values::<f32>()?, norm.bias.values::<f32>()?);
    let mut out = Vec::with_capacity(x.elem_count());
    for row in x.values::<f32>()?.chunks_exact(weight.len()) {
        let (mean, variance) = moments(row.iter().copied());
        for ((x, weight), bias) in row.iter().zip(weight).zip(bias) {
            let normed = (f64::from(*x) - mean) / (variance + norm.eps).sqrt();
            out.push((normed * f64::from(*weight) + f64::from(*bias)) as f32);
        }
    }
    Tensor::from_vec(out, x.dims(), x.device())
}

/// See [`GroupNorm::forward_relu`].
pub fn group_norm_relu(norm: &GroupNorm, x: &Tensor) -> Result<Tensor> {
    let channels = x.dim(2)?;
    let (weight, bias) = (norm.weight.values::<f32>()?, norm.bias.values::<f32>()?);
    let values = x.values::<f32>()?;
    let group = |i: usize| i % channels / (channels / GroupNorm::GROUPS);
    let of_group = |of: usize| values.iter().enumerate().filter(move |(i, _)| group(*i) == of);
    let moments: Vec<_> = (0..GroupNorm::GROUPS)
        .map(|of| moments(of_group(of).map(|(_, x)| *x)))
        .collect();
    let of = |(i, x): (usize, &f32)| {
        let ((mean, variance), channel) = (moments[group(i)], i % channels);
        let normed = (f64::from(*x) - mean) / (variance + GroupNorm::EPS).sqrt();
        (normed * f64::from(weight[channel]) + f64::from(bias[channel])).max(0.0) as f32
    };
    Tensor::from_vec(values.iter().enumerate().map(of).collect(), x.dims(), x.device())
}

/// Mean and variance.
fn moments(values: impl Iterator<Item = f32> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / count;
    let squares = values.map(|x| (f64::from(x) - mean).powi(2));
    (mean, squares.sum::<f64>() / count)
}
