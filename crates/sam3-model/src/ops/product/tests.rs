//! Products against a plain triple loop, at sizes that fill no tile.

use super::{Activation, Epilogue, pack::Matrix, product};
use crate::ops::{Compute, testing::values};

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

fn check(compute: Compute, activation: Activation, tolerance: f32) {
    for (rows, columns, depth) in SIZES {
        let (a, b) = (values(rows * depth, 1), values(columns * depth, 2));
        let (bias, residual) = (values(columns, 3), values(rows * columns, 4));
        let mut out = vec![f32::NAN; rows * columns];
        let matrix = |values| Matrix { values, depth };
        let epilogue = Epilogue {
            bias: Some(&bias),
            activation,
            residual: Some(&residual),
        };
        product(compute, &matrix(&a), &matrix(&b), epilogue, &mut out);
        for (i, &found) in out.iter().enumerate() {
            let (row, column) = (i / columns, i % columns);
            let pairs = a[row * depth..][..depth].iter().zip(&b[column * depth..]);
            let sum = pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32 + bias[column];
            let expected = residual[i]
                + match activation {
                    Activation::None => sum,
                    Activation::Relu => sum.max(0.0),
                    Activation::Gelu => candle_core::Tensor::new(&[sum], &candle_core::Device::Cpu)
                        .and_then(|x| x.gelu_erf()?.get(0)?.to_scalar())
                        .unwrap(),
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
    check(Compute::F32, Activation::None, 3e-6);
    check(Compute::F32, Activation::Relu, 3e-6);
}

#[test]
fn gelu_follows_the_bias() {
    check(Compute::F32, Activation::Gelu, 3e-6);
}

#[test]
fn bf16_products_are_as_close_as_their_inputs() {
    check(Compute::Bf16, Activation::None, 6e-3);
}
