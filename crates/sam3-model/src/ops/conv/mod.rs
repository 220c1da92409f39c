//! The two convolutions of the neck and the pixel decoder, as matrix products over `[height, width, channels]`.

mod device;
#[cfg(test)]
mod plain;

use candle_core::{Result, Tensor};

use super::{
    Activation, Compute, host,
    product::{self, Epilogue, Matrix, Rows},
};
use crate::weights::{Weight, Weights};

/// `Conv2d(input, output, kernel_size=3, padding=1)`.
pub struct Conv3x3 {
    /// `[output, 3 × 3 × input]`.
    kernel: Weight,
    bias: Tensor,
    compute: Compute,
}

impl Conv3x3 {
    /// Loads `weight` `[output, input, 3, 3]` and `bias` `[output]`.
    pub fn load(weights: &Weights, input: usize, output: usize) -> crate::Result<Self> {
        let kernel = weights.tensor("weight", &[output, input, 3, 3])?;
        let kernel = kernel.permute((0, 2, 3, 1))?.reshape((output, 9 * input))?;
        Ok(Self::new(
            &kernel,
            weights.tensor("bias", &[output])?,
            weights.compute(),
        )?)
    }

    /// `kernel` is `[output, 3 × 3 × input]`, `bias` `[output]`.
    pub fn new(kernel: &Tensor, bias: Tensor, compute: Compute) -> Result<Self> {
        Ok(Self {
            kernel: Weight::for_products(kernel, compute)?,
            bias,
            compute,
        })
    }

    /// `x` is `[height, width, input]`; returns `[height, width, output]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !host::is_host(x) {
            return device::conv_3x3(self, x);
        }
        let (height, width, channels) = x.dims3()?;
        let x = x.contiguous()?;
        let (values, bias) = (host::values(&x)?, host::values(&self.bias)?);
        let patches = Patches {
            map: &values,
            height,
            width,
            channels,
        };
        let epilogue = Epilogue {
            bias: Some(&bias),
            ..Epilogue::default()
        };
        let mut out = host::zeros(height * width * bias.len());
        product::product(self.compute, &patches, &self.kernel.reader(), epilogue, &mut out);
        Tensor::from_vec(out, (height, width, bias.len()), x.device())
    }
}

/// The 3 × 3 neighbourhood of each pixel as a row, `[3 × 3 × channels]`, zero outside the map; never all in memory.
struct Patches<'a> {
    map: &'a [f32],
    height: usize,
    width: usize,
    channels: usize,
}

impl Rows for Patches<'_> {
    fn count(&self) -> usize {
        self.height * self.width
    }

    fn depth(&self) -> usize {
        9 * self.channels
    }

    #[inline(always)]
    fn read(&self, row: usize, mut start: usize, mut out: &mut [f32]) {
        let (y, x) = (row / self.width, row % self.width);
        while !out.is_empty() {
            let (tap, channel) = (start / self.channels, start % self.channels);
            let len = out.len().min(self.channels - channel);
            let (now, later) = out.split_at_mut(len);
            // One above and to the left of the pixel is tap 0.
            let (y, x) = (y + tap / 3, x + tap % 3);
            if (1..=self.height).contains(&y) && (1..=self.width).contains(&x) {
                let pixel = (y - 1) * self.width + x - 1;
                now.copy_from_slice(&self.map[pixel * self.channels + channel..][..len]);
            } else {
                now.fill(0.0);
            }
            (out, start) = (later, start + len);
        }
    }
}

/// `ConvTranspose2d(input, output, kernel_size=2, stride=2)`: each pixel becomes a 2 × 2 square.
pub struct ConvTranspose2x2 {
    /// `[2 × 2 × output, input]`.
    kernel: Weight,
    bias: Tensor,
    output: usize,
    compute: Compute,
}

impl ConvTranspose2x2 {
    /// Loads `weight` `[input, output, 2, 2]` and `bias` `[output]`.
    pub fn load(weights: &Weights, input: usize, output: usize) -> crate::Result<Self> {
        let kernel = weights.tensor("weight", &[input, output, 2, 2])?;
        let kernel = kernel.permute((2, 3, 1, 0))?.reshape((4 * output, input))?;
        Ok(Self::new(
            &kernel,
            weights.tensor("bias", &[output])?,
            weights.compute(),
        )?)
    }

    /// `kernel` is `[2 × 2 × output, input]`, `bias` `[output]`.
    pub fn new(kernel: &Tensor, bias: Tensor, compute: Compute) -> Result<Self> {
        Ok(Self {
            kernel: Weight::for_products(kernel, compute)?,
            output: bias.elem_count(),
            bias,
            compute,
        })
    }

    /// `x` is `[height, width, input]`; returns `[2 height, 2 width, output]`, which goes into another product and nowhere else.
    pub fn forward(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        if !host::is_host(x) {
            return device::conv_transpose_2x2(self, x, activation);
        }
        let (height, width, depth) = x.dims3()?;
        let x = x.contiguous()?;
        let (values, bias) = (host::values(&x)?, host::values(&self.bias)?);
        let mut out = host::zeros(4 * height * width * self.output);
        let pixels = Matrix { values: &values, depth };
        for (corner, (dy, dx)) in [(0, 0), (0, 1), (1, 0), (1, 1)].into_iter().enumerate() {
            let kernel = self.kernel.rows(corner * self.output..(corner + 1) * self.output);
            let epilogue = Epilogue {
                bias: Some(&bias),
                activation,
                ..Epilogue::default()
            };
            product::product_at(self.compute, &pixels, &kernel.reader(), epilogue, &mut out, |pixel| {
                let (y, x) = (pixel / width, pixel % width);
                ((2 * y + dy) * 2 * width + 2 * x + dx) * self.output
            });
        }
        Tensor::from_vec(out, (2 * height, 2 * width, self.output), x.device())
    }
}

#[cfg(test)]
mod tests {
    use super::{Activation, Compute, Conv3x3, ConvTranspose2x2, plain};
    use crate::{
        ops::{
            simd::at_every_level,
            testing::{assert_close, tensor},
        },
        weights::Weight,
    };

    #[test]
    fn conv_3x3_equals_its_plain_twin() {
        at_every_level(|| {
            for (height, width, input, output) in [(1, 1, 1, 1), (7, 31, 3, 33), (33, 5, 65, 7), (9, 2, 130, 64)] {
                let conv = Conv3x3 {
                    kernel: Weight::from_tensor(&tensor(&[output, 9 * input], 1)).unwrap(),
                    bias: tensor(&[output], 2),
                    compute: Compute::F32,
                };
                let x = tensor(&[height, width, input], 3);
                let expected = plain::conv_3x3(&conv, &x).unwrap();
                let what = format!("{height}×{width} {input}→{output}");
                assert_close(&conv.forward(&x).unwrap(), &expected, 3e-5, &what);
            }
        });
    }

    #[test]
    fn conv_transpose_2x2_equals_its_plain_twin() {
        at_every_level(|| {
            for (height, width, input, output) in [(1, 1, 1, 1), (7, 31, 3, 33), (33, 5, 65, 7)] {
                let conv = ConvTranspose2x2 {
                    kernel: Weight::from_tensor(&tensor(&[4 * output, input], 1)).unwrap(),
                    bias: tensor(&[output], 2),
                    output,
                    compute: Compute::F32,
                };
                let x = tensor(&[height, width, input], 3);
                let expected = plain::conv_transpose_2x2(&conv, &x).unwrap().gelu_erf().unwrap();
                let what = format!("{height}×{width} {input}→{output}");
                assert_close(&conv.forward(&x, Activation::Gelu).unwrap(), &expected, 3e-5, &what);
            }
        });
    }
}
