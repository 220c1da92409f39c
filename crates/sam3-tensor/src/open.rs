//! GPUs opened, and tried out.

use crate::{
    Device, Result, Tensor,
    gpu::{self, GpuError},
};

/// Opens GPU `index`, and runs a first kernel there, so that one which cannot is known before a model is loaded.
///
/// # Errors
/// When there is none, or it does not work; nothing panics for want of a driver.
pub fn open_gpu(index: usize) -> Result<Device, GpuError> {
    let device = Device::Cuda(gpu::open(index)?);
    let unusable = |reason: String| GpuError::Unusable { index, reason };
    match one_and_one(&device) {
        Ok(2.0) => Ok(device),
        Ok(other) => Err(unusable(format!("1 + 1 = {other} there"))),
        Err(error) => Err(unusable(error.to_string())),
    }
}

fn one_and_one(device: &Device) -> Result<f32> {
    let one = Tensor::from_vec(vec![1f32], 1, device)?;
    Ok((&one + &one)?.to_vec()?[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_gpu_is_told_so() {
        assert_eq!(Device::Cpu.to_string(), "cpu");
        assert_eq!(Device::Cpu.usage(), None);
        // With a GPU or without, there is no ten thousandth.
        let error = open_gpu(9999).unwrap_err();
        assert_eq!(error == GpuError::NotBuilt, !gpu::is_built(), "{error}");
    }
}
