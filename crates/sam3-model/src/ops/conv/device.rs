//! The convolutions on an accelerator: patches or corners as rows, and the device's own product.

use candle_core::{DType, Result, Tensor};

use super::{Conv3x3, ConvTranspose2x2};
use crate::ops::{Activation, cuda, device};

/// The unrolled input of a block of rows: 2¹⁶ pixels of 2304 halves are 300 MB at SAM 3's size.
const BLOCK_PIXELS: usize = 1 << 16;

/// See [`Conv3x3::forward`].
pub fn conv_3x3(conv: &Conv3x3, x: &Tensor) -> Result<Tensor> {
    let (height, width, _) = x.dims3()?;
    let x = device::operand(x, conv.compute)?.contiguous()?;
    let kernel = conv.kernel.matrix(x.dtype())?;
    let rows = (BLOCK_PIXELS / width).max(1);
    let mut blocks = Vec::with_capacity(height.div_ceil(rows));
    for start in (0..height).step_by(rows) {
        let end = height.min(start + rows);
        // With the neighbouring rows that the map has; where it has none, the patches are zero there as they should be.
        let (above, below) = (start.saturating_sub(1), height.min(end + 1));
        let patches = cuda::patches3x3(&x.narrow(0, above, below - above)?)?;
        let patches = patches.narrow(0, (start - above) * width, (end - start) * width)?;
        let y = device::product(&patches, &kernel)?;
        blocks.push(cuda::finish(&y, Some(&conv.bias), Activation::None, None, DType::F32)?);
    }
    Tensor::cat(&blocks, 0)?.reshape((height, width, ()))
}

/// See [`ConvTranspose2x2::forward`].
pub fn conv_transpose_2x2(conv: &ConvTranspose2x2, x: &Tensor, activation: Activation) -> Result<Tensor> {
    let (height, width, depth) = x.dims3()?;
    let x = device::operand(x, conv.compute)?.reshape((height * width, depth))?;
    let y = device::product(&x, &conv.kernel.matrix(x.dtype())?)?;
    // Every corner of a square has the same bias.
    let y = y.reshape((4 * height * width, conv.output))?;
    let y = cuda::finish(&y, Some(&conv.bias), activation, None, x.dtype())?;
    y.reshape((height, width, 2, 2, conv.output))?
        .permute((0, 2, 1, 3, 4))?
        .reshape((2 * height, 2 * width, conv.output))
}
