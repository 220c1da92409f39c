//! LayerNorm over the last axis, GroupNorm over a feature map.

use candle_core::{DType, Result, Tensor, bail};

use super::host;

/// `weight (x - mean) / √(variance + eps) + bias` of each token of `x`, `[.., width]`, as the type `out`.
///
/// `weight` and `bias` are f32 `[width]`.
pub fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64, out: DType) -> Result<Tensor> {
    let width = x.dim(candle_core::D::Minus1)?;
    if weight.dims() != [width] || bias.dims() != [width] {
        bail!(
            "LayerNorm of {:?}: weight {:?}, bias {:?}",
            x.dims(),
            weight.dims(),
            bias.dims()
        );
    }
    layer_norm_twin(x, weight, bias, eps, out)
}

fn layer_norm_twin(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64, out: DType) -> Result<Tensor> {
    let (weight, bias) = (host::values(weight)?, host::values(bias)?);
    let mut values = host::values(x)?;
    for row in values.chunks_exact_mut(weight.len().max(1)) {
        let (mean, scale) = statistics(row.iter().copied(), eps);
        for ((x, weight), bias) in row.iter_mut().zip(&weight).zip(&bias) {
            *x = (*x - mean) * scale * weight + bias;
        }
    }
    host::tensor(values, x.dims(), out, x)
}

/// GroupNorm with ReLU, which always follows here: `x` is `[height, width, channels]`, its channels in `groups` groups that each
/// have one mean and variance over the whole map.
///
/// `weight` and `bias` are f32 `[channels]`; returns `x`'s shape as the type `out`.
pub fn group_norm_relu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: usize,
    eps: f64,
    out: DType,
) -> Result<Tensor> {
    let (_, _, channels) = x.dims3()?;
    if weight.dims() != [channels] || bias.dims() != [channels] || channels % groups != 0 {
        bail!(
            "GroupNorm of {:?} in {groups} groups: weight {:?}, bias {:?}",
            x.dims(),
            weight.dims(),
            bias.dims()
        );
    }
    group_norm_twin(x, weight, bias, groups, eps, out)
}

fn group_norm_twin(x: &Tensor, weight: &Tensor, bias: &Tensor, groups: usize, eps: f64, out: DType) -> Result<Tensor> {
    let (weight, bias) = (host::values(weight)?, host::values(bias)?);
    let mut values = host::values(x)?;
    let channels = weight.len();
    let size = channels / groups;
    for group in 0..groups {
        let of_group = values
            .chunks_exact(channels)
            .flat_map(|pixel| &pixel[group * size..][..size]);
        let (mean, scale) = statistics(of_group.copied(), eps);
        for pixel in values.chunks_exact_mut(channels) {
            for i in group * size..(group + 1) * size {
                pixel[i] = ((pixel[i] - mean) * scale * weight[i] + bias[i]).max(0.0);
            }
        }
    }
    host::tensor(values, x.dims(), out, x)
}

/// Mean and `1 / √(variance + eps)`.
fn statistics(values: impl Iterator<Item = f32> + Clone, eps: f64) -> (f32, f32) {
    let count = values.clone().count() as f64;
    let mean = values.clone().map(f64::from).sum::<f64>() / count;
    let variance = values.map(|x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
    (mean as f32, (1.0 / (variance + eps).sqrt()) as f32)
}
