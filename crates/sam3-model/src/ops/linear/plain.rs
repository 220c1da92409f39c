//! The plain twin: candle's matmul, for tests.

use candle_core::{Result, Tensor};

use super::Activation;

/// `residual + activation(x Wᵀ + b)` for `x` `[rows, in]`, of the values that a layer's weight and bias were made from.
pub fn linear(
    (weight, bias): &(Tensor, Tensor),
    x: &Tensor,
    activation: Activation,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let y = x.matmul(&weight.t()?)?.broadcast_add(bias)?;
    let y = match activation {
        Activation::None => y,
        Activation::Gelu => y.gelu_erf()?,
        Activation::Relu => y.relu()?,
    };
    match residual {
        Some(residual) => residual + y,
        None => Ok(y),
    }
}
