//! The plain twin: candle's matmul, for tests.

use candle_core::{Result, Tensor};

use super::{Activation, Linear};

/// `residual + activation(x Wᵀ + b)` for `x` `[rows, in]`.
pub fn linear(layer: &Linear, x: &Tensor, activation: Activation, residual: Option<&Tensor>) -> Result<Tensor> {
    let y = x.matmul(&layer.weight.to_tensor()?.t()?)?;
    let y = match &layer.bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    let y = match activation {
        Activation::None => y,
        Activation::Gelu => y.gelu_erf()?,
        Activation::Relu => y.relu()?,
    };
    match residual {
        Some(residual) => residual.reshape(y.dims())? + y,
        None => Ok(y),
    }
}
