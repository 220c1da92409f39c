//! Nearest-neighbour upsampling of a coarse map onto a fine one.

use std::ops::Range;

use crate::{
    DType, Result, Tensor,
    error::mismatch,
    launch::{self, Address, Args, Launch, Module, module, type_name},
};

use super::host;

/// Some `rows` of `F.interpolate(x, mode="nearest") + level` as the type `out`: `x` is f32 `[h, w, channels]`, `level`
/// `[height, width, channels]` of any float type; returns `[rows, width, channels]`.
pub fn upsample_add_rows(x: &Tensor, level: &Tensor, rows: Range<usize>, out: DType) -> Result<Tensor> {
    let ((h, w, _), (height, width, channels)) = (x.dims3()?, level.dims3()?);
    if x.dim(2)? != channels || h * w == 0 || rows.start > rows.end || rows.end > height {
        mismatch!("a map {:?} added to rows {rows:?} of {:?}", x.dims(), level.dims());
    }
    if !launch::runs_on(x.device()) {
        return twin(x, level, rows, out);
    }
    const MODULE: Module = module!("upsample");
    const THREADS: usize = 256;
    let sum = launch::uninitialised((rows.len(), width, channels), out, x.device())?;
    let Ok(total) = u32::try_from(sum.elem_count()) else {
        mismatch!("rows {rows:?} of a map {:?} have more than 2³² values", level.dims());
    };
    let mut launch = Launch::on(x.device());
    let args = UpsampleArgs {
        x: launch.input(x, DType::F32)?,
        level: launch.input(level, level.dtype())?,
        out: launch.output(&sum)?,
        h: h as u32,
        w: w as u32,
        height: height as u32,
        width: width as u32,
        channels: channels as u32,
        total,
        first: rows.start as u32,
        unused: 0,
    };
    let addresses = [(args.x, DType::F32), (args.level, level.dtype()), (args.out, out)];
    let vectors = channels.is_multiple_of(4) && launch::aligned(&addresses, 4);
    let (kernel, each) = if vectors {
        ("upsample_add_vectors", 4)
    } else {
        ("upsample_add", 1)
    };
    let kernel = format!("{kernel}_{}_{}", type_name(level.dtype())?, type_name(out)?);
    let blocks = [sum.elem_count().div_ceil(each * THREADS), 1, 1];
    // SAFETY: a thread for each `each` values of the sum, whose rows are some of `level` and whose coarse pixels lie
    // within `x`.
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
    first: u32,
    unused: u32,
}

// SAFETY: as its source has it; 56 bytes.
unsafe impl Args for UpsampleArgs {}

fn twin(x: &Tensor, level: &Tensor, rows: Range<usize>, out: DType) -> Result<Tensor> {
    let ((h, w, channels), (height, width, _)) = (x.dims3()?, level.dims3()?);
    let (coarse, mut sums) = (
        host::values(x)?,
        host::values(&level.narrow(0, rows.start, rows.len())?)?,
    );
    for (pixel, sums) in sums.chunks_exact_mut(channels.max(1)).enumerate() {
        let (row, column) = ((rows.start + pixel / width) * h / height, pixel % width * w / width);
        let coarse = &coarse[(row * w + column) * channels..][..channels];
        sums.iter_mut().zip(coarse).for_each(|(sum, coarse)| *sum += coarse);
    }
    host::tensor(sums, &[rows.len(), width, channels], out, level)
}
