//! Resizing as torchvision does it to 8-bit pictures on a CPU: bilinear, antialiased, in integers.
//!
//! The weights of each axis are rounded to 16-bit fixed point, rows are resized first, and the result between the two
//! passes is 8-bit again. The model was trained on this, so it is matched bit for bit.

use rayon::prelude::*;

use super::Image;

/// `image` as the model wants it: `[3, size, size]` in -1 to 1, its sides stretched to `size` each.
pub fn preprocess(image: &Image, size: usize) -> Vec<f32> {
    let resized = resize(image, size as u32, size as u32);
    let scale: Vec<f32> = (0..=255u8).map(|v| (f32::from(v) / 255.0 - 0.5) / 0.5).collect();
    let mut planes = vec![0.0; 3 * size * size];
    for (channel, plane) in planes.chunks_exact_mut((size * size).max(1)).enumerate() {
        for (value, pixel) in plane.iter_mut().zip(resized.rgb.chunks_exact(3)) {
            *value = scale[usize::from(pixel[channel])];
        }
    }
    planes
}

/// `image` at another size, its sides stretched independently.
///
/// # Panics
/// Where `width` or `height` is 0: no picture is that small.
pub fn resize(image: &Image, width: u32, height: u32) -> Image {
    assert!(width > 0 && height > 0, "a picture of {width}x{height}");
    let rgb = resize_rows(&image.rgb, image.width as usize, width as usize);
    let rgb = resize_columns(&rgb, image.height as usize, height as usize, width as usize);
    Image { width, height, rgb }
}

/// What each output pixel of one axis is made of.
pub(crate) struct Weights {
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

fn resize_rows(rgb: &[u8], input: usize, output: usize) -> Vec<u8> {
    if input == output {
        return rgb.to_vec();
    }
    let weights = Weights::new(input, output);
    let mut resized = vec![0; rgb.len() / input * output];
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
    resized
}

fn resize_columns(rgb: &[u8], input: usize, output: usize, width: usize) -> Vec<u8> {
    if input == output {
        return rgb.to_vec();
    }
    let weights = Weights::new(input, output);
    let row = 3 * width;
    let mut resized = vec![0; row * output];
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
    resized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_colour_stays_that_colour() {
        for (width, height, size) in [(1, 1, 7), (7, 3, 4), (300, 200, 31), (5, 5, 5)] {
            let image = Image::new(width, height, [9, 200, 255].repeat((width * height) as usize)).unwrap();
            let resized = resize(&image, size, size);
            assert_eq!(resized.rgb, [9, 200, 255].repeat((size * size) as usize));
        }
    }

    #[test]
    fn values_run_from_minus_one_to_one_by_channel() {
        let image = Image::new(1, 1, vec![0, 255, 51]).unwrap();
        assert_eq!(preprocess(&image, 1), [-1.0, 1.0, (0.2f32 - 0.5) / 0.5]);
    }
}
