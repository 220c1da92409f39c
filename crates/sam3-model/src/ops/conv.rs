//! The two convolutions of the neck and the pixel decoder, as matrix products over `[height, width, channels]`.

use candle_core::{Result, Tensor};

use super::Linear;
use crate::weights::{Weight, Weights};

/// `Conv2d(input, output, kernel_size=3, padding=1)`.
pub struct Conv3x3 {
    /// `[output, 3 × 3 × input]`.
    kernel: Linear,
}

/// Output rows whose 9-fold unrolled input is in memory at once.
const ROW_BLOCK: usize = 16;

impl Conv3x3 {
    /// Loads `weight` `[output, input, 3, 3]` and `bias` `[output]`.
    pub fn load(weights: &Weights, input: usize, output: usize) -> crate::Result<Self> {
        let kernel = weights.tensor("weight", &[output, input, 3, 3])?;
        let kernel = kernel.permute((0, 2, 3, 1))?.reshape((output, 9 * input))?;
        let bias = weights.tensor("bias", &[output])?;
        Ok(Self {
            kernel: Linear::new(Weight::from_tensor(&kernel)?, Some(bias)),
        })
    }

    /// `x` is `[height, width, input]`; returns `[height, width, output]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (height, width, _) = x.dims3()?;
        let padded = x.pad_with_zeros(0, 1, 1)?.pad_with_zeros(1, 1, 1)?;
        let mut blocks = Vec::with_capacity(height.div_ceil(ROW_BLOCK));
        for start in (0..height).step_by(ROW_BLOCK) {
            let rows = ROW_BLOCK.min(height - start);
            let mut taps = Vec::with_capacity(9);
            for (dy, dx) in (0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx))) {
                taps.push(padded.narrow(0, start + dy, rows)?.narrow(1, dx, width)?);
            }
            blocks.push(self.kernel.forward(&Tensor::cat(&taps, 2)?)?);
        }
        Tensor::cat(&blocks, 0)
    }
}

/// `ConvTranspose2d(input, output, kernel_size=2, stride=2)`: each pixel becomes a 2 × 2 square.
pub struct ConvTranspose2x2 {
    /// `[2 × 2 × output, input]`.
    kernel: Linear,
    output: usize,
}

impl ConvTranspose2x2 {
    /// Loads `weight` `[input, output, 2, 2]` and `bias` `[output]`.
    pub fn load(weights: &Weights, input: usize, output: usize) -> crate::Result<Self> {
        let kernel = weights.tensor("weight", &[input, output, 2, 2])?;
        let kernel = kernel.permute((2, 3, 1, 0))?.reshape((4 * output, input))?;
        let bias = weights.tensor("bias", &[output])?.repeat(4)?;
        Ok(Self {
            kernel: Linear::new(Weight::from_tensor(&kernel)?, Some(bias)),
            output,
        })
    }

    /// `x` is `[height, width, input]`; returns `[2 height, 2 width, output]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (height, width, _) = x.dims3()?;
        let squares = self.kernel.forward(x)?.reshape((height, width, 2, 2, self.output))?;
        squares
            .permute((0, 2, 1, 3, 4))?
            .reshape((2 * height, 2 * width, self.output))
    }
}
