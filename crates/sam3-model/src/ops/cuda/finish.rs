//! What follows a matrix product.

use candle_core::{DType, Result, Tensor, bail};

use super::host;
use crate::ops::Activation;

/// `residual + activation(y + bias)` as the type `out`.
///
/// `y` is `[.., columns]`, `bias` f32 `[columns]`, `residual` of `y`'s shape, or its element count, in any float type.
pub fn finish(
    y: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    residual: Option<&Tensor>,
    out: DType,
) -> Result<Tensor> {
    let columns = y.dim(candle_core::D::Minus1)?;
    if let Some(bias) = bias
        && bias.dims() != [columns]
    {
        bail!("bias {:?} after a product {:?}", bias.dims(), y.dims());
    }
    if let Some(residual) = residual
        && residual.elem_count() != y.elem_count()
    {
        bail!("residual {:?} after a product {:?}", residual.dims(), y.dims());
    }
    twin(y, bias, activation, residual, out)
}

fn twin(
    y: &Tensor,
    bias: Option<&Tensor>,
    activation: Activation,
    residual: Option<&Tensor>,
    out: DType,
) -> Result<Tensor> {
    let y = y.to_dtype(DType::F32)?;
    let sum = match bias {
        Some(bias) => y.broadcast_add(bias)?,
        None => y,
    };
    let value = match activation {
        Activation::None => sum,
        Activation::Gelu => sum.gelu_erf()?,
        Activation::Relu => sum.relu()?,
    };
    match residual {
        Some(residual) => (residual.reshape(value.dims())?.to_dtype(DType::F32)? + value)?.to_dtype(out),
        None => value.to_dtype(out),
    }
}
