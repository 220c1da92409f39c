//! The 7 × 7 convolution of each channel for itself.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::{
    Result, Tensor,
    error::mismatch,
    ops::{
        cuda, host,
        simd::{self, Isa, Op},
    },
};

/// A side of the kernel, and how far it reaches.
const SIDE: usize = 7;
const REACH: usize = SIDE / 2;

/// `Conv2d(channels, channels, kernel_size=7, padding=3, groups=channels)`, in f32.
pub struct DepthwiseConv7x7 {
    /// `[7 × 7, channels]`.
    kernel: Tensor,
    bias: Tensor,
}

impl DepthwiseConv7x7 {
    /// `kernel` is `[7 × 7, channels]`, `bias` `[channels]`.
    pub fn new(kernel: Tensor, bias: Tensor) -> Self {
        Self { kernel, bias }
    }

    /// `x` is `[height, width, channels]`, as what is returned.
    ///
    /// # Errors
    /// When shapes do not fit, there is no room, or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (height, width, channels) = x.dims3()?;
        if self.kernel.dims() != [SIDE * SIDE, channels] || self.bias.dims() != [channels] {
            mismatch!(
                "depthwise convolution of {x:?} with {:?} and {:?}",
                self.kernel,
                self.bias
            );
        }
        if !host::is_host(x) {
            return cuda::depthwise_7x7(x, &self.kernel, &self.bias);
        }
        let map = Map {
            values: x.values()?,
            kernel: self.kernel.values()?,
            bias: self.bias.values()?,
            extents: [height, width],
        };
        let write = |out: &mut [_]| {
            let rows = out.par_chunks_mut((width * channels).max(1)).enumerate();
            rows.for_each(|(y, out)| simd::dispatch(Row { map, y, out }));
            Ok(())
        };
        // SAFETY: the chunks are all rows, and every pixel of a row is written.
        let out = unsafe { host::written(height * width * channels, write)? };
        Tensor::from_vec(out, x.dims(), x.device())
    }
}

#[derive(Clone, Copy)]
struct Map<'a> {
    values: &'a [f32],
    kernel: &'a [f32],
    bias: &'a [f32],
    extents: [usize; 2],
}

struct Row<'a> {
    map: Map<'a>,
    y: usize,
    out: &'a mut [MaybeUninit<f32>],
}

impl Op for Row<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Map {
            values,
            kernel,
            bias,
            extents: [height, width],
        } = self.map;
        let channels = bias.len();
        let mut sums = vec![0f32; channels];
        for (x, out) in self.out.chunks_exact_mut(channels).enumerate() {
            sums.copy_from_slice(bias);
            // Taps on the map alone: beyond it there are zeros.
            for row in self.y.saturating_sub(REACH)..height.min(self.y + REACH + 1) {
                for column in x.saturating_sub(REACH)..width.min(x + REACH + 1) {
                    let tap = (row + REACH - self.y) * SIDE + column + REACH - x;
                    let pixel = &values[(row * width + column) * channels..][..channels];
                    let weights = &kernel[tap * channels..][..channels];
                    for ((sum, x), weight) in sums.iter_mut().zip(pixel).zip(weights) {
                        *sum = I::fma(*x, *weight, *sum);
                    }
                }
            }
            out.iter_mut().zip(&sums).for_each(|(out, sum)| _ = out.write(*sum));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DepthwiseConv7x7;
    use crate::{
        Tensor,
        ops::{
            host::as_accelerator,
            simd::at_every_level,
            testing::{assert_close, tensor},
        },
    };

    /// Loops over every output and every tap, sums in f64.
    fn plain(kernel: &Tensor, bias: &Tensor, x: &Tensor) -> Tensor {
        let (height, width, channels) = x.dims3().unwrap();
        let (kernel, bias) = (kernel.values::<f32>().unwrap(), bias.values::<f32>().unwrap());
        let values = x.values::<f32>().unwrap();
        let at = |y: i64, x: i64, channel: usize| {
            if !(0..height as i64).contains(&y) || !(0..width as i64).contains(&x) {
                return 0.0;
            }
            f64::from(values[(y as usize * width + x as usize) * channels + channel])
        };
        let mut out = Vec::new();
        for i in 0..height * width * channels {
            let (y, x, channel) = (i / channels / width, i / channels % width, i % channels);
            let taps = (0..49).map(|tap: usize| {
                let (dy, dx) = ((tap / 7) as i64 - 3, (tap % 7) as i64 - 3);
                at(y as i64 + dy, x as i64 + dx, channel) * f64::from(kernel[tap * channels + channel])
            });
            out.push((taps.sum::<f64>() + f64::from(bias[channel])) as f32);
        }
        x.new_tensor(out, x.dims()).unwrap()
    }

    #[test]
    fn equals_its_plain_twin() {
        at_every_level(|| {
            for (height, width, channels) in [(1, 1, 1), (3, 9, 5), (8, 7, 33), (16, 16, 32)] {
                let (kernel, bias) = (tensor(&[49, channels], 1), tensor(&[channels], 2));
                let x = tensor(&[height, width, channels], 3);
                let expected = plain(&kernel, &bias, &x);
                let conv = DepthwiseConv7x7::new(kernel, bias);
                let what = format!("{height}×{width}×{channels}");
                assert_close(&conv.forward(&x).unwrap(), &expected, 1e-5, &what);
                assert_close(&as_accelerator(|| conv.forward(&x)).unwrap(), &expected, 1e-5, &what);
            }
        });
    }
}
