//! LayerNorm over the last axis, GroupNorm over a feature map.

#[cfg(test)]
mod plain;

use std::mem::MaybeUninit;

use crate::{DType, Result, Tensor};
use rayon::prelude::*;

use super::{
    Compute, cuda, gelu, host,
    simd::{self, Isa, Op, math},
};

/// Normalises each token to mean 0 and variance 1, then scales and shifts it.
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f64,
    /// What an accelerator hands on.
    out: DType,
}

impl LayerNorm {
    /// `weight` and `bias` are `[width]`.
    pub fn new(weight: Tensor, bias: Tensor, eps: f64) -> Self {
        Self {
            weight,
            bias,
            eps,
            out: DType::F32,
        }
    }

    /// The same norm where what it makes goes into products of this precision and nowhere else: an accelerator hands it
    /// on so. See `ops/device.rs`.
    pub fn before_products(mut self, compute: Compute) -> Self {
        self.out = compute.dtype();
        self
    }

    /// `x` is `[.., width]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !host::is_host(x) {
            return cuda::layer_norm(x, &self.weight, &self.bias, self.eps, self.out);
        }
        self.run(x, false)
    }

    /// [`forward`](Self::forward), then GELU.
    pub fn forward_gelu(&self, x: &Tensor) -> Result<Tensor> {
        if !host::is_host(x) {
            return gelu(&self.forward(x)?);
        }
        self.run(x, true)
    }

    fn run(&self, x: &Tensor, is_gelu: bool) -> Result<Tensor> {
        let (values, weight, bias) = (
            x.values::<f32>()?,
            self.weight.values::<f32>()?,
            self.bias.values::<f32>()?,
        );
        let block = ROWS * weight.len();
        let write = |out: &mut [_]| {
            let blocks = out.par_chunks_mut(block).zip(values.par_chunks(block));
            blocks.for_each(|(out, values)| {
                let eps = self.eps as f32;
                simd::dispatch(LayerNormRows {
                    values,
                    weight,
                    bias,
                    eps,
                    is_gelu,
                    out,
                });
            });
            Ok(())
        };
        // SAFETY: the blocks are all rows, and every value of a row is written.
        let out = unsafe { host::written(values.len(), write)? };
        Tensor::from_vec(out, x.dims(), x.device())
    }
}

/// Rows, or pixels, that one task takes.
const ROWS: usize = 32;

struct LayerNormRows<'a> {
    values: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
    is_gelu: bool,
    out: &'a mut [MaybeUninit<f32>],
}

impl Op for LayerNormRows<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let width = self.weight.len();
        for (out, row) in self.out.chunks_exact_mut(width).zip(self.values.chunks_exact(width)) {
            let mean = sum(row, |x| x) / width as f32;
            let variance = sum(row, |x| (x - mean) * (x - mean)) / width as f32;
            let scale = inverse_deviation(variance, self.eps);
            for (((out, x), weight), bias) in out.iter_mut().zip(row).zip(self.weight).zip(self.bias) {
                out.write(I::fma((x - mean) * scale, *weight, *bias));
            }
            if self.is_gelu {
                for x in out {
                    // SAFETY: it was written just now.
                    x.write(math::gelu::<I>(unsafe { x.assume_init() }));
                }
            }
        }
    }
}

/// `1 / √(variance + eps)`. NaN where the variance is beyond f32's range: 0, its reciprocal, would make finite values
/// of any.
#[inline(always)]
fn inverse_deviation(variance: f32, eps: f32) -> f32 {
    if variance < f32::INFINITY {
        1.0 / (variance + eps).sqrt()
    } else {
        f32::NAN
    }
}

/// A sum in 64 parts, which the compiler keeps in vectors.
#[inline(always)]
fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    const PARTS: usize = 64;
    let mut parts = [0f32; PARTS];
    let chunks = values.chunks_exact(PARTS);
    let rest = chunks.remainder();
    for chunk in chunks {
        parts.iter_mut().zip(chunk).for_each(|(part, x)| *part += of(*x));
    }
    parts.iter_mut().zip(rest).for_each(|(part, x)| *part += of(*x));
    parts.iter().sum()
}

/// Normalises each group of channels over the whole map; 8 groups.
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
}

impl GroupNorm {
    const GROUPS: usize = 8;
    const EPS: f64 = 1e-5;

    /// `weight` and `bias` are `[channels]`.
    pub fn new(weight: Tensor, bias: Tensor) -> Self {
        Self { weight, bias }
    }

    /// `x` is `[height, width, channels]`, and is overwritten; ReLU follows, as it always does here.
    pub fn forward_relu(&self, mut x: Tensor) -> Result<Tensor> {
        if !host::is_host(&x) {
            let (groups, eps) = (Self::GROUPS, Self::EPS);
            return cuda::group_norm_relu_in_place(x, &self.weight, &self.bias, groups, eps);
        }
        let (scale, shift) = self.scale_and_shift(&x)?;
        scale_shift_relu(x.values_mut()?, &scale, &shift);
        Ok(x)
    }

    /// What each channel is multiplied with, and what is added then.
    fn scale_and_shift(&self, x: &Tensor) -> Result<(Vec<f32>, Vec<f32>)> {
        let channels = x.dim(2)?;
        let (values, weight, bias) = (
            x.values::<f32>()?,
            self.weight.values::<f32>()?,
            self.bias.values::<f32>()?,
        );
        // Sums are f64: a group of the finest map has millions of elements.
        let totals = |mean: &[f32], square: bool| -> Vec<f64> {
            let partial = values.par_chunks(256 * ROWS * channels).map(|values| {
                let mut sums = vec![0f64; channels];
                simd::dispatch(Totals {
                    values,
                    mean,
                    square,
                    sums: &mut sums,
                });
                sums
            });
            let partial: Vec<Vec<f64>> = partial.collect();
            let size = channels / Self::GROUPS;
            let total = |group: usize| {
                partial
                    .iter()
                    .flat_map(|sums| &sums[group * size..(group + 1) * size])
                    .sum()
            };
            (0..Self::GROUPS).map(total).collect()
        };
        let size = channels / Self::GROUPS;
        let count = (values.len() / Self::GROUPS) as f64;
        let mean = totals(&vec![0.0; channels], false);
        let mean: Vec<f32> = mean.into_iter().map(|sum| (sum / count) as f32).collect();
        let mean: Vec<f32> = (0..channels).map(|i| mean[i / size]).collect();
        let variance = totals(&mean, true);
        // As in LayerNorm: the squares of a part are f32.
        let deviation = |variance: f64| {
            if variance < f64::INFINITY {
                (variance + Self::EPS).sqrt() as f32
            } else {
                f32::NAN
            }
        };
        let scale: Vec<f32> = (0..channels)
            .map(|i| weight[i] / deviation(variance[i / size] / count))
            .collect();
        let shift: Vec<f32> = (0..channels).map(|i| bias[i] - mean[i] * scale[i]).collect();
        Ok((scale, shift))
    }
}

/// Adds the channels' distances from their means, or the squares of those, to `sums`.
struct Totals<'a> {
    values: &'a [f32],
    mean: &'a [f32],
    square: bool,
    sums: &'a mut [f64],
}

impl Op for Totals<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let channels = self.mean.len();
        let mut part = vec![0f32; channels];
        for rows in self.values.chunks(ROWS * channels) {
            part.fill(0.0);
            for pixel in rows.chunks_exact(channels) {
                for ((part, x), mean) in part.iter_mut().zip(pixel).zip(self.mean) {
                    let distance = x - mean;
                    *part += if self.square { distance * distance } else { distance };
                }
            }
            for (sum, part) in self.sums.iter_mut().zip(&part) {
                *sum += f64::from(*part);
            }
        }
    }
}

/// `relu(x × scale + shift)`, channel by channel, in place.
fn scale_shift_relu(values: &mut [f32], scale: &[f32], shift: &[f32]) {
    values.par_chunks_mut(ROWS * scale.len()).for_each(|values| {
        for pixel in values.chunks_exact_mut(scale.len()) {
            for ((x, scale), shift) in pixel.iter_mut().zip(scale).zip(shift) {
                *x = math::relu(*x * scale + shift);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::{GroupNorm, LayerNorm, plain};
    use crate::ops::{
        gelu,
        host::as_accelerator,
        simd::at_every_level,
        testing::{assert_close, tensor},
    };

    #[test]
    fn layer_norm_equals_its_plain_twin() {
        at_every_level(|| {
            for (rows, width) in [(1, 1), (7, 31), (33, 64), (65, 130), (1, 1024)] {
                let (weight, bias, eps) = (tensor(&[width], 1), tensor(&[width], 2), 1e-5);
                let norm = LayerNorm::new(weight, bias, eps);
                let x = tensor(&[rows, width], 3);
                let expected = plain::layer_norm(&norm, &x).unwrap();
                assert_close(&norm.forward(&x).unwrap(), &expected, 3e-6, &format!("{rows}×{width}"));
                let expected = gelu(&norm.forward(&x).unwrap()).unwrap();
                let run = || norm.forward_gelu(&x).unwrap();
                assert_close(&run(), &expected, 0.0, &format!("{rows}×{width}, GELU"));
                assert_close(&as_accelerator(run), &expected, 3e-6, &format!("{rows}×{width}, GELU"));
            }
        });
    }

    #[test]
    fn group_norm_equals_its_plain_twin() {
        at_every_level(|| {
            for (height, width, channels) in [(1, 7, 8), (31, 33, 24), (3, 5, 256)] {
                let norm = GroupNorm::new(tensor(&[channels], 1), tensor(&[channels], 2));
                let x = tensor(&[height, width, channels], 3);
                let expected = plain::group_norm_relu(&norm, &x).unwrap();
                let found = norm.forward_relu(x).unwrap();
                assert_close(&found, &expected, 3e-6, &format!("{height}×{width}×{channels}"));
            }
        });
    }
}
