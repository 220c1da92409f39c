//! The official `MLP`: linear layers with ReLU between them.

use candle_core::{Result, Tensor};

use crate::{
    ops::{Activation, Linear},
    weights::Weights,
};

pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// `widths` are input, hidden …, output: `[256, 256, 4]` has `layers.0` and `layers.1`.
    pub fn load(weights: &Weights, widths: &[usize]) -> crate::Result<Self> {
        let layers = weights.pp("layers");
        let pairs = widths.windows(2).enumerate();
        let layers = pairs
            .map(|(i, pair)| Linear::load(&layers.pp(i), pair[0], pair[1]))
            .collect::<crate::Result<_>>()?;
        Ok(Self { layers })
    }

    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            let last = i + 1 == self.layers.len();
            x = layer.forward_then(&x, if last { Activation::None } else { Activation::Relu })?;
        }
        Ok(x)
    }
}

/// `linear1`, ReLU, `linear2`: the feed-forward of every layer behind the encoders.
pub struct FeedForward {
    linear1: Linear,
    linear2: Linear,
}

impl FeedForward {
    pub fn load(weights: &Weights, width: usize) -> crate::Result<Self> {
        let hidden = weights.rows("linear1.weight").unwrap_or(8 * width);
        Ok(Self {
            linear1: Linear::load(&weights.pp("linear1"), width, hidden)?,
            linear2: Linear::load(&weights.pp("linear2"), hidden, width)?,
        })
    }

    /// `residual` plus both layers of `x`.
    pub fn forward_add(&self, residual: &Tensor, x: &Tensor) -> Result<Tensor> {
        self.linear1
            .forward_through(x, Activation::Relu, &self.linear2, Some(residual))
    }
}
