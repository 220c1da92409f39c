//! Masks of a map of features, each by weights that a network made of what the mask is of.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::{Result, Tensor, error::mismatch};

use super::{
    gelu, host, matmul_t,
    simd::{self, Isa, Op, math},
};

/// Pixels that one task takes.
const PIXELS: usize = 512;
/// Pixels whose logits are summed up at once.
const LANES: usize = 8;

/// `weights gelu(pixels)ᵀ`: `weights` is `[masks, channels]`, `pixels` `[pixels, channels]`; returns `[masks, pixels]`.
///
/// What follows GELU is never in memory: it would be the largest map of a click.
///
/// # Errors
/// When shapes differ, there is no room, or the device fails.
pub fn masks_of_gelu(weights: &Tensor, pixels: &Tensor) -> Result<Tensor> {
    let ((masks, channels), (count, of_pixels)) = (weights.dims2()?, pixels.dims2()?);
    if channels != of_pixels {
        mismatch!("masks of {pixels:?} by {weights:?}");
    }
    if !host::is_host(pixels) {
        return matmul_t(weights, &gelu(pixels)?);
    }
    let (weights, values) = (weights.values::<f32>()?, pixels.values::<f32>()?);
    let blocks = values.par_chunks(PIXELS * channels).map(|pixels| {
        simd::dispatch(Block {
            weights,
            pixels,
            channels,
        })
    });
    let blocks = blocks.collect::<Vec<_>>();
    let write = |out: &mut [MaybeUninit<f32>]| {
        for (mask, out) in out.chunks_exact_mut(count).enumerate() {
            for (out, block) in out.chunks_mut(PIXELS).zip(&blocks) {
                let logits = &block[mask * out.len()..][..out.len()];
                out.iter_mut().zip(logits).for_each(|(out, x)| _ = out.write(*x));
            }
        }
        Ok(())
    };
    // SAFETY: the blocks are all pixels, and every mask's are written.
    let out = unsafe { host::written(masks * count, write)? };
    Tensor::from_vec(out, (masks, count), pixels.device())
}

/// The logits of some pixels: `[masks][pixels]`.
struct Block<'a> {
    weights: &'a [f32],
    pixels: &'a [f32],
    channels: usize,
}

impl Op for Block<'_> {
    type Out = Vec<f32>;

    #[inline(always)]
    fn run<I: Isa>(self) -> Vec<f32> {
        let Self {
            weights,
            pixels,
            channels,
        } = self;
        let count = pixels.len() / channels;
        let mut logits = vec![0f32; weights.len() / channels * count];
        // Channels of LANES pixels side by side.
        let mut turned = vec![[0f32; LANES]; channels];
        for (group, pixels) in pixels.chunks(LANES * channels).enumerate() {
            for (lane, pixel) in pixels.chunks_exact(channels).enumerate() {
                turned.iter_mut().zip(pixel).for_each(|(turned, x)| turned[lane] = *x);
            }
            for x in turned.as_flattened_mut() {
                *x = math::gelu::<I>(*x);
            }
            let first = group * LANES;
            for (weights, logits) in weights.chunks_exact(channels).zip(logits.chunks_exact_mut(count)) {
                let mut sums = [0f32; LANES];
                for (weight, turned) in weights.iter().zip(&turned) {
                    for (sum, x) in sums.iter_mut().zip(turned) {
                        *sum = I::fma(*weight, *x, *sum);
                    }
                }
                let logits = &mut logits[first..count.min(first + LANES)];
                logits.copy_from_slice(&sums[..logits.len()]);
            }
        }
        logits
    }
}

#[cfg(test)]
mod tests {
    use super::masks_of_gelu;
    use crate::ops::{
        gelu,
        host::as_accelerator,
        simd::at_every_level,
        testing::{assert_close, assert_no_number, plain_matmul_t, tensor, with_value},
    };

    #[test]
    fn equals_a_product_behind_gelu() {
        at_every_level(|| {
            for (masks, pixels, channels) in [(1, 1, 1), (4, 1031, 32), (3, 513, 5)] {
                let (weights, x) = (tensor(&[masks, channels], 1), tensor(&[pixels, channels], 2));
                let expected = plain_matmul_t(&weights, &gelu(&x).unwrap());
                let run = || masks_of_gelu(&weights, &x).unwrap();
                let what = format!("{masks} masks of {pixels}×{channels}");
                assert_close(&run(), &expected, 2e-5, &what);
                assert_close(&as_accelerator(run), &expected, 2e-5, &what);
            }
        });
        assert!(masks_of_gelu(&tensor(&[2, 3], 1), &tensor(&[5, 4], 2)).is_err());
    }
    #[test]
    fn of_what_is_no_number_comes_none() {
        at_every_level(|| {
            for (pixel, value) in [(0, f32::NAN), (514, f32::INFINITY)] {
                let x = with_value(&[515, 5], 2, pixel * 5 + 3, value);
                let masks = masks_of_gelu(&tensor(&[3, 5], 1), &x).unwrap();
                assert_no_number(&masks.permute([1, 0]).unwrap().rows(pixel, 1).unwrap(), "masks");
            }
        });
    }
}
