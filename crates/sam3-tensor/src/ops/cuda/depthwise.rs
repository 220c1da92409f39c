//! The 7 × 7 convolution of each channel for itself.

use crate::{
    DType, Result, Tensor,
    launch::{self, Address, Args, Launch, Module, module},
};

use super::host;

/// As [`crate::ops::DepthwiseConv7x7`]: `x` is f32 `[height, width, channels]`, `kernel` `[7 × 7, channels]`, `bias`
/// `[channels]`.
pub fn depthwise_7x7(x: &Tensor, kernel: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if !launch::runs_on(x.device()) {
        return twin(x, kernel, bias);
    }
    const MODULE: Module = module!("depthwise");
    const THREADS: usize = 256;
    let (height, width, channels) = x.dims3()?;
    let out = launch::uninitialised(x.dims(), DType::F32, x.device())?;
    let mut launch = Launch::on(x.device());
    let args = DepthwiseArgs {
        x: launch.input(x, DType::F32)?,
        kernel: launch.input(kernel, DType::F32)?,
        bias: launch.input(bias, DType::F32)?,
        out: launch.output(&out)?,
        total: x.elem_count() as u64,
        height: height as u32,
        width: width as u32,
        channels: channels as u32,
        unused: 0,
    };
    let blocks = [x.elem_count().div_ceil(THREADS), 1, 1];
    // SAFETY: a thread for each value of both maps, which reads no other place than the map's and the kernel's.
    unsafe { launch.run(MODULE, "depthwise_7x7", blocks, THREADS, args)? };
    Ok(out)
}

/// `DepthwiseArgs` of `kernels/depthwise.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct DepthwiseArgs {
    x: Address,
    kernel: Address,
    bias: Address,
    out: Address,
    total: u64,
    height: u32,
    width: u32,
    channels: u32,
    unused: u32,
}

// SAFETY: as its source has it; 56 bytes.
unsafe impl Args for DepthwiseArgs {}

fn twin(x: &Tensor, kernel: &Tensor, bias: &Tensor) -> Result<Tensor> {
    let (height, width, _) = x.dims3()?;
    let padded = x.pad_with_zeros(0, 3, 3)?.pad_with_zeros(1, 3, 3)?;
    let mut sums = bias.broadcast_as(x.dims())?;
    for tap in 0..49 {
        let shifted = padded.narrow(0, tap / 7, height)?.narrow(1, tap % 7, width)?;
        sums = (sums + (shifted * kernel.rows(tap, 1)?)?)?;
    }
    host::tensor(host::values(&sums)?, x.dims(), DType::F32, x)
}
