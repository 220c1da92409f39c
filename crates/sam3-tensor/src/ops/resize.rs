//! Resizing as torchvision does it to 8-bit pictures on a CPU, bilinear and antialiased, and as Pillow does it with
//! `BICUBIC`: both in integers.
//!
//! The weights of each axis are rounded to fixed point, rows are resized first, and the result between the two passes
//! is 8-bit again. The model was trained on this, so it is matched bit for bit.

use rayon::prelude::*;

use crate::{
    Result,
    storage::{copied, filled},
};

/// A picture, `rgb` `[height, width, 3]`, as a model wants it: `[3, size, size]` in -1 to 1, its sides stretched to
/// `size`.
pub fn normalized(rgb: &[u8], extents: (usize, usize), size: usize) -> Result<Vec<f32>> {
    let resized = resize(rgb, extents, (size, size))?;
    let scale: Vec<f32> = (0..=255u8).map(|v| (f32::from(v) / 255.0 - 0.5) / 0.5).collect();
    let mut planes = filled(3 * size * size, 0.0)?;
    for (channel, plane) in planes.chunks_exact_mut((size * size).max(1)).enumerate() {
        for (value, pixel) in plane.iter_mut().zip(resized.chunks_exact(3)) {
            *value = scale[usize::from(pixel[channel])];
        }
    }
    Ok(planes)
}

/// A picture, `rgb` `[h, w, 3]`, at `(height, width)`: `[height, width, 3]`, its sides stretched independently.
///
/// # Errors
/// When there is no room for it.
///
/// # Panics
/// Where `width` or `height` is 0: no picture is that small.
pub fn resize(rgb: &[u8], extents: (usize, usize), to: (usize, usize)) -> Result<Vec<u8>> {
    resize_by(Weights::new, rgb, extents, to)
}

/// As [`resize`], but as Pillow's `Image.resize` with `BICUBIC` does it, bit for bit.
///
/// # Errors
/// As there.
///
/// # Panics
/// As there.
pub fn resize_bicubic(rgb: &[u8], extents: (usize, usize), to: (usize, usize)) -> Result<Vec<u8>> {
    resize_by(Weights::bicubic, rgb, extents, to)
}

/// `weights` makes those of an axis, of its input and output sizes.
fn resize_by(
    weights: impl Fn(usize, usize) -> Weights,
    rgb: &[u8],
    (h, w): (usize, usize),
    (height, width): (usize, usize),
) -> Result<Vec<u8>> {
    assert!(width > 0 && height > 0, "a picture of {width}x{height}");
    let rgb = match width == w {
        true => copied(rgb)?,
        false => resize_rows(&weights(w, width), rgb, w)?,
    };
    match height == h {
        true => Ok(rgb),
        false => resize_columns(&weights(h, height), &rgb, width),
    }
}

/// What each output pixel of one axis is made of.
pub struct Weights {
    /// First input pixel and fixed-point weights, by output pixel.
    pub taps: Vec<(usize, Vec<i32>)>,
    /// Bits after the point.
    pub precision: u32,
}

impl Weights {
    /// Those of [`triangle_taps`].
    pub fn new(input: usize, output: usize) -> Self {
        let taps = triangle_taps(input, output);
        let largest = taps.iter().flat_map(|(_, w)| w).fold(0.0, |a: f64, &b| a.max(b));
        // The most bits with which the largest weight still fits 16 with its sign.
        let fits = |bits: u32| fixed(largest, bits) < 1 << 15;
        let precision = (0..22).find(|&bits| !fits(bits + 1)).unwrap_or(22);
        Self::rounded(taps, precision)
    }

    /// Keys' cubic filter (a = -0.5), twice as wide.
    pub fn bicubic(input: usize, output: usize) -> Self {
        let cubic = |distance: f64| match distance.abs() {
            x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            _ => 0.0,
        };
        Self::rounded(taps(input, output, 2.0, cubic), 22)
    }

    fn rounded(taps: Vec<(usize, Vec<f64>)>, precision: u32) -> Self {
        let to_fixed = |weights: Vec<f64>| weights.into_iter().map(|weight| fixed(weight, precision)).collect();
        Self {
            taps: taps.into_iter().map(|(start, w)| (start, to_fixed(w))).collect(),
            precision,
        }
    }

    fn round(&self, sum: i32) -> u8 {
        (sum >> self.precision).clamp(0, 255) as u8
    }

    /// What a sum starts from, so that cutting it off rounds it.
    fn half(&self) -> i32 {
        1 << (self.precision - 1)
    }
}

/// First input pixel and weights, which sum up to 1, of each output pixel of an axis that is resized bilinearly and
/// antialiased, as `torch.nn.functional.interpolate` does: a triangle as wide as two input pixels, or as two output
/// pixels where that is wider.
pub fn triangle_taps(input: usize, output: usize) -> Vec<(usize, Vec<f64>)> {
    taps(input, output, 1.0, |distance| (1.0 - distance.abs()).max(0.0))
}

/// First input pixel and weights, which sum up to 1, of each output pixel: those of a `filter` that reaches `reach`
/// input pixels to each side, or as many output pixels where that is wider.
fn taps(input: usize, output: usize, reach: f64, filter: impl Fn(f64) -> f64) -> Vec<(usize, Vec<f64>)> {
    let scale = input as f64 / output as f64;
    let width = scale.max(1.0);
    let support = reach * width;
    let tap = |i: usize| {
        let center = scale * (i as f64 + 0.5);
        let start = (center - support + 0.5).max(0.0) as usize;
        let end = ((center + support + 0.5) as usize).min(input);
        let weight = |j: usize| filter((j as f64 - center + 0.5) / width);
        let weights: Vec<f64> = (start..end).map(weight).collect();
        let total: f64 = weights.iter().sum();
        (start, weights.iter().map(|weight| weight / total).collect())
    };
    (0..output).map(tap).collect()
}

/// Rounded, halves away from 0, to so many bits after the point.
fn fixed(weight: f64, bits: u32) -> i32 {
    (weight * f64::from(1 << bits) + 0.5_f64.copysign(weight)) as i32
}

/// `input` is the width.
fn resize_rows(weights: &Weights, rgb: &[u8], input: usize) -> Result<Vec<u8>> {
    let output = weights.taps.len();
    let mut resized = filled(rgb.len() / input * output, 0)?;
    resized
        .par_chunks_exact_mut(3 * output)
        .zip(rgb.par_chunks_exact(3 * input))
        .for_each(|(to, from)| {
            for (pixel, (start, taps)) in to.chunks_exact_mut(3).zip(&weights.taps) {
                let mut sums = [weights.half(); 3];
                for (from, &weight) in from[3 * start..].chunks_exact(3).zip(taps) {
                    sums[0] += i32::from(from[0]) * weight;
                    sums[1] += i32::from(from[1]) * weight;
                    sums[2] += i32::from(from[2]) * weight;
                }
                pixel.copy_from_slice(&sums.map(|sum| weights.round(sum)));
            }
        });
    Ok(resized)
}

fn resize_columns(weights: &Weights, rgb: &[u8], width: usize) -> Result<Vec<u8>> {
    let row = 3 * width;
    let mut resized = filled(row * weights.taps.len(), 0)?;
    resized.par_chunks_exact_mut(row).zip(&weights.taps).for_each_init(
        || vec![0; row],
        |sums, (to, (start, taps))| {
            sums.fill(weights.half());
            for (from, &weight) in rgb[start * row..].chunks_exact(row).zip(taps) {
                for (sum, &value) in sums.iter_mut().zip(from) {
                    *sum += i32::from(value) * weight;
                }
            }
            for (value, &sum) in to.iter_mut().zip(sums.iter()) {
                *value = weights.round(sum);
            }
        },
    );
    Ok(resized)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PyTorch's `_compute_weights_aa` has them.
    #[test]
    fn a_quarter_of_the_size_has_the_weights_of_pytorch() {
        let taps = triangle_taps(16, 4);
        let close = |found: &[f64], expected: &[f64]| {
            assert_eq!(found.len(), expected.len(), "{found:?}");
            let is_close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
            assert!(is_close, "{found:?}");
        };
        assert_eq!((taps[0].0, taps[1].0), (0, 2));
        close(&taps[0].1, &[5.0, 7.0, 7.0, 5.0, 3.0, 1.0].map(|weight| weight / 28.0));
        close(
            &taps[1].1,
            &[1.0, 3.0, 5.0, 7.0, 7.0, 5.0, 3.0, 1.0].map(|weight| weight / 32.0),
        );
    }

    #[test]
    fn one_colour_stays_that_colour() {
        for (width, height, size) in [(1, 1, 7), (7, 3, 4), (300, 200, 31), (5, 5, 5)] {
            let rgb = [9, 200, 255].repeat(width * height);
            for resize in [resize, resize_bicubic] {
                let resized = resize(&rgb, (height, width), (size, size)).unwrap();
                assert_eq!(resized, [9, 200, 255].repeat(size * size));
            }
        }
    }

    #[test]
    fn values_run_from_minus_one_to_one_by_channel() {
        let found = normalized(&[0, 255, 51], (1, 1), 1).unwrap();
        assert_eq!(found, [-1.0, 1.0, (0.2f32 - 0.5) / 0.5]);
    }
}
