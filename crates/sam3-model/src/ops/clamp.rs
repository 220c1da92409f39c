//! Values kept between two bounds, where what is no number stays none.

use candle_core::{Result, Tensor};

/// `x` between `low` and `high`; NaN where `x` is not finite.
///
/// A GPU's own maximum and minimum give the bound for NaN, and a value beyond the range of the element type is no answer either.
pub fn clamp(x: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    // 0 for any number, NaN for all else.
    let zero = x.sub(x)?;
    x.clamp(low, high)? + zero
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::clamp;

    #[test]
    fn numbers_are_clamped_and_what_is_none_stays_none() {
        let x = [-3.0, -0.25, 0.5, 7.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        let x = Tensor::new(&x, &Device::Cpu).unwrap();
        let found: Vec<f32> = clamp(&x, -1.0, 2.0).unwrap().to_vec1().unwrap();
        assert_eq!(found[..4], [-1.0, -0.25, 0.5, 2.0]);
        assert!(found[4..].iter().all(|x| x.is_nan()), "{found:?}");
    }
}
