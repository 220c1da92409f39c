//! The layer on an accelerator: the device's own product, then everything else in one pass over its result.

use candle_core::{DType, Result, Tensor};

use super::{Activation, Linear};
use crate::ops::{cuda, device};

/// `residual + activation(x Wᵀ + b)` for `x` `[rows, in]`, as `out`.
pub fn linear(
    layer: &Linear,
    x: &Tensor,
    activation: Activation,
    residual: Option<&Tensor>,
    out: DType,
) -> Result<Tensor> {
    let y = product(layer, x)?;
    let residual = residual.map(|residual| residual.reshape(y.dims())).transpose()?;
    cuda::finish(&y, layer.bias.as_ref(), activation, residual.as_ref(), out)
}

/// `x Wᵀ` in the layer's precision.
pub fn product(layer: &Linear, x: &Tensor) -> Result<Tensor> {
    let x = device::operand(x, layer.compute)?;
    device::product(&x, &layer.weight.matrix(x.dtype())?)
}
