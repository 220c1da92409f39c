//! A feature map rearranged, so that convolutions are matrix products.

use std::ops::Range;

use crate::{Result, Tensor, error::mismatch};

use crate::launch::{self, Address, Args, Launch, Module, module};

const MODULE: Module = module!("rearrange");

/// The 3 × 3 neighbourhood of each pixel as a row: `x` `[height, width, channels]` to `[height × width, 9 × channels]`.
///
/// Taps lie row by row from the upper left, channels within a tap, and pixels outside the map are zero: what
/// [`crate::ops::Conv3x3`]'s kernel is multiplied with.
#[cfg(test)]
pub fn patches3x3(x: &Tensor) -> Result<Tensor> {
    patches3x3_rows(x, 0..x.dim(0)?)
}

/// The same of some `rows` of the map only, since all of them together take nine maps: `[rows × width, 9 × channels]`.
pub fn patches3x3_rows(x: &Tensor, rows: Range<usize>) -> Result<Tensor> {
    let (height, width, channels) = x.dims3()?;
    if rows.start > rows.end || rows.end > height {
        mismatch!("rows {rows:?} of a map {:?}", x.dims());
    }
    if !launch::runs_on(x.device()) {
        return patches_twin(x, rows);
    }
    let pixels = rows.len() * width;
    let out = launch::uninitialised((pixels, 9 * channels), x.dtype(), x.device())?;
    let mut launch = Launch::on(x.device());
    let (from, to) = (launch.input(x, x.dtype())?, launch.output(&out)?);
    let unit = unit(channels * x.dtype().size_in_bytes(), [from, to])?;
    let args = PatchesArgs {
        x: from,
        out: to,
        first: rows.start as u32,
        height: height as u32,
        width: width as u32,
        units: (channels * x.dtype().size_in_bytes() / unit) as u32,
    };
    // SAFETY: a block for each pixel of `rows`, all of them within the map.
    unsafe { launch.run(MODULE, &format!("patches_{unit}"), [pixels, 1, 1], 96, args)? };
    Ok(out)
}

/// The most bytes that may be moved as one, where a pixel is `bytes` and maps begin at these addresses.
fn unit(bytes: usize, addresses: [Address; 2]) -> Result<usize> {
    let fits = |unit: &usize| {
        bytes.is_multiple_of(*unit) && addresses.iter().all(|address| address.is_multiple_of(*unit as u64))
    };
    match [16, 4, 2].into_iter().find(fits) {
        Some(unit) => Ok(unit),
        None => mismatch!("pixels of {bytes} bytes; kernels move 2, 4 or 16 at a time"),
    }
}

/// `PatchesArgs` of `kernels/rearrange.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct PatchesArgs {
    x: Address,
    out: Address,
    first: u32,
    height: u32,
    width: u32,
    units: u32,
}

// SAFETY: as its source has it; 32 bytes.
unsafe impl Args for PatchesArgs {}

fn patches_twin(x: &Tensor, rows: Range<usize>) -> Result<Tensor> {
    let (_, width, channels) = x.dims3()?;
    let padded = x.pad_with_zeros(0, 1, 1)?.pad_with_zeros(1, 1, 1)?;
    let mut taps = Vec::with_capacity(9);
    for (dy, dx) in (0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx))) {
        taps.push(padded.narrow(0, rows.start + dy, rows.len())?.narrow(1, dx, width)?);
    }
    Tensor::cat(&taps, 2)?.reshape((rows.len() * width, 9 * channels))
}

/// Each pixel becomes a 2 × 2 square: `x` `[height, width, 2 × 2 × channels]` to `[2 height, 2 width, channels]`.
pub fn shuffle2x2(x: &Tensor) -> Result<Tensor> {
    let (height, width, channels) = x.dims3()?;
    if !channels.is_multiple_of(4) {
        mismatch!("squares of {channels} channels");
    }
    let channels = channels / 4;
    if !launch::runs_on(x.device()) {
        return shuffle_twin(x, height, width, channels);
    }
    let out = launch::uninitialised((2 * height, 2 * width, channels), x.dtype(), x.device())?;
    let mut launch = Launch::on(x.device());
    let (from, to) = (launch.input(x, x.dtype())?, launch.output(&out)?);
    let unit = unit(channels * x.dtype().size_in_bytes(), [from, to])?;
    let units = channels * x.dtype().size_in_bytes() / unit;
    let total = 4 * height * width * units;
    let Ok(total_word) = u32::try_from(total) else {
        mismatch!("a map {:?} of more than 2³² values", x.dims());
    };
    let args = ShuffleArgs {
        x: from,
        out: to,
        total: total_word,
        width: width as u32,
        units: units as u32,
        unused: 0,
    };
    // SAFETY: a thread for each unit of the output, of which the input has as many.
    unsafe {
        launch.run(
            MODULE,
            &format!("shuffle_{unit}"),
            [total.div_ceil(256), 1, 1],
            256,
            args,
        )?
    };
    Ok(out)
}

/// `ShuffleArgs` of `kernels/rearrange.cu`.
#[repr(C)]
#[derive(Clone, Copy)]
struct ShuffleArgs {
    x: Address,
    out: Address,
    total: u32,
    width: u32,
    units: u32,
    unused: u32,
}

// SAFETY: as its source has it; 32 bytes.
unsafe impl Args for ShuffleArgs {}

fn shuffle_twin(x: &Tensor, height: usize, width: usize, channels: usize) -> Result<Tensor> {
    x.reshape((height, width, 2, 2, channels))?
        .permute([0, 2, 1, 3, 4])?
        .reshape((2 * height, 2 * width, channels))
}
