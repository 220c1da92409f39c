//! exp2, GELU and ReLU without branches, so that loops of them become vector code.

use super::Isa;

/// 2^x for `x <= 127`; zero (a subnormal's worth) below −126. Relative error below 3e-7.
#[inline(always)]
pub fn exp2<I: Isa>(x: f32) -> f32 {
    // Adding 1.5 × 2^23 leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -126.0 { -126.0 } else { x };
    let shifted = x + ROUND;
    let f = x - (shifted - ROUND);
    // Least squares in relative error over [-1/2, 1/2] at Chebyshev points.
    let p = I::fma(1.533_757_7e-4, f, 1.339_986e-3);
    let p = I::fma(p, f, 9.618_52e-3);
    let p = I::fma(p, f, 5.550_329e-2);
    let p = I::fma(p, f, 2.402_264_7e-1);
    let p = I::fma(p, f, 6.931_472e-1);
    let p = I::fma(p, f, 1.0);
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    p * scale
}

/// `max(x, 0)`, of which NaN stays NaN as in PyTorch: `f32::max` would make 0 of it.
#[inline(always)]
pub fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// `x Φ(x)`. Absolute error below 2.5e-7 or one rounding of the result.
#[inline(always)]
pub fn gelu<I: Isa>(x: f32) -> f32 {
    // Φ(−|x|) = p(t) e^(−x²/2) with t = 1 / (1 + 0.3 |x|); p by least squares in relative error over |x| <= 14.
    let t = 1.0 / I::fma(0.3, x.abs(), 1.0);
    let p = I::fma(0.036_223_37, t, -0.159_354_55);
    let p = I::fma(p, t, 0.209_819_64);
    let p = I::fma(p, t, -0.056_645_013);
    let p = I::fma(p, t, 0.130_005);
    let p = I::fma(p, t, 0.099_513_51);
    let p = I::fma(p, t, 0.120_812_18);
    let p = I::fma(p, t, 0.119_625_87) * t;
    let tail = x * p * exp2::<I>(x * x * (-0.5 * std::f32::consts::LOG2_E));
    if x > 0.0 { x - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::{super::portable::Portable, exp2, gelu, relu};
    use crate::ops::testing::plain_gelu;

    #[test]
    fn exp2_is_within_3e7_of_the_library() {
        for i in 0..60_000 {
            let x = i as f32 * 0.002 - 119.0;
            let expected = f64::from(x).exp2();
            let error = (f64::from(exp2::<Portable>(x)) - expected).abs() / expected;
            assert!(error < 3e-7, "exp2({x}): error {error:e}");
        }
        assert!(exp2::<Portable>(f32::NEG_INFINITY) < 1e-37);
        assert!(exp2::<Portable>(f32::NAN).is_nan());
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for x in [f32::NAN, -f32::NAN, f32::from_bits(0x7fff_ffff)] {
            assert!(relu(x).is_nan());
            assert!(gelu::<Portable>(x).is_nan());
            assert!(exp2::<Portable>(x).is_nan());
        }
        assert_eq!(relu(f32::INFINITY), f32::INFINITY);
        assert!(!gelu::<Portable>(f32::INFINITY).is_finite());
        assert_eq!([-1.0, 0.0, 2.5].map(relu), [0.0, 0.0, 2.5]);
    }

    #[test]
    fn gelu_is_within_a_rounding_of_the_exact_one() {
        for x in (0..40_000).map(|i| i as f32 * 0.001 - 20.0) {
            let (found, expected) = (gelu::<Portable>(x), plain_gelu(f64::from(x)) as f32);
            let error = (found - expected).abs();
            assert!(
                error <= 2.5e-7 + 1.2e-7 * expected.abs(),
                "gelu({x}): {found}, expected {expected}"
            );
        }
    }
}
