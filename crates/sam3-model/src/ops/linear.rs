//! `y = x Wᵀ + b`.

use candle_core::{Result, Tensor};

use crate::weights::{Weight, Weights};

/// A fully connected layer whose weight stays as the file has it.
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
}

impl Linear {
    /// `weight` is `[out, in]`, `bias` `[out]`.
    pub fn new(weight: Weight, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// Loads `weight` and `bias` of an `nn.Linear`.
    pub fn load(weights: &Weights, input: usize, output: usize) -> crate::Result<Self> {
        Ok(Self::new(
            weights.weight("weight", &[output, input])?,
            Some(weights.tensor("bias", &[output])?),
        ))
    }

    /// `x` is `[.., in]`; returns `[.., out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let [output, input] = *self.weight.shape() else {
            unreachable!("Linear::new takes a matrix")
        };
        let mut dims = x.dims().to_vec();
        let rows = x.elem_count() / input;
        let y = x.reshape((rows, input))?.matmul(&self.weight.to_tensor()?.t()?)?;
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        if let Some(last) = dims.last_mut() {
            *last = output;
        }
        y.reshape(dims)
    }
}
