//! What the plain twins share: values in and out as f32.

use crate::{DType, Device, Result, Tensor};

/// The values of any float tensor, in order.
pub fn values(x: &Tensor) -> Result<Vec<f32>> {
    x.to_dtype(DType::F32)?.to_vec()
}

/// A tensor on `like`'s device.
pub fn tensor(values: Vec<f32>, shape: &[usize], out: DType, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, shape, &Device::Cpu)?
        .to_dtype(out)?
        .to_device(like.device())
}
