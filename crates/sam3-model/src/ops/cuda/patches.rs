//! A feature map rearranged, so that convolutions are matrix products.

use std::ops::Range;

use candle_core::{Result, Tensor, bail};

/// The 3 × 3 neighbourhood of each pixel as a row: `x` `[height, width, channels]` to `[height × width, 9 × channels]`.
///
/// Taps lie row by row from the upper left, channels within a tap, and pixels outside the map are zero: what
/// [`crate::ops::Conv3x3`]'s kernel is multiplied with.
pub fn patches3x3(x: &Tensor) -> Result<Tensor> {
    patches3x3_rows(x, 0..x.dim(0)?)
}

/// The same of some `rows` of the map only, since all of them together take nine maps: `[rows × width, 9 × channels]`.
pub fn patches3x3_rows(x: &Tensor, rows: Range<usize>) -> Result<Tensor> {
    let (height, _, _) = x.dims3()?;
    if rows.start > rows.end || rows.end > height {
        bail!("rows {rows:?} of a map {:?}", x.dims());
    }
    patches_twin(x, rows)
}

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
    if channels % 4 != 0 {
        bail!("squares of {channels} channels");
    }
    shuffle_twin(x, height, width, channels / 4)
}

fn shuffle_twin(x: &Tensor, height: usize, width: usize, channels: usize) -> Result<Tensor> {
    x.reshape((height, width, 2, 2, channels))?
        .permute((0, 2, 1, 3, 4))?
        .reshape((2 * height, 2 * width, channels))
}
