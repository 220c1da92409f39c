//! `y = x Wᵀ + b`, and what follows it.

mod plain;

use candle_core::{Result, Tensor};

pub use super::product::Activation;
use super::{
    Compute, host,
    product::{self, Epilogue, Matrix},
};
use crate::weights::{Weight, Weights};

/// A fully connected layer whose weight stays as the file has it.
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    compute: Compute,
}

impl Linear {
    /// `weight` is `[out, in]`, `bias` `[out]`; products are f32.
    pub fn new(weight: Weight, bias: Option<Tensor>) -> Self {
        Self {
            weight,
            bias,
            compute: Compute::F32,
        }
    }

    /// Loads `weight` and `bias` of an `nn.Linear`.
    pub fn load(weights: &Weights, input: usize, output: usize) -> crate::Result<Self> {
        let weight = weights.weight("weight", &[output, input])?;
        let bias = weights.tensor("bias", &[output])?;
        Ok(Self::new(weight, Some(bias)).with_compute(weights.compute()))
    }

    /// The same layer with products of another precision.
    pub fn with_compute(mut self, compute: Compute) -> Self {
        self.compute = compute;
        self
    }

    /// `[out]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// `x` is `[.., in]`; returns `[.., out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, Activation::None, None)
    }

    /// [`forward`](Self::forward), then GELU or ReLU.
    pub fn forward_then(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.apply(x, activation, None)
    }

    /// `residual + forward(x)`.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.apply(x, Activation::None, Some(residual))
    }

    fn apply(&self, x: &Tensor, activation: Activation, residual: Option<&Tensor>) -> Result<Tensor> {
        let [output, input] = *self.weight.shape() else {
            unreachable!("Linear::new takes a matrix")
        };
        let mut dims = x.dims().to_vec();
        let rows = x.elem_count() / input;
        if let Some(last) = dims.last_mut() {
            *last = output;
        }
        if !host::is_host(x) {
            return plain::linear(self, &x.reshape((rows, input))?, activation, residual)?.reshape(dims);
        }
        let x = x.contiguous()?;
        let values = host::values(&x)?;
        let bias = self.bias.as_ref().map(host::values).transpose()?;
        let residual = residual.map(Tensor::contiguous).transpose()?;
        let residual = residual.as_ref().map(host::values).transpose()?;
        let mut out = vec![0f32; rows * output];
        let epilogue = Epilogue {
            bias: bias.as_deref(),
            activation,
            residual: residual.as_deref(),
        };
        let a = Matrix {
            values: &values,
            depth: input,
        };
        product::product(self.compute, &a, &self.weight.reader(), epilogue, &mut out);
        Tensor::from_vec(out, dims, x.device())
    }
}

#[cfg(test)]
mod tests {
    use super::{Activation, Linear, plain};
    use crate::{
        ops::testing::{assert_close, tensor},
        weights::Weight,
    };

    #[test]
    fn equals_its_plain_twin() {
        for (rows, input, output) in [(1, 1, 1), (7, 31, 33), (33, 64, 7), (201, 256, 65)] {
            for activation in [Activation::None, Activation::Gelu, Activation::Relu] {
                let weight = Weight::from_tensor(&tensor(&[output, input], 1)).unwrap();
                let layer = Linear::new(weight, Some(tensor(&[output], 2)));
                let (x, residual) = (tensor(&[rows, input], 3), tensor(&[rows, output], 4));
                for residual in [None, Some(&residual)] {
                    let found = layer.apply(&x, activation, residual).unwrap();
                    let expected = plain::linear(&layer, &x, activation, residual).unwrap();
                    assert_close(
                        &found,
                        &expected,
                        2e-5,
                        &format!("{rows}×{input}×{output} {activation:?}"),
                    );
                }
            }
        }
    }
}
