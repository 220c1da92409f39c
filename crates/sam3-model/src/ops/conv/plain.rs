//! The plain twins: candle's composed ops, for tests.

use candle_core::{Result, Tensor};

use super::{Conv3x3, ConvTranspose2x2};
use crate::ops::Linear;

/// Output rows whose 9-fold unrolled input is in memory at once.
const ROW_BLOCK: usize = 16;

/// See [`Conv3x3::forward`].
pub fn conv_3x3(conv: &Conv3x3, x: &Tensor) -> Result<Tensor> {
    let (height, width, _) = x.dims3()?;
    let kernel = Linear::new(conv.kernel.clone(), Some(conv.bias.clone()));
    let padded = x.pad_with_zeros(0, 1, 1)?.pad_with_zeros(1, 1, 1)?;
    let mut blocks = Vec::with_capacity(height.div_ceil(ROW_BLOCK));
    for start in (0..height).step_by(ROW_BLOCK) {
        let rows = ROW_BLOCK.min(height - start);
        let mut taps = Vec::with_capacity(9);
        for (dy, dx) in (0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx))) {
            taps.push(padded.narrow(0, start + dy, rows)?.narrow(1, dx, width)?);
        }
        blocks.push(kernel.forward(&Tensor::cat(&taps, 2)?)?);
    }
    Tensor::cat(&blocks, 0)
}

/// See [`ConvTranspose2x2::forward`].
pub fn conv_transpose_2x2(conv: &ConvTranspose2x2, x: &Tensor) -> Result<Tensor> {
    let (height, width, _) = x.dims3()?;
    let kernel = Linear::new(conv.kernel.clone(), Some(conv.bias.repeat(4)?));
    let squares = kernel.forward(x)?.reshape((height, width, 2, 2, conv.output))?;
    squares
        .permute((0, 2, 1, 3, 4))?
        .reshape((2 * height, 2 * width, conv.output))
}
