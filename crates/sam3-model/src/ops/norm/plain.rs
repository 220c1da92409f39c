//! The plain twins: candle's composed ops, for tests.

use candle_core::{D, Result, Tensor};

use super::{GroupNorm, LayerNorm};

/// See [`LayerNorm::forward`].
pub fn layer_norm(norm: &LayerNorm, x: &Tensor) -> Result<Tensor> {
    let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
    let x = x.broadcast_div(&(variance + norm.eps)?.sqrt()?)?;
    x.broadcast_mul(&norm.weight)?.broadcast_add(&norm.bias)
}

/// See [`GroupNorm::forward`].
pub fn group_norm(norm: &GroupNorm, x: &Tensor) -> Result<Tensor> {
    let (height, width, channels) = x.dims3()?;
    let grouped = x.reshape((height, width, GroupNorm::GROUPS, channels / GroupNorm::GROUPS))?;
    let grouped = grouped.broadcast_sub(&group_mean(&grouped)?)?;
    let variance = group_mean(&grouped.sqr()?)?;
    let normed = grouped.broadcast_div(&(variance + GroupNorm::EPS)?.sqrt()?)?;
    normed
        .reshape((height, width, channels))?
        .broadcast_mul(&norm.weight)?
        .broadcast_add(&norm.bias)
}

/// Mean of each group of `[height, width, groups, channels]`, axis by axis: one f32 sum over the 2.6 million values of a
/// group of SAM 3's finest map would lose four digits.
fn group_mean(grouped: &Tensor) -> Result<Tensor> {
    grouped.mean_keepdim(3)?.mean_keepdim(1)?.mean_keepdim(0)
}
