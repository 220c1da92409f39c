//! Symmetric int8 codes of rows, made as they come: activations of a token, or weights of an output channel.

use rayon::prelude::*;

use super::simd::{self, Isa, Op};
use crate::{Result, storage::filled};

/// Rows of int8 codes, and what one code is worth in each.
pub struct Codes {
    /// `[rows, depth]`.
    pub codes: Vec<i8>,
    /// `[rows]`.
    pub scales: Vec<f32>,
    /// What the codes lost, as a share of a typical value: the root of the mean of `(x − code × scale)²` over the mean
    /// of `|x|`. One outlier raises it, which a share of the mean square would hide. NaN where a value is not finite.
    pub error: f32,
}

/// Quantises each row by its largest magnitude.
///
/// # Errors
/// When there is no room for the codes.
pub fn quantize(values: &[f32], depth: usize) -> Result<Codes> {
    let rows = values.len() / depth;
    let mut codes = filled(values.len(), 0i8)?;
    let mut scales = filled(rows, 0f32)?;
    const ROWS: usize = 16;
    let (lost, magnitude) = codes
        .par_chunks_mut(ROWS * depth)
        .zip(values.par_chunks(ROWS * depth))
        .zip(scales.par_chunks_mut(ROWS))
        .map(|((codes, values), scales)| {
            let mut sums = (0f64, 0f64);
            let rows = codes.chunks_exact_mut(depth).zip(values.chunks_exact(depth));
            for ((codes, values), scale) in rows.zip(scales) {
                *scale = self::scale(values);
                let row = simd::dispatch(Encode {
                    values,
                    scale: *scale,
                    codes,
                });
                sums = (sums.0 + f64::from(row.lost), sums.1 + f64::from(row.magnitude));
            }
            sums
        })
        .reduce(|| (0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
    let error = if magnitude == 0.0 {
        0.0
    } else {
        let count = values.len() as f64;
        ((lost / count).sqrt() / (magnitude / count)) as f32
    };
    Ok(Codes { codes, scales, error })
}

/// Quantises one row of a weight: the codes of `values` whose row has this `scale`.
pub fn encode(values: &[f32], scale: f32, codes: &mut [i8]) {
    simd::dispatch(Encode { values, scale, codes });
}

/// What a code is worth in a row of these values: as in packages, the largest magnitude over 127. NaN where one of them
/// is.
pub fn scale(values: &[f32]) -> f32 {
    simd::dispatch(Scale(values))
}

/// What one code is worth in a row whose largest magnitude is `largest`: that over 127, but not a subnormal number,
/// which has no reciprocal; 1 in a row of zeros. NaN and infinity stay what they are.
fn code_worth(largest: f32) -> f32 {
    let scale = largest / 127.0;
    if largest == 0.0 {
        1.0
    } else if scale < f32::MIN_POSITIVE {
        f32::MIN_POSITIVE
    } else {
        scale
    }
}

/// Sums and maxima are kept in so many parts, which are vectors then.
const PARTS: usize = 64;

struct Scale<'a>(&'a [f32]);

impl Op for Scale<'_> {
    type Out = f32;
    #[inline(always)]
    fn run<I: Isa>(self) -> f32 {
        // As bits, magnitudes have the same order, and NaN is the largest.
        let mut parts = [0u32; PARTS];
        for chunk in self.0.chunks(PARTS) {
            for (part, x) in parts.iter_mut().zip(chunk) {
                *part = x.abs().to_bits().max(*part);
            }
        }
        let largest = parts.into_iter().fold(0, u32::max);
        code_worth(f32::from_bits(largest))
    }
}

struct Encode<'a> {
    values: &'a [f32],
    scale: f32,
    codes: &'a mut [i8],
}

/// Sums over a row.
struct Sums {
    /// Sums of what the codes lost.
    lost: f32,
    magnitude: f32,
}

impl Op for Encode<'_> {
    type Out = Sums;
    #[inline(always)]
    fn run<I: Isa>(self) -> Sums {
        // Adding 1.5 × 2^23 leaves the nearest integer, ties to even, in the low bits.
        const ROUND: f32 = 12_582_912.0;
        let inverse = 1.0 / self.scale;
        let (mut lost, mut magnitude) = ([0f32; PARTS], [0f32; PARTS]);
        for (values, codes) in self.values.chunks(PARTS).zip(self.codes.chunks_mut(PARTS)) {
            let sums = lost.iter_mut().zip(&mut magnitude);
            for ((x, code), (lost, magnitude)) in values.iter().zip(codes).zip(sums) {
                let shifted = x * inverse + ROUND;
                *code = shifted.to_bits() as i8;
                let error = x - (shifted - ROUND) * self.scale;
                *lost += error * error;
                *magnitude += x.abs();
            }
        }
        Sums {
            lost: lost.iter().sum(),
            magnitude: magnitude.iter().sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{quantize, scale};
    use crate::ops::{simd::at_every_level, testing::values};

    #[test]
    fn codes_are_the_nearest_integers_at_every_level() {
        at_every_level(|| {
            for (rows, depth) in [(1, 1), (3, 7), (17, 64), (5, 200)] {
                let mut x = values(rows * depth, 1);
                x[0] = 2.0;
                let found = quantize(&x, depth).unwrap();
                for (i, (&code, &x)) in found.codes.iter().zip(&x).enumerate() {
                    let inverse = 1.0 / found.scales[i / depth];
                    assert_eq!(f32::from(code), (x * inverse).round_ties_even(), "value {i} is {x}");
                }
                assert_eq!(found.codes[0], 127);
                assert!(
                    depth == 1 || (1e-3..2e-2).contains(&found.error),
                    "error {}",
                    found.error
                );
            }
        });
    }

    #[test]
    fn scales_are_those_of_packages_at_every_level() {
        at_every_level(|| {
            for (row, expected) in [
                (vec![0.0; 70], 1.0),
                (vec![1e-40, -1e-40], f32::MIN_POSITIVE),
                (vec![0.5, -254.0, 3.0], 2.0),
                (vec![f32::INFINITY, 1.0], f32::INFINITY),
            ] {
                assert_eq!(scale(&row), expected, "{row:?}");
                let found = quantize(&row, row.len()).unwrap();
                assert_eq!(found.scales, [expected]);
            }
            for place in [0, 1, 69] {
                let mut row = vec![3.0; 70];
                row[place] = f32::NAN;
                assert!(scale(&row).is_nan(), "NaN at {place}");
            }
        });
    }

    #[test]
    fn rows_that_int8_cannot_hold_are_told_by_their_error() {
        let error = |values: &[f32], depth| quantize(values, depth).unwrap().error;
        assert_eq!(error(&[0.0; 8], 4), 0.0);
        assert!(error(&[1.0, f32::NAN], 2).is_nan());
        assert!(error(&[1.0, f32::INFINITY], 2).is_nan());
        let mut outlier = values(1000, 2);
        outlier[500] = 100.0;
        let error = error(&outlier, 1000);
        assert!((0.3..0.4).contains(&error), "error {error}");
    }
}
