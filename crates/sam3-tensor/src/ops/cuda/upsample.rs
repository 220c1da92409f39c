//! Nearest-neighbour upsampling of a coarse map onto a fine one.

use crate::{
    DType, Result, Tensor,
    error::mismatch,
    launch::{self, Address, Args, Launch, Module, module, type_name},
};

use super::host;

/// `F.interpolate(x, mode="nearest") + level` as the type `out`: `x` is f32 `[h, w, channels]`, `level` f32 `[height, width, channels]`.
pub fn upsample_add(x: &Tensor, level: &Tensor, out: DType) -> Result<Tensor> {
    let ((h, w, _), (height, width, channels)) = (x.dims3()?, level.dims3()?);
    if x.dim(2)? != channels || h * w == 0 {
        mismatch!("a map {:?} added to {:?}", x.dims(), level.dims());
    }
    if !launch::runs_on(x.device()) {
        return twin(x, level, out);
    }
    const MODULE: Module = module!("upsample");
    const THREADS: usize = 256;
    let Ok(total) = u32::try_from(level.elem_count()) else {
        mismatch!("a map {:?} of more than 2³² values", level.dims());
    };
    let sum = launch::uninitialised(level.dims(), out, x.device())?;
    let mut launch = Launch::on(x.device());
    let args = UpsampleArgs {
        x: launch.input(x, DType::F32)?,
        level: launch.input(level, DType::F32)?,
        out: launch.output(&sum)?,
        h: h as u32,
        w: w as u32,
        height: height as u32,
        width: width as u32,
        channels: channels as u32,
        total,
    };
    let addresses = [(args.x, DType::F32), (args.level, DType::F32), (args.out, out)];
    let vectors = channels.is_multiple_of(4) && launch::aligned(&addresses, 4);
    let (kernel, each) = if vectors {
        ("upsample_add_vectors", 4)
    } else {
        ("upsample_add", 1)
    };
    let kernel = format!("{kernel}_{}", type_name(out)?);
    let blocks = [level.elem_count().div_ceil(each * THREADS), 1, 1];
    // SAFETY: a thread for each `each` values of the sum, whose coarse pixels lie within `x`.
    unsafe { launch.run(MODULE, &kernel, blocks, THREADS, args)? };
    Ok(sum)
}

/// `UpsampleArgs` of `kernels/upsample.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct UpsampleArgs {
    x: Address,
    level: Address,
    out: Address,
    h: u32,
    w: u32,
    height: u32,
    width: u32,
    channels: u32,
    total: u32,
}

// SAFETY: as its source has it; 48 bytes.
unsafe impl Args for UpsampleArgs {}

fn twin(x: &Tensor, level: &Tensor, out: DType) -> Result<Tensor> {
    let ((h, w, channels), (height, width, _)) = (x.dims3()?, level.dims3()?);
    let (coarse, mut sums) = (host::values(x)?, host::values(level)?);
    for (pixel, sums) in sums.chunks_exact_mut(channels.max(1)).enumerate() {
        let (row, column) = (pixel / width * h / height, pixel % width * w / width);
        let coarse = &coarse[(row * w + column) * channels..][..channels];
        sums.iter_mut().zip(coarse).for_each(|(sum, coarse)| *sum += coarse);
    }
    host::tensor(sums, level.dims(), out, level)
}
