//! The plain twins: candle's composed ops, for other devices and for tests.

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
    let grouped = x.reshape((height * width, GroupNorm::GROUPS, channels / GroupNorm::GROUPS))?;
    let mean = grouped.mean_keepdim((0, 2))?;
    let grouped = grouped.broadcast_sub(&mean)?;
    let variance = grouped.sqr()?.mean_keepdim((0, 2))?;
    let normed = grouped.broadcast_div(&(variance + GroupNorm::EPS)?.sqrt()?)?;
    normed
        .reshape((height, width, channels))?
        .broadcast_mul(&norm.weight)?
        .broadcast_add(&norm.bias)
}
