//! The convolutions on an accelerator: patches or corners as rows, and the device's own product.

use crate::{Result, Tensor};

use super::{Conv3x3, ConvTranspose2x2};
use crate::ops::{Activation, cuda, device, matmul_t};

/// The unrolled input of a block of rows, at most 600 MB of halves; SAM 3's finest map is one block, of 380.
const BLOCK_PIXELS: usize = 1 << 17;

/// See [`Conv3x3::forward`].
pub fn conv_3x3(conv: &Conv3x3, x: &Tensor) -> Result<Tensor> {
    let (height, width, _) = x.dims3()?;
    let x = device::operand(x, conv.compute)?;
    let kernel = conv.kernel.matrix(x.dtype())?;
    let rows = (BLOCK_PIXELS / width).max(1);
    let mut blocks = Vec::with_capacity(height.div_ceil(rows));
    for start in (0..height).step_by(rows) {
        let end = height.min(start + rows);
        let patches = cuda::patches3x3_rows(&x, start..end)?;
        blocks.push(cuda::product_add(&patches, &kernel, Some(&conv.bias), None)?);
    }
    Tensor::cat(&blocks, 0)?.reshape((height, width, ()))
}

/// See [`ConvTranspose2x2::forward`].
pub fn conv_transpose_2x2(conv: &ConvTranspose2x2, x: &Tensor, activation: Activation) -> Result<Tensor> {
    let (height, width, depth) = x.dims3()?;
    let x = device::operand(x, conv.compute)?.reshape((height * width, depth))?;
    let y = matmul_t(&x, &conv.kernel.matrix(x.dtype())?)?;
    // Every corner of a square has the same bias.
    let y = y.reshape((4 * height * width, conv.output))?;
    let y = cuda::finish(&y, Some(&conv.bias), activation, None, x.dtype())?;
    cuda::shuffle2x2(&y.reshape((height, width, 4 * conv.output))?)
}
