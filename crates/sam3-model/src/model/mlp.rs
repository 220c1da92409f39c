//! The official `MLP`: linear layers with ReLU between them.

use sam3_tensor::{
    Result, Tensor,
    ops::{Activation, Linear},
};

use crate::weights::Weights;

pub struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    /// `widths` are input, hidden …, output: `[256, 256, 4]` has `layers.0` and `layers.1`.
    pub fn load(weights: &Weights, widths: &[usize]) -> crate::Result<Self> {
        let layers = weights.pp("layers");
        let pairs = widths.windows(2).enumerate();
        let layers = pairs
            .map(|(i, pair)| layers.linear(&i.to_string(), pair[0], pair[1]))
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
