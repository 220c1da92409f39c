//! The layer on an accelerator: the device's own product, then everything else in one pass over its result; or all of
//! it in one kernel, where there is no activation and the result is f32.

use crate::{DType, Result, Tensor};

use super::{Activation, Linear};
use crate::ops::{cuda, device, matmul_t};

/// `residual + activation(x Wᵀ + b)` for `x` `[rows, in]`, as `out`.
pub fn linear(
    layer: &Linear,
    x: &Tensor,
    activation: Activation,
    residual: Option<&Tensor>,
    out: DType,
) -> Result<Tensor> {
    let [columns, _] = layer.extents();
    let residual = residual
        .map(|residual| residual.reshape((x.dim(0)?, columns)))
        .transpose()?;
    if matches!(activation, Activation::None) && out == DType::F32 && layer.compute.dtype() != DType::F32 {
        let x = device::operand(x, layer.compute)?;
        let w = layer.weight.matrix(x.dtype())?;
        return cuda::product_add(&x, &w, layer.bias.as_ref(), residual.as_ref());
    }
    let y = product(layer, x)?;
    cuda::finish(&y, layer.bias.as_ref(), activation, residual.as_ref(), out)
}

/// `x Wᵀ` in the layer's precision.
pub fn product(layer: &Linear, x: &Tensor) -> Result<Tensor> {
    let x = device::operand(x, layer.compute)?;
    matmul_t(&x, &layer.weight.matrix(x.dtype())?)
}
