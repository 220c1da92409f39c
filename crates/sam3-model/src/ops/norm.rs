//! LayerNorm over the last axis, GroupNorm over a feature map.

use candle_core::{D, Result, Tensor};

use crate::weights::Weights;

/// Normalises each token to mean 0 and variance 1, then scales and shifts it.
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
}

impl LayerNorm {
    /// Loads `weight` and `bias`, both `[width]`.
    pub fn load(weights: &Weights, width: usize, eps: f64) -> crate::Result<Self> {
        Ok(Self {
            weight: weights.tensor("weight", &[width])?,
            bias: weights.tensor("bias", &[width])?,
            eps,
        })
    }

    /// `x` is `[.., width]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let variance = x.sqr()?.mean_keepdim(D::Minus1)?;
        let x = x.broadcast_div(&(variance + self.eps)?.sqrt()?)?;
        x.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

/// Normalises each group of channels over the whole map; 8 groups.
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
}

impl GroupNorm {
    const GROUPS: usize = 8;
    const EPS: f64 = 1e-5;

    /// Loads `weight` and `bias`, both `[channels]`.
    pub fn load(weights: &Weights, channels: usize) -> crate::Result<Self> {
        Ok(Self {
            weight: weights.tensor("weight", &[channels])?,
            bias: weights.tensor("bias", &[channels])?,
        })
    }

    /// `x` is `[height, width, channels]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (height, width, channels) = x.dims3()?;
        let grouped = x.reshape((height, width, Self::GROUPS, channels / Self::GROUPS))?;
        let grouped = grouped.broadcast_sub(&group_mean(&grouped)?)?;
        let variance = group_mean(&grouped.sqr()?)?;
        let normed = grouped.broadcast_div(&(variance + Self::EPS)?.sqrt()?)?;
        normed
            .reshape((height, width, channels))?
            .broadcast_mul(&self.weight)?
            .broadcast_add(&self.bias)
    }
}

/// Mean of each group of `[height, width, groups, channels]`, axis by axis: one f32 sum over the 2.6 million values of a
/// group of SAM 3's finest map would lose four digits.
fn group_mean(grouped: &Tensor) -> Result<Tensor> {
    grouped.mean_keepdim(3)?.mean_keepdim(1)?.mean_keepdim(0)
}
