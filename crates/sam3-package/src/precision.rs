//! From single precision to half, bfloat16 or int8 and back, and the error it cost.
//!
//! Every conversion rounds to the nearest, ties to even, as PyTorch's `.half()`, `.bfloat16()` and `round` do.
//! Bytes are little-endian, as in every file this crate knows.

use half::{bf16, f16, slice::HalfFloatSliceExt};
use serde::{Deserialize, Serialize};

use crate::checkpoint::Dtype;

/// What `--quantize` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Every float as it is stored in the source; int8 weights are turned back into f32.
    None,
    /// IEEE half precision for matrices, convolutions and embeddings.
    Fp16,
    /// Brain floating point for the same tensors.
    Bf16,
    /// Signed bytes with a scale per output channel for large Linear weights, the rest as in [`Precision::Fp16`].
    Int8,
}

impl Precision {
    /// The name on the command line and in the metadata.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Fp16 => "fp16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

/// Values converted at a time: their f32 and 16-bit forms fit the first-level cache together.
pub(crate) const BLOCK: usize = 4096;

/// Room for one block in each of its forms.
pub(crate) struct Scratch {
    /// The source's values.
    pub values: Vec<f32>,
    back: Vec<f32>,
    halves: Vec<f16>,
    brains: Vec<bf16>,
}

impl Scratch {
    pub fn new() -> Self {
        Self {
            values: Vec::with_capacity(BLOCK),
            back: vec![0.0; BLOCK],
            halves: vec![f16::ZERO; BLOCK],
            brains: vec![bf16::ZERO; BLOCK],
        }
    }

    /// Appends stored floats to `values`. `dtype` is F32, F16 or BF16; `bytes` holds whole elements.
    pub fn widen(&mut self, bytes: &[u8], dtype: Dtype) {
        let out = &mut self.values;
        match dtype {
            Dtype::F32 => out.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))),
            Dtype::F16 => {
                for block in bytes.chunks(2 * BLOCK) {
                    let halves = &mut self.halves[..block.len() / 2];
                    for (half, b) in halves.iter_mut().zip(block.as_chunks::<2>().0) {
                        *half = f16::from_le_bytes(*b);
                    }
                    let start = out.len();
                    out.resize(start + halves.len(), 0.0);
                    halves.convert_to_f32_slice(&mut out[start..]);
                }
            }
            Dtype::BF16 => out.extend(
                bytes
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .map(|b| bf16::from_le_bytes(*b).to_f32()),
            ),
            other => unreachable!("{other} is not widened"),
        }
    }

    /// Appends `values` to `out` as F32, F16 or BF16 and counts what that cost.
    pub fn narrow(&mut self, dtype: Dtype, out: &mut Vec<u8>, cost: &mut Cost) {
        for values in self.values.chunks(BLOCK) {
            let back = &mut self.back[..values.len()];
            match dtype {
                Dtype::F32 => {
                    out.extend_from_slice(bytemuck::cast_slice(values));
                    back.copy_from_slice(values);
                }
                Dtype::F16 => {
                    let halves = &mut self.halves[..values.len()];
                    halves.convert_from_f32_slice(values);
                    out.extend_from_slice(bytemuck::cast_slice(halves));
                    halves.convert_to_f32_slice(back);
                }
                Dtype::BF16 => {
                    let brains = &mut self.brains[..values.len()];
                    for ((brain, back), value) in brains.iter_mut().zip(back.iter_mut()).zip(values) {
                        *brain = bf16::from_f32(*value);
                        *back = brain.to_f32();
                    }
                    out.extend_from_slice(bytemuck::cast_slice(brains));
                }
                other => unreachable!("floats are not narrowed to {other}"),
            }
            cost.add(values, back);
        }
    }
}

/// 1.5 × 2²³: adding it leaves no bits for a fraction, so that the sum is rounded to the nearest integer, ties to even.
/// The compiler vectorises this sum, and makes a call of `round_ties_even` where SSE4.1 is not assumed: packaging the
/// full model as int8 took 6.7 s of CPU with the sum and 15.0 s with the call.
const ROUND: f32 = 12_582_912.0;

/// What one int8 code is worth in a row whose largest magnitude is `largest`: that over 127, but not a subnormal
/// number, which has no reciprocal; 1 in a row of zeros. NaN and infinity stay what they are.
pub fn int8_scale(largest: f32) -> f32 {
    let scale = largest / 127.0;
    if largest == 0.0 {
        1.0
    } else if scale < f32::MIN_POSITIVE {
        f32::MIN_POSITIVE
    } else {
        scale
    }
}

/// One row of a Linear weight to int8, symmetric: appends the codes, returns the [scale](int8_scale), `value ≈ code ×
/// scale`.
pub(crate) fn quantise_row(row: &[f32], out: &mut Vec<u8>, cost: &mut Cost) -> f32 {
    let scale = int8_scale(row.iter().fold(0.0f32, |m, v| m.max(v.abs())));
    let (mut codes, mut back) = ([0i8; 256], [0.0f32; 256]);
    for values in row.chunks(codes.len()) {
        for ((value, code), back) in values.iter().zip(&mut codes).zip(&mut back) {
            let rounded = ((value / scale).clamp(-127.0, 127.0) + ROUND) - ROUND;
            *code = rounded as i8;
            *back = rounded * scale;
        }
        out.extend_from_slice(bytemuck::cast_slice(&codes[..values.len()]));
        cost.add(values, &back[..values.len()]);
    }
    scale
}

/// The inverse of [`quantise_row`]: appends `code × scale`.
pub(crate) fn restore_row(codes: &[u8], scale: f32, out: &mut Vec<f32>) {
    out.extend(codes.iter().map(|code| f32::from(*code as i8) * scale));
}

/// What storing a tensor in fewer bits cost, and whether it could be stored at all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cost {
    count: u64,
    max_abs: f32,
    sum_abs: f64,
    sum_square: f64,
    sum_square_error: f64,
    /// Values that are not finite before or after; the first one that was not before, or else after, and its index in
    /// row-major order.
    pub lost: Option<Lost>,
}

/// Values that did not survive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Lost {
    pub count: u64,
    pub index: u64,
    pub value: f32,
}

impl Cost {
    /// Adds values and what reading them back gives.
    pub fn add(&mut self, values: &[f32], back: &[f32]) {
        const LANES: usize = 8;
        let (mut max_abs, mut sum_abs) = ([0.0f32; LANES], [0.0f32; LANES]);
        let (mut square, mut square_error) = ([0.0f64; LANES], [0.0f64; LANES]);
        let (rows, rest) = values.as_chunks::<LANES>();
        let (back_rows, back_rest) = back.as_chunks::<LANES>();
        let mut lane = |i: usize, value: f32, back: f32| {
            let error = (value - back).abs();
            // Written so that a NaN is carried, not dropped: it must reach the check below.
            max_abs[i] = if error <= max_abs[i] { max_abs[i] } else { error };
            sum_abs[i] += error;
            square[i] += f64::from(value) * f64::from(value);
            square_error[i] += f64::from(error) * f64::from(error);
        };
        for (value, back) in rows.iter().zip(back_rows) {
            for i in 0..LANES {
                lane(i, value[i], back[i]);
            }
        }
        for (i, (value, back)) in rest.iter().zip(back_rest).enumerate() {
            lane(i, *value, *back);
        }
        let largest = max_abs.iter().fold(0.0f32, |m, e| if *e <= m { m } else { *e });
        // inf - inf and NaN - anything are NaN, overflow leaves inf: any of them shows in the largest error.
        if !largest.is_finite() || sum_abs.iter().any(|s| !s.is_finite()) {
            self.lose(values, back);
        }
        self.max_abs = self.max_abs.max(largest);
        self.sum_abs += sum_abs.iter().map(|s| f64::from(*s)).sum::<f64>();
        self.sum_square += square.iter().sum::<f64>();
        self.sum_square_error += square_error.iter().sum::<f64>();
        self.count += values.len() as u64;
    }

    #[cold]
    fn lose(&mut self, values: &[f32], back: &[f32]) {
        for (i, (value, back)) in values.iter().zip(back).enumerate() {
            if !value.is_finite() || !back.is_finite() {
                let index = self.count + i as u64;
                let found = Lost {
                    count: 0,
                    index,
                    value: *value,
                };
                let lost = self.lost.get_or_insert(found);
                // One value that is no number spoils the int8 codes of its whole row: name that value.
                if lost.value.is_finite() && !value.is_finite() {
                    (lost.index, lost.value) = (index, *value);
                }
                lost.count += 1;
            }
        }
    }

    /// The figures for the metadata, or `None` where every value came back as it was.
    pub fn error(&self) -> Option<QuantisationError> {
        (self.sum_square_error > 0.0).then(|| QuantisationError {
            max_abs: self.max_abs,
            mean_abs: (self.sum_abs / self.count as f64) as f32,
            snr_db: (10.0 * (self.sum_square / self.sum_square_error).log10()) as f32,
        })
    }
}

/// The error of one tensor against its source.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantisationError {
    /// Largest absolute error.
    pub max_abs: f32,
    /// Mean absolute error.
    pub mean_abs: f32,
    /// Signal-to-noise ratio, 10·log₁₀(Σ value² / Σ error²).
    pub snr_db: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(values: &[f32], dtype: Dtype) -> (Vec<u8>, Cost) {
        let (mut scratch, mut out, mut cost) = (Scratch::new(), Vec::new(), Cost::default());
        scratch.values.extend_from_slice(values);
        scratch.narrow(dtype, &mut out, &mut cost);
        (out, cost)
    }

    /// Every f16 survives, and halfway cases go to the even neighbour.
    #[test]
    fn half_rounds_to_nearest_even() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            if half.is_finite() {
                let (bytes, cost) = narrowed(&[half.to_f32()], Dtype::F16);
                assert_eq!(bytes, bits.to_le_bytes(), "{half}");
                assert!(cost.error().is_none() && cost.lost.is_none());
            }
        }
        let ulp = 2.0f32.powi(-10);
        for (value, expected) in [
            (1.0 + 0.5 * ulp, 0x3C00),
            (1.0 + 1.5 * ulp, 0x3C02),
            (1.0 + 0.500_1 * ulp, 0x3C01),
            (65519.0, 0x7BFF),
            (2.0f32.powi(-25), 0x0000),
            (2.0f32.powi(-25) * 1.01, 0x0001),
            (-0.0, 0x8000),
        ] {
            assert_eq!(narrowed(&[value], Dtype::F16).0, u16::to_le_bytes(expected), "{value}");
        }
    }

    /// Vector and scalar tails of a block agree with the one-value conversion.
    #[test]
    fn awkward_lengths_agree_with_single_values() {
        for count in [1, 7, 31, 33, BLOCK, BLOCK + 5] {
            let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.7312).sin() * 3.0).collect();
            let expected: Vec<u8> = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
            assert_eq!(narrowed(&values, Dtype::F16).0, expected);
            let expected: Vec<u8> = values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
            assert_eq!(narrowed(&values, Dtype::BF16).0, expected);
        }
    }

    #[test]
    fn overflow_and_nan_are_counted_with_the_first_place() {
        let mut values = vec![1.0f32; 2 * BLOCK];
        assert!(narrowed(&values, Dtype::F16).1.lost.is_none());
        values[BLOCK + 3] = 70_000.0;
        let lost = narrowed(&values, Dtype::F16).1.lost.unwrap();
        assert_eq!((lost.count, lost.index, lost.value), (1, BLOCK as u64 + 3, 70_000.0));
        // What was no number before is the one to name.
        values[BLOCK + 9] = f32::NEG_INFINITY;
        values[2 * BLOCK - 1] = f32::NAN;
        let lost = narrowed(&values, Dtype::F16).1.lost.unwrap();
        assert_eq!(
            (lost.count, lost.index, lost.value),
            (3, BLOCK as u64 + 9, f32::NEG_INFINITY)
        );
        assert_eq!(narrowed(&values, Dtype::BF16).1.lost.unwrap().count, 2);
        assert_eq!(narrowed(&values, Dtype::F32).1.lost.unwrap().count, 2);
    }

    #[test]
    fn the_error_is_what_a_naive_loop_says() {
        let values: Vec<f32> = (0..1001).map(|i| (i as f32 * 0.37).cos()).collect();
        let (bytes, cost) = narrowed(&values, Dtype::F16);
        let back = bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| f64::from(f16::from_le_bytes(*b).to_f32()));
        let errors: Vec<f64> = values
            .iter()
            .zip(back)
            .map(|(v, b)| (f64::from(*v) - b).abs())
            .collect();
        let signal: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
        let noise: f64 = errors.iter().map(|e| e * e).sum();
        let error = cost.error().unwrap();
        assert_eq!(f64::from(error.max_abs), errors.iter().fold(0.0, |m, e| e.max(m)));
        assert!((f64::from(error.mean_abs) * 1001.0 / errors.iter().sum::<f64>() - 1.0).abs() < 1e-5);
        assert!((f64::from(error.snr_db) - 10.0 * (signal / noise).log10()).abs() < 1e-4);
    }

    /// Codes are PyTorch's `round(value / scale)`: ties go to the even code.
    #[test]
    fn int8_rounds_ties_to_even() {
        let (mut codes, mut cost) = (Vec::new(), Cost::default());
        let scale = quantise_row(
            &[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -126.5, -127.0],
            &mut codes,
            &mut cost,
        );
        assert_eq!(scale, 1.0);
        let codes: Vec<i8> = codes.iter().map(|code| *code as i8).collect();
        assert_eq!(codes, [127, 0, 2, 2, 0, -2, -126, -127]);
    }

    /// The scale is the largest magnitude over 127, 1 for zeros, and no number that a fast unit takes for zero.
    #[test]
    fn int8_scales_follow_the_rules() {
        for (row, expected) in [
            (&[0.0, -0.0, 0.0][..], 1.0),
            (&[2.0, -254.0, 3.0], 2.0),
            (&[1e-42, -1e-43], f32::MIN_POSITIVE),
            (&[], 1.0),
        ] {
            let mut codes = Vec::new();
            assert_eq!(quantise_row(row, &mut codes, &mut Cost::default()), expected, "{row:?}");
            assert_eq!(codes.len(), row.len());
        }
    }

    #[test]
    fn int8_scales_have_reciprocals() {
        for (largest, expected) in [
            (0.0, 1.0),
            (1e-45, f32::MIN_POSITIVE),
            (1e-37, f32::MIN_POSITIVE),
            (254.0, 2.0),
        ] {
            assert_eq!(int8_scale(largest), expected, "{largest}");
            assert!((1.0 / int8_scale(largest)).is_finite(), "{largest}");
        }
        assert_eq!(int8_scale(f32::INFINITY), f32::INFINITY);
        assert!(int8_scale(f32::NAN).is_nan());
    }

    #[test]
    fn int8_rows_come_back_within_half_a_step() {
        for row in [
            vec![0.0; 5],
            vec![1e-42, -1e-43],
            vec![3.0, -2.0, 0.5],
            (0..300).map(|i| i as f32).collect(),
        ] {
            let (mut codes, mut back, mut cost) = (Vec::new(), Vec::new(), Cost::default());
            let scale = quantise_row(&row, &mut codes, &mut cost);
            restore_row(&codes, scale, &mut back);
            assert!(cost.lost.is_none());
            for (value, back) in row.iter().zip(back) {
                assert!((value - back).abs() <= 0.5001 * scale, "{value} came back as {back}");
            }
        }
        let mut cost = Cost::default();
        quantise_row(&[1.0, f32::NAN], &mut Vec::new(), &mut cost);
        assert_eq!(cost.lost.unwrap().count, 1);
        let mut cost = Cost::default();
        quantise_row(&[1.0, f32::INFINITY], &mut Vec::new(), &mut cost);
        assert!(cost.lost.is_some());
    }
}
