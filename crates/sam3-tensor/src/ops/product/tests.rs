//! Products against a plain triple loop, at sizes that fill no tile.

use std::mem::MaybeUninit;

use super::{Activation, Epilogue, pack::Matrix, product};
use crate::Result;
use crate::ops::{
    Compute,
    compute::Int8,
    host, int8,
    simd::{self, at_every_level},
    testing::{plain_gelu, values},
};

/// Awkward on every side of a tile, a panel and a depth block.
const SIZES: [(usize, usize, usize); 8] = [
    (1, 1, 1),
    (7, 33, 31),
    (31, 7, 33),
    (6, 64, 512),
    (5, 65, 513),
    (289, 63, 7),
    (300, 130, 1030),
    (1, 200, 2049),
];

/// What `product` writes; NaN where it does not.
fn run(len: usize, product: impl FnOnce(&mut [MaybeUninit<f32>]) -> Result<()>) -> Vec<f32> {
    let mut out = vec![MaybeUninit::new(f32::NAN); len];
    product(&mut out).unwrap();
    // SAFETY: they were NaN before.
    unsafe { host::values_in(&out) }.to_vec()
}

fn check(compute: Compute, activation: Activation, tolerance: f32) {
    for (rows, columns, depth) in SIZES {
        let (a, b) = (values(rows * depth, 1), values(columns * depth, 2));
        let (bias, residual, shift) = (values(columns, 3), values(rows * columns, 4), values(rows, 5));
        let matrix = |values| Matrix { values, depth };
        let epilogue = Epilogue {
            scales: None,
            bias: Some(&bias),
            shift: Some(&shift),
            activation,
            residual: Some(&residual),
        };
        let out = run(rows * columns, |out| {
            product(compute, &matrix(&a), &matrix(&b), epilogue, out)
        });
        for (i, &found) in out.iter().enumerate() {
            let (row, column) = (i / columns, i % columns);
            let pairs = a[row * depth..][..depth].iter().zip(&b[column * depth..]);
            let sum = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32 + bias[column] + shift[row];
            let expected = residual[i]
                + match activation {
                    Activation::None => sum,
                    Activation::Relu => sum.max(0.0),
                    Activation::Gelu => plain_gelu(f64::from(sum)) as f32,
                };
            let error = (found - expected).abs();
            assert!(
                error <= tolerance * (depth as f32).sqrt(),
                "{compute:?} {rows}×{columns}×{depth} [{row}, {column}]: found {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn f32_products_equal_sums_in_f64() {
    at_every_level(|| {
        check(Compute::F32, Activation::None, 3e-6);
        check(Compute::F32, Activation::Relu, 3e-6);
    });
}

#[test]
fn gelu_follows_the_bias() {
    at_every_level(|| check(Compute::F32, Activation::Gelu, 3e-6));
}

#[test]
fn bf16_products_are_as_close_as_their_inputs() {
    at_every_level(|| check(Compute::Bf16, Activation::None, 6e-3));
}

#[test]
fn int8_products_are_exact() {
    at_every_level(|| {
        // The last is SAM 3's own depth, at which sums of the largest codes do not fit in an f32.
        for (rows, columns, depth) in SIZES.into_iter().chain([(7, 65, 4736)]) {
            let mut a = int8::quantize(&values(rows * depth, 1), depth).unwrap();
            let mut b = int8::quantize(&values(columns * depth, 2), depth).unwrap();
            a.codes[..depth].fill(-127);
            // Not a code of ours, but a file may hold it.
            b.codes[..depth].fill(-128);
            let (bias, residual) = (values(columns, 3), values(rows * columns, 4));
            let matrix = |values| Matrix { values, depth };
            let epilogue = Epilogue {
                scales: Some((&a.scales, &b.scales)),
                bias: Some(&bias),
                activation: Activation::Relu,
                residual: Some(&residual),
                ..Epilogue::default()
            };
            let out = run(rows * columns, |out| {
                product(Int8, &matrix(&a.codes), &matrix(&b.codes), epilogue, out)
            });
            for (i, &found) in out.iter().enumerate() {
                let (row, column) = (i / columns, i % columns);
                let pairs = a.codes[row * depth..][..depth].iter().zip(&b.codes[column * depth..]);
                let sum = pairs.map(|(a, b)| i64::from(*a) * i64::from(*b)).sum::<i64>() as f32;
                let expected = (sum * a.scales[row] * b.scales[column] + bias[column]).max(0.0) + residual[i];
                assert_eq!(found, expected, "{rows}×{columns}×{depth} [{row}, {column}]");
            }
        }
    });
}

#[test]
fn every_level_is_another_instance() {
    let names = std::sync::Mutex::new(Vec::new());
    at_every_level(|| names.lock().unwrap().push(simd::name()));
    let mut names = names.into_inner().unwrap();
    assert_eq!(names.last(), Some(&"portable"));
    names.dedup();
    #[cfg(target_arch = "x86_64")]
    assert_eq!(
        names.contains(&"AVX2"),
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")
    );
    #[cfg(target_arch = "aarch64")]
    assert!(names.contains(&"NEON"));
}
