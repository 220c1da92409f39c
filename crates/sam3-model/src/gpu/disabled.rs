//! A build without CUDA.

use candle_core::Device;

use super::{GpuError, Memory};

pub fn open(_: usize) -> Result<Device, GpuError> {
    Err(GpuError::NotBuilt)
}

pub fn name(_: &Device) -> Option<String> {
    None
}

pub fn memory(_: &Device) -> Option<Memory> {
    None
}
