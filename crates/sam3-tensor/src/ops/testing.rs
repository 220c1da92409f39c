//! Seeded values for the ops' tests.

use std::path::PathBuf;

use crate::{Device, Result, Tensor};

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

/// 0, 1, 2 and so on.
pub fn counted(shape: &[usize]) -> Tensor {
    let values = (0..shape.iter().product()).map(|i: usize| i as f32);
    Tensor::from_vec(values.collect(), shape, &Device::Cpu).unwrap()
}

/// A result of f32 values is a tensor of this shape and these values.
pub fn assert_values(found: Result<Tensor>, dims: &[usize], values: &[f32]) {
    let found = found.expect("the operation gives a tensor");
    assert_eq!(
        (found.dims(), found.values::<f32>().expect("they are f32")),
        (dims, values)
    );
}

/// What an error says; "no error" of a result that is none.
pub fn words<T>(result: Result<T>) -> String {
    result.map_or_else(|error| error.to_string(), |_| "no error".to_owned())
}

/// What an op must not make a number of.
pub const NO_NUMBERS: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

/// As [`tensor`], with another value at one place.
pub fn with_value(shape: &[usize], seed: u64, place: usize, value: f32) -> Tensor {
    let mut values = values(shape.iter().product(), seed);
    values[place] = value;
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// `a bᵀ` of two matrices of f32, sums in f64: what products are tested against.
pub fn plain_matmul_t(a: &Tensor, b: &Tensor) -> Tensor {
    let ((rows, depth), (columns, b_depth)) = (a.dims2().unwrap(), b.dims2().unwrap());
    assert_eq!(depth, b_depth);
    let (a, b) = (a.values::<f32>().unwrap(), b.values::<f32>().unwrap());
    let mut out = Vec::with_capacity(rows * columns);
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        let pairs = a[row * depth..][..depth].iter().zip(&b[column * depth..]);
        out.push(pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32);
    }
    Tensor::from_vec(out, (rows, columns), &Device::Cpu).unwrap()
}

/// `x Φ(x)`.
pub fn plain_gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
}

/// Fails at a value that is finite.
pub fn assert_no_number(found: &Tensor, what: &str) {
    let found = found.to_dtype(crate::DType::F32).unwrap().flatten_all();
    let found: Vec<f32> = found.to_vec().unwrap();
    assert!(!found.is_empty(), "{what}: nothing to look at");
    for (i, x) in found.into_iter().enumerate() {
        assert!(!x.is_finite(), "{what}[{i}] is {x}");
    }
}

/// Fails at the worst pair further apart than `tolerance`.
pub fn assert_close(found: &Tensor, expected: &Tensor, tolerance: f32, what: &str) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let flat = |x: &Tensor| x.flatten_all().to_vec::<f32>().unwrap();
    let (found, expected) = (flat(found), flat(expected));
    for (i, (found, expected)) in found.into_iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance,
            "{what}[{i}]: found {found}, expected {expected}"
        );
    }
}
