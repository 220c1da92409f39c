//! Mask logits at the model's resolution to a mask at the picture's.

use rayon::prelude::*;

use crate::{Result, storage::filled};

/// Where one output pixel of an axis lies between two input pixels.
#[derive(Clone, Copy)]
pub struct Between {
    /// The input pixel before it.
    pub low: usize,
    /// The one behind it; the same at an end of the axis.
    pub high: usize,
    /// The share of `low`.
    pub low_weight: f32,
    /// The share of `high`.
    pub high_weight: f32,
}

/// The mask of `logits` (`[h, w]`, row by row) at `height` × `width` pixels: resized, then > 0, a bit a pixel. Pixel x
/// of a row is bit x % 64 of its word x / 64.
///
/// As officially, the logits are resized (bilinear, pixel centres aligned, no antialiasing, as
/// `torch.nn.functional.interpolate` does) and then compared, so edges are smooth at any size. Rows are made one at a
/// time: no full-size float picture exists, and only where the logits are positive nearby is anything computed.
///
/// # Panics
/// When `logits` does not hold `h * w` values.
pub fn upsample_threshold(logits: &[f32], (h, w): (usize, usize), (height, width): (usize, usize)) -> Result<Vec<u64>> {
    assert_eq!(logits.len(), h * w, "{h}x{w} logits");
    let words_per_row = width.div_ceil(64);
    let mut words = filled(words_per_row * height, 0u64)?;
    if logits.is_empty() || words.is_empty() {
        return Ok(words);
    }
    let columns = between(w, width);
    let rows = between(h, height);
    // One task for the output rows that share their two input rows.
    let mut bands = Vec::new();
    let mut rest = words.as_mut_slice();
    for band in rows.chunk_by(|a, b| (a.low, a.high) == (b.low, b.high)) {
        let (of_band, after) = rest.split_at_mut(band.len() * words_per_row);
        bands.push((band, of_band));
        rest = after;
    }
    bands.into_par_iter().for_each(|(band, words)| {
        let [low, high] = [band[0].low, band[0].high].map(|row| &logits[row * w..][..w]);
        let Some(inside) = positive_columns(low, high, &columns) else {
            return;
        };
        let columns = &columns[inside.clone()];
        let [low, high] = [low, high].map(|row| {
            let at = |c: &Between| row[c.low] * c.low_weight + row[c.high] * c.high_weight;
            columns.iter().map(at).collect::<Vec<f32>>()
        });
        for (row, words) in band.iter().zip(words.chunks_exact_mut(words_per_row)) {
            for (i, (low, high)) in low.iter().zip(&high).enumerate() {
                let x = inside.start + i;
                let is_inside = low * row.low_weight + high * row.high_weight > 0.0;
                words[x / 64] |= u64::from(is_inside) << (x % 64);
            }
        }
    });
    Ok(words)
}

/// Where each of `output` pixels lies between `input` ones, centres aligned.
pub fn between(input: usize, output: usize) -> Vec<Between> {
    let scale = input as f32 / output as f32;
    let at = |i: usize| {
        let position = (scale * (i as f32 + 0.5) - 0.5).max(0.0);
        let low = (position as usize).min(input - 1);
        let high_weight = (position - low as f32).min(1.0);
        Between {
            low,
            high: (low + 1).min(input - 1),
            low_weight: 1.0 - high_weight,
            high_weight,
        }
    };
    (0..output).map(at).collect()
}

/// The output columns that have a positive logit among their neighbours in the two rows: no other can be inside.
fn positive_columns(low: &[f32], high: &[f32], columns: &[Between]) -> Option<std::ops::Range<usize>> {
    let is_positive = |(low, high): (&f32, &f32)| *low > 0.0 || *high > 0.0;
    let first = low.iter().zip(high).position(is_positive)?;
    let last = low.iter().zip(high).rposition(is_positive)?;
    let start = columns.partition_point(|c| c.high < first);
    Some(start..columns.partition_point(|c| c.low <= last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_falls_half_way() {
        let mask = upsample_threshold(&[-1.0, 1.0], (1, 2), (3, 8)).unwrap();
        assert_eq!(mask, [0b1111_0000; 3]);
    }

    /// What `interpolate` makes of one logit a pixel, in f64: a tent around each input pixel's middle, level beyond the
    /// outer ones.
    #[test]
    fn equals_the_plain_formula_at_awkward_sizes() {
        for (h, w, height, width) in [(1, 1, 5, 70), (7, 5, 31, 129), (9, 12, 4, 3), (16, 16, 16, 16)] {
            let logits: Vec<f32> = (0..h * w).map(|i| ((i * 37 % 23) as f32) - 14.3).collect();
            let mask = upsample_threshold(&logits, (h, w), (height, width)).unwrap();
            let words = width.div_ceil(64);
            assert_eq!(mask.len(), height * words);
            let share = |from: usize, to: usize, input: usize, output: usize| {
                let middle = (to as f64 + 0.5) * input as f64 / output as f64 - 0.5;
                (1.0 - (middle.clamp(0.0, (input - 1) as f64) - from as f64).abs()).max(0.0)
            };
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let weighed = logits
                    .iter()
                    .enumerate()
                    .map(|(i, logit)| f64::from(*logit) * share(i / w, y, h, height) * share(i % w, x, w, width));
                let value: f64 = weighed.sum();
                assert!(value.abs() > 1e-5, "{value} is too near to 0 to tell");
                let what = format!("{h}x{w} to {height}x{width} at {x},{y}: {value}");
                let is_inside = mask[y * words + x / 64] >> (x % 64) & 1 == 1;
                assert_eq!(is_inside, value > 0.0, "{what}");
            }
        }
    }
}
