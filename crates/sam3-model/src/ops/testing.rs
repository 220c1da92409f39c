//! Seeded values for the ops' tests.

use std::path::PathBuf;

use candle_core::{Device, Tensor};

/// This crate's folder: where cargo or a script says it is, since tests may run on another machine than compiled them.
pub fn crate_folder() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// `n` values in −1 to 1 (xorshift).
pub fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// The same as a tensor.
pub fn tensor(shape: &[usize], seed: u64) -> Tensor {
    Tensor::from_vec(values(shape.iter().product(), seed), shape, &Device::Cpu).unwrap()
}

/// What an op must not make a number of.
pub const NO_NUMBERS: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// As [`tensor`], with another value at one place.
pub fn with_value(shape: &[usize], seed: u64, place: usize, value: f32) -> Tensor {
    let mut values = values(shape.iter().product(), seed);
    values[place] = value;
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Fails at a value that is finite.
pub fn assert_no_number(found: &Tensor, what: &str) {
    let found = found.to_dtype(candle_core::DType::F32).unwrap().flatten_all().unwrap();
    let found: Vec<f32> = found.to_vec1().unwrap();
    assert!(!found.is_empty(), "{what}: nothing to look at");
    for (i, x) in found.into_iter().enumerate() {
        assert!(!x.is_finite(), "{what}[{i}] is {x}");
    }
}

/// Fails at the worst pair further apart than `tolerance`.
pub fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f32, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let flat = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (found, expected) = (flat(found), flat(expected));
    for (i, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance,
            "{what}[{i}]: found {found}, expected {expected}"
        );
    }
}
