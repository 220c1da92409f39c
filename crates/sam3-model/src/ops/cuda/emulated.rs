//! The kernels on the CPU against the twins, on awkward sizes.

use candle_core::{DType, Device, Tensor};

use super::emulation::emulated;
use crate::ops::{
    Rope,
    testing::{assert_close, tensor},
};

const TYPES: [(DType, f32); 3] = [(DType::F32, 2e-6), (DType::F16, 2e-3), (DType::BF16, 1.6e-2)];

/// A kernel's result against its twin's, both from `inputs` as `dtype`; the twin's is f32 from the same rounded inputs.
fn check(
    what: &str,
    (dtype, tolerance): (DType, f32),
    inputs: &[Tensor],
    run: impl Fn(&[Tensor]) -> candle_core::Result<Tensor>,
) {
    let cast = |dtype| move |x: &Tensor| x.to_dtype(dtype).unwrap();
    let inputs: Vec<Tensor> = inputs.iter().map(cast(dtype)).collect();
    let exact: Vec<Tensor> = inputs.iter().map(cast(DType::F32)).collect();
    let found = emulated(|| run(&inputs)).unwrap();
    let expected = run(&exact).unwrap();
    let found = found.to_dtype(DType::F32).unwrap();
    assert_close(&found, &expected, tolerance, &format!("{what} {dtype:?}"));
}

#[test]
#[ignore = "needs a C++ compiler; .ci/run cuda runs it"]
fn attention_equals_its_twin() {
    for (batch, queries, keys, heads, head_dim) in [
        (1, 1, 1, 1, 8),
        (2, 7, 31, 3, 24),
        (1, 65, 64, 2, 32),
        (1, 33, 130, 1, 64),
        (3, 129, 63, 1, 40),
        (1, 5, 9, 2, 10),
        (1, 17, 65, 1, 33),
    ] {
        let sizes = (batch, queries, keys, heads, head_dim);
        let hidden = |i: usize| {
            if i % 3 == 1 || i < 70.min(keys - 1) {
                f32::NEG_INFINITY
            } else {
                0.5
            }
        };
        let padding = Tensor::from_vec((0..keys).map(hidden).collect(), (1, 1, keys), &Device::Cpu).unwrap();
        let biases = [
            None,
            Some(tensor(&[heads, queries, keys], 4)),
            Some(tensor(&[1, queries, keys], 5)),
            Some(tensor(&[heads, queries, 1], 6)),
            Some(padding),
        ];
        let width = heads * head_dim;
        let inputs =
            [(queries, 1), (keys, 2), (keys, 3)].map(|(n, seed)| (tensor(&[batch, n, width], seed) * 3.0).unwrap());
        for (kind, bias) in biases.iter().enumerate() {
            for (dtype, tolerance) in TYPES {
                check(
                    &format!("{sizes:?} bias {kind}"),
                    (dtype, 3.0 * tolerance),
                    &inputs,
                    |x| super::attention(&x[0], &x[1], &x[2], heads, bias.as_ref()),
                );
            }
        }
    }
}

#[test]
#[ignore = "needs a C++ compiler; .ci/run cuda runs it"]
fn attention_of_many_queries_equals_its_twin() {
    // Enough blocks that each takes 128 queries.
    for (queries, keys, heads, head_dim) in [(130, 70, 128, 64), (97, 129, 256, 32)] {
        let width = heads * head_dim;
        let inputs = [(queries, 1), (keys, 2), (keys, 3)].map(|(n, seed)| tensor(&[1, n, width], seed));
        let bias = tensor(&[1, queries, keys], 4);
        check(&format!("{queries}×{keys}"), TYPES[1], &inputs, |x| {
            super::attention(&x[0], &x[1], &x[2], heads, Some(&bias))
        });
    }
}

#[test]
#[ignore = "needs a C++ compiler; .ci/run cuda runs it"]
fn a_query_that_sees_nothing_gives_zeros() {
    let inputs = [1, 2, 3].map(|seed| tensor(&[1, 3, 8], seed));
    let bias = Tensor::full(f32::NEG_INFINITY, (1, 1, 3), &Device::Cpu).unwrap();
    for kind in TYPES {
        check("nothing", kind, &inputs, |x| {
            super::attention(&x[0], &x[1], &x[2], 1, Some(&bias))
        });
    }
}

#[test]
#[ignore = "needs a C++ compiler; .ci/run cuda runs it"]
fn map_attention_equals_its_twin() {
    for (height, width, window, heads, head_dim) in [
        (6, 6, Some(3), 2, 8),
        (7, 5, Some(3), 3, 4),
        (10, 11, Some(9), 1, 64),
        (3, 2, Some(1), 1, 16),
        (9, 13, None, 2, 64),
        (5, 7, None, 1, 12),
    ] {
        let channels = heads * head_dim;
        // Any angles do: a table for each of the tokens.
        let tokens = window.map_or(height * width, |window| window * window);
        let side = (1..).find(|side| side * side >= tokens).unwrap();
        let rope = Rope::new(side, head_dim, 1.0, &Device::Cpu).unwrap();
        let (cos, sin) = rope.tables().unwrap();
        let [cos, sin] = [cos, sin].map(|table| Tensor::new(&table[..tokens * head_dim / 2], &Device::Cpu).unwrap());
        let inputs = [tensor(&[height, width, 3 * channels], 1), tensor(&[3 * channels], 2)];
        for (dtype, tolerance) in TYPES {
            for padded in [false, true] {
                let what = format!("{height}×{width} {window:?} {heads}×{head_dim} padding {padded}");
                check(&what, (dtype, 2.0 * tolerance), &inputs, |x| {
                    super::map_attention(&x[0], padded.then_some(&x[1]), heads, &cos, &sin, window)
                });
            }
        }
    }
}
