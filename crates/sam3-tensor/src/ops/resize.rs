//! Resizing as torchvision does it to 8-bit pictures on a CPU: bilinear, antialiased, in integers.
//!
//! The weights of each axis are rounded to 16-bit fixed point, rows are resized first, and the result between the two
//! passes is 8-bit again. The model was trained on this, so it is matched bit for bit.

use rayon::prelude::*;

use crate::{
    Result,
    storage::{copied, filled},
};

/// A picture, `rgb` `[height, width, 3]`, as a model wants it: `[3, size, size]` in -1 to 1, its sides stretched to `size`.
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
pub fn resize(rgb: &[u8], (h, w): (usize, usize), (height, width): (usize, usize)) -> Result<Vec<u8>> {
    assert!(width > 0 && height > 0, "a picture of {width}x{height}");
    let rgb = resize_rows(rgb, w, width)?;
    resize_columns(&rgb, h, height, width)
}

/// What each output pixel of one axis is made of.
pub struct Weights {
    /// First input pixel and fixed-point weights, by output pixel.
    pub taps: Vec<(usize, Vec<i32>)>,
    /// Bits after the point.
    pub precision: u32,
}

impl Weights {
    /// A triangle filter as wide as two input pixels, or as two output pixels where that is wider.
    pub fn new(input: usize, output: usize) -> Self {
        let scale = input as f64 / output as f64;
        let support = scale.max(1.0);
        let mut taps = Vec::with_capacity(output);
        for i in 0..output {
            let center = scale * (i as f64 + 0.5);
            let start = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(input);
            let triangle = |j: usize| {
                let distance = (j as f64 - center + 0.5) / support;
                (1.0 - distance.abs()).max(0.0)
            };
            let weights: Vec<f64> = (start..end).map(triangle).collect();
            let total: f64 = weights.iter().sum();
            taps.push((start, weights.iter().map(|w| w / total).collect::<Vec<_>>()));
        }
        let largest = taps.iter().flat_map(|(_, w)| w).fold(0.0, |a: f64, &b| a.max(b));
        // The most bits with which the largest weight still fits 16 with its sign.
        let fixed = |weight: f64, bits: u32| (weight * f64::from(1 << bits) + 0.5) as i32;
        let precision = (0..22).find(|&bits| fixed(largest, bits + 1) >= 1 << 15).unwrap_or(22);
        let to_fixed = |w: Vec<f64>| w.into_iter().map(|w| fixed(w, precision)).collect();
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

fn resize_rows(rgb: &[u8], input: usize, output: usize) -> Result<Vec<u8>> {
    if input == output {
        return copied(rgb);
    }
    let weights = Weights::new(input, output);
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

fn resize_columns(rgb: &[u8], input: usize, output: usize, width: usize) -> Result<Vec<u8>> {
    if input == output {
        return copied(rgb);
    }
    let weights = Weights::new(input, output);
    let row = 3 * width;
    let mut resized = filled(row * output, 0)?;
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

    #[test]
    fn one_colour_stays_that_colour() {
        for (width, height, size) in [(1, 1, 7), (7, 3, 4), (300, 200, 31), (5, 5, 5)] {
            let rgb = [9, 200, 255].repeat(width * height);
            let resized = resize(&rgb, (height, width), (size, size)).unwrap();
            assert_eq!(resized, [9, 200, 255].repeat(size * size));
        }
    }

    #[test]
    fn values_run_from_minus_one_to_one_by_channel() {
        let found = normalized(&[0, 255, 51], (1, 1), 1).unwrap();
        assert_eq!(found, [-1.0, 1.0, (0.2f32 - 0.5) / 0.5]);
    }
}
