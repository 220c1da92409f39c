//! The convolutions on an accelerator: patches or corners as rows, and the device's own product.

use std::ops::Range;

use crate::{DType, Device, Result, Tensor};

use super::{Conv3x3, ConvTranspose2x2};
use crate::ops::{Activation, cuda, device, matmul_t};

/// Pixels in a block of rows. Of SAM 3's finest map the whole input, unrolled, is 380 MB of halves, that of a block 19,
/// and 9 where that memory is the machine's: a small GPU is busy with less. In tests few, so that their maps have
/// several blocks.
fn block_pixels(device: &Device) -> usize {
    match device.is_integrated() {
        _ if cfg!(test) => 64,
        false => 1 << 12,
        true => 1 << 11,
    }
}

/// See [`Conv3x3::forward`].
pub fn conv_3x3(conv: &Conv3x3, x: &Tensor) -> Result<Tensor> {
    let (height, width, _) = x.dims3()?;
    by_blocks(conv, (height, width), |rows| {
        device::operand(&x.narrow(0, rows.start, rows.len())?, conv.compute)
    })
}

/// See [`Conv3x3::forward_sum`].
pub fn conv_3x3_sum(conv: &Conv3x3, coarse: &Tensor, fine: &Tensor) -> Result<Tensor> {
    let (height, width, _) = fine.dims3()?;
    by_blocks(conv, (height, width), |rows| {
        cuda::upsample_add_rows(coarse, fine, rows, conv.compute.dtype())
    })
}

/// The convolution of a map of which `read` gives some rows at a time, in the precision of products.
fn by_blocks(
    conv: &Conv3x3,
    (height, width): (usize, usize),
    read: impl Fn(Range<usize>) -> Result<Tensor>,
) -> Result<Tensor> {
    let kernel = conv.kernel.matrix(conv.compute.dtype())?;
    let rows = (block_pixels(conv.bias.device()) / width).max(1);
    let dtype = if conv.before_products {
        conv.compute.dtype()
    } else {
        DType::F32
    };
    let mut out = Tensor::zeros((height * width, conv.bias.dim(0)?), dtype, conv.bias.device())?;
    for start in (0..height).step_by(rows) {
        let end = height.min(start + rows);
        // With the neighbours above and below: only beyond the map are zeros.
        let seen = start.saturating_sub(1)..height.min(end + 1);
        let patches = cuda::patches3x3_rows(&read(seen.clone())?, start - seen.start..end - seen.start)?;
        let block = cuda::product_add(&patches, &kernel, Some(&conv.bias), None)?;
        drop(patches);
        // Copied to its place at once: all blocks beside the whole would take the memory of one more map.
        block.to_dtype(dtype)?.write_into(&mut out, 0, start * width)?;
    }
    out.reshape((height, width, ()))
}

/// See [`ConvTranspose2x2::forward`].
pub fn conv_transpose_2x2(conv: &ConvTranspose2x2, x: &Tensor, activation: Activation) -> Result<Tensor> {
    let (height, width, depth) = x.dims3()?;
    let x = device::operand(x, conv.compute)?.reshape((height * width, depth))?;
    let finished = {
        // Freed before the corners are put in their places: each of these is as large as the result.
        let y = matmul_t(&x, &conv.kernel.matrix(x.dtype())?)?;
        // Every corner of a square has the same bias.
        let y = y.reshape((4 * height * width, conv.output))?;
        cuda::finish(&y, Some(&conv.bias), activation, None, x.dtype())?
    };
    cuda::shuffle2x2(&finished.reshape((height, width, 4 * conv.output))?)
}
