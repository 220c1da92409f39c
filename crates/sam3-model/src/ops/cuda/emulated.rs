//! The kernels on the CPU against the twins, on awkward sizes.

use candle_core::{DType, Device, Tensor};

use super::emulation::emulated;
use crate::ops::{
    Activation, Rope,
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
    let [found, expected] = [found, expected].map(|x| x.to_dtype(DType::F32).unwrap());
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

/// Each input type with each output type, at the coarser's tolerance.
fn each_pair(mut run: impl FnMut((DType, f32), DType)) {
    for (from, from_tolerance) in TYPES {
        for (to, to_tolerance) in TYPES {
            run((from, from_tolerance.max(to_tolerance)), to);
        }
    }
}

#[test]
#[ignore = "needs a C++ compiler; .ci/run cuda runs it"]
fn layer_norm_equals_its_twin() {
    for (rows, width) in [
        (1, 1),
        (7, 31),
        (5, 36),
        (33, 64),
        (6, 132),
        (2, 1024),
        (3, 1028),
        (9, 1030),
    ] {
        let x = [(tensor(&[rows, width], 3) + 0.7).unwrap()];
        let (weight, bias) = (tensor(&[width], 1), tensor(&[width], 2));
        each_pair(|(dtype, tolerance), out| {
            check(
                &format!("{rows}×{width} as {out:?}"),
                (dtype, 5.0 * tolerance),
                &x,
                |x| super::layer_norm(&x[0], &weight, &bias, 1e-5, out),
            );
        });
    }
}

#[test]
#[ignore = "needs a C++ compiler; .ci/run cuda runs it"]
fn group_norm_equals_its_twin() {
    for (height, width, channels, groups) in [(1, 7, 8, 8), (11, 13, 24, 8), (3, 5, 256, 8), (9, 9, 6, 3)] {
        let x = [(tensor(&[height, width, channels], 3) + 0.7).unwrap()];
        let (weight, bias) = (tensor(&[channels], 1), tensor(&[channels], 2));
        each_pair(|(dtype, tolerance), out| {
            let what = format!("{height}×{width}×{channels} as {out:?}");
            check(&what, (dtype, 5.0 * tolerance), &x, |x| {
                super::group_norm_relu(&x[0], &weight, &bias, groups, 1e-5, out)
            });
        });
    }
}

#[test]
#[ignore = "needs a C++ compiler; .ci/run cuda runs it"]
fn finish_equals_its_twin() {
    for (rows, columns) in [(1, 1), (7, 31), (300, 12)] {
        let inputs = [1, 2].map(|seed| (tensor(&[rows, columns], seed) * 3.0).unwrap());
        let bias = tensor(&[columns], 3);
        for activation in [Activation::None, Activation::Gelu, Activation::Relu] {
            each_pair(|(dtype, tolerance), out| {
                let check = |what: &str, bias: Option<&Tensor>, residual: &dyn Fn(&Tensor) -> Option<Tensor>| {
                    let what = format!("{rows}×{columns} {activation:?} {what} as {out:?}");
                    check(&what, (dtype, 4.0 * tolerance), &inputs, |x| {
                        super::finish(&x[0], bias, activation, residual(&x[1]).as_ref(), out)
                    });
                };
                check("alone", None, &|_| None);
                check("bias", Some(&bias), &|_| None);
                check("bias and residual", Some(&bias), &|x| Some(x.to_dtype(out).unwrap()));
                check("f32 residual", None, &|x| Some(x.to_dtype(DType::F32).unwrap()));
            });
        }
    }
}

#[test]
#[ignore = "needs a C++ compiler; .ci/run cuda runs it"]
fn dequantize_equals_its_twin() {
    for (rows, columns) in [(1, 1), (7, 31), (3, 1032)] {
        let codes: Vec<u8> = (0..rows * columns).map(|i| (i * 37 % 256) as u8).collect();
        let codes = Tensor::from_vec(codes, (rows, columns), &Device::Cpu).unwrap();
        let scales = tensor(&[rows, 1], 1);
        for (out, _) in TYPES {
            let run = || {
                let values = super::dequantize(&codes, &scales, out).unwrap();
                values.to_dtype(DType::F32).unwrap()
            };
            assert_close(&emulated(run), &run(), 0.0, &format!("{rows}×{columns} as {out:?}"));
        }
    }
}

#[test]
#[ignore = "needs a C++ compiler; .ci/run cuda runs it"]
fn maps_rearranged_equal_their_twins() {
    for (height, width, channels) in [(1, 1, 1), (7, 5, 3), (3, 9, 6), (4, 5, 24), (2, 3, 64)] {
        let x = [tensor(&[height, width, channels], 1)];
        let squares = [tensor(&[height, width, 4 * channels], 2)];
        for (dtype, _) in TYPES {
            let what = format!("{height}×{width}×{channels}");
            check(&what, (dtype, 0.0), &x, |x| super::patches3x3(&x[0]));
            check(&what, (dtype, 0.0), &x, |x| {
                super::patches3x3_rows(&x[0], height / 2..height)
            });
            check(&what, (dtype, 0.0), &squares, |x| super::shuffle2x2(&x[0]));
        }
    }
}

#[test]
#[ignore = "needs a C++ compiler; .ci/run cuda runs it"]
fn pictures_equal_their_twins_bit_for_bit() {
    for (height, width, size) in [(1, 1, 3), (5, 7, 5), (40, 31, 9), (9, 64, 33), (3, 200, 14)] {
        let rgb: Vec<u8> = (0..height * width * 3).map(|i| (i * i * 31 % 251) as u8).collect();
        let rgb = Tensor::from_vec(rgb, (height, width, 3), &Device::Cpu).unwrap();
        let run = || super::resize_normalize(&rgb, size).unwrap();
        assert_close(&emulated(run), &run(), 0.0, &format!("{height}×{width} to {size}"));
    }
}

#[test]
#[ignore = "needs a C++ compiler; .ci/run cuda runs it"]
fn masks_equal_their_twins_bit_for_bit() {
    for (n, h, w, height, width) in [
        (1, 1, 1, 5, 70),
        (3, 7, 5, 31, 29),
        (2, 9, 12, 4, 3),
        (1, 16, 16, 16, 16),
    ] {
        let logits = tensor(&[n, h, w], 1);
        for threshold in [0.0, 0.3] {
            let run = || super::upsample_masks(&logits, height, width, threshold).unwrap();
            let (found, expected) = (emulated(run), run());
            let flat = |x: Tensor| x.flatten_all().unwrap().to_vec1::<u8>().unwrap();
            assert_eq!(
                flat(found),
                flat(expected),
                "{h}×{w} to {height}×{width} at {threshold}"
            );
        }
    }
}
