//! What is no number goes into every op, and none makes a number of it: at every level of this CPU, and where
//! accelerators run.

use std::sync::Arc;

use crate::{DType, Device, Tensor};

use super::{
    Activation, Bias, Compute, Conv3x3, ConvTranspose2x2, GroupNorm, LayerNorm, Linear, MapAttention, Rope, attention,
    dots,
    host::as_accelerator,
    simd::at_every_level,
    testing::{NO_NUMBERS, assert_no_number, tensor, with_value},
};
use crate::weight::Weight;

/// Runs `test` with each value that is no number: in main memory, then in the part of an accelerator's.
fn everywhere(test: impl Fn(f32, &[Compute]) + Sync) {
    at_every_level(|| {
        for bad in NO_NUMBERS {
            test(bad, &[Compute::F32, Compute::Bf16, Compute::Int8]);
        }
    });
    as_accelerator(|| {
        for bad in NO_NUMBERS {
            test(bad, &[Compute::F32, Compute::Bf16, Compute::F16]);
        }
    });
}

fn finite(x: &Tensor) -> usize {
    let values: Vec<f32> = x.flatten_all().to_vec().unwrap();
    values.iter().filter(|x| x.is_finite()).count()
}

#[test]
fn linear() {
    const WIDTHS: (usize, usize) = (40, 33);
    everywhere(|bad, computes| {
        // Few rows, and many.
        for (rows, &compute) in [7, 70]
            .into_iter()
            .flat_map(|rows| computes.iter().map(move |c| (rows, c)))
        {
            for activation in [Activation::None, Activation::Gelu, Activation::Relu] {
                if activation == Activation::Relu && !bad.is_nan() {
                    // The ReLU of −∞ is 0, as it is of any number as low.
                    continue;
                }
                let what = format!("{bad} in {rows} rows, {compute:?} {activation:?}");
                let layer = |weight: &Tensor| {
                    let weight = Weight::from_tensor(weight).unwrap();
                    Linear::new(weight, Some(tensor(&[WIDTHS.1], 2))).with_compute(compute)
                };
                let (good_x, good_w) = (tensor(&[rows, WIDTHS.0], 3), tensor(&[WIDTHS.1, WIDTHS.0], 1));
                let x = with_value(&[rows, WIDTHS.0], 3, 5 * WIDTHS.0 + 7, bad);
                let found = layer(&good_w).forward_then(&x, activation).unwrap();
                assert_no_number(&found.get(5).unwrap(), &what);
                assert_eq!(finite(&found), (rows - 1) * WIDTHS.1, "{what}");
                let w = with_value(&[WIDTHS.1, WIDTHS.0], 1, 32 * WIDTHS.0 + 7, bad);
                let found = layer(&w).forward_then(&good_x, activation).unwrap();
                assert_no_number(&found.narrow(1, 32, 1).unwrap(), &format!("{what}: weight"));
            }
        }
    });
}

#[test]
fn norms() {
    everywhere(|bad, _| {
        let norm = LayerNorm::new(tensor(&[33], 1), tensor(&[33], 2), 1e-5);
        let found = norm.forward(&with_value(&[5, 33], 3, 2 * 33 + 9, bad)).unwrap();
        assert_no_number(&found.get(2).unwrap(), &format!("{bad} in LayerNorm"));
        assert_eq!(finite(&found), 4 * 33);
        // Channel 5 of 16 is in the third of 8 groups.
        let norm = GroupNorm::new(tensor(&[16], 1), tensor(&[16], 2));
        let found = norm.forward_relu(with_value(&[4, 5, 16], 3, 7 * 16 + 5, bad)).unwrap();
        assert_no_number(&found.narrow(2, 4, 2).unwrap(), &format!("{bad} in GroupNorm"));
        assert_eq!(finite(&found), 4 * 5 * 14);
    });
}

#[test]
fn norms_of_values_whose_squares_are_beyond_f32() {
    at_every_level(|| {
        let norm = LayerNorm::new(tensor(&[64], 1), tensor(&[64], 2), 1e-5);
        let found = norm.forward(&(tensor(&[3, 64], 3) * 1e30).unwrap()).unwrap();
        assert_no_number(&found, "LayerNorm");
        let norm = GroupNorm::new(tensor(&[16], 1), tensor(&[16], 2));
        let found = norm.forward_relu((tensor(&[4, 5, 16], 3) * 1e30).unwrap()).unwrap();
        assert_no_number(&found, "GroupNorm");
    });
}

#[test]
fn attention_of_one_sequence_to_another() {
    for extents in [[70, 300], [9, 300], [70, 9]] {
        attention_of_extents(extents);
    }
}

fn attention_of_extents([queries, keys]: [usize; 2]) {
    let (last_query, last_key) = (queries - 1, keys - 1);
    everywhere(|bad, computes| {
        for &compute in computes {
            let what = format!("{bad} {compute:?}, {queries} × {keys}");
            let run = |q: &Tensor, k: &Tensor, v: &Tensor, bias: Option<&Tensor>| {
                attention(compute, q, k, v, 2, bias.map(Bias::Scores)).unwrap()
            };
            let good = |rows, seed| tensor(&[1, rows, 16], seed);
            let (q, k, v) = (good(queries, 1), good(keys, 2), good(keys, 3));
            let bias = Tensor::zeros((1, 1, keys), DType::F32, &Device::Cpu).unwrap();
            for bias in [None, Some(&bias)] {
                // Channel 5 is in the first head of two.
                let spoiled = with_value(&[1, queries, 16], 1, last_query * 16 + 5, bad);
                let found = run(&spoiled, &k, &v, bias);
                let row = found.narrow(1, last_query, 1).unwrap().narrow(2, 0, 8).unwrap();
                assert_no_number(&row, &format!("{what} in a query"));
                let found = run(&q, &k, &with_value(&[1, keys, 16], 3, last_key * 16 + 5, bad), bias);
                assert_no_number(&found.narrow(2, 5, 1).unwrap(), &format!("{what} in a value"));
                let found = run(
                    &q,
                    &with_value(&[1, keys, 16], 2, last_key * 16 + 5, f32::NAN),
                    &v,
                    bias,
                );
                assert_no_number(&found.narrow(2, 0, 8).unwrap(), &format!("{what} in a key"));
            }
            // Every score of the query is −∞.
            let hidden = with_value(&[1, queries, 16], 1, last_query * 16 + 5, f32::NEG_INFINITY);
            let ones = Tensor::from_vec(vec![1f32; keys * 16], (1, keys, 16), &Device::Cpu).unwrap();
            let row = run(&hidden, &ones, &v, None).narrow(1, last_query, 1).unwrap();
            assert_no_number(&row.narrow(2, 0, 8).unwrap(), &format!("{what}: every key hidden"));
        }
    });
}

#[test]
fn attention_over_a_map() {
    everywhere(|bad, computes| {
        for (&compute, window) in computes.iter().flat_map(|c| [(c, None), (c, Some(3))]) {
            let rope = Rope::new(window.unwrap_or(7), 8, 1.0, &Device::Cpu).unwrap();
            let op = MapAttention::new(2, Arc::new(rope), window, compute);
            // A query's first channel, at (6, 6): in a window that is padded.
            let qkv = with_value(&[7, 7, 48], 1, 48 * 48, bad);
            let found = op.forward(&qkv, None).unwrap();
            let row = found.narrow(0, 6, 1).unwrap().narrow(1, 6, 1).unwrap();
            let what = format!("{bad} {compute:?} {window:?}");
            assert_no_number(&row.narrow(2, 0, 8).unwrap(), &what);
        }
    });
}

#[test]
fn convolutions() {
    everywhere(|bad, computes| {
        for &compute in computes {
            let what = format!("{bad} {compute:?}");
            let kernel = tensor(&[17, 9 * 5], 1);
            let conv = Conv3x3::new(&kernel, tensor(&[17], 2), compute.float()).unwrap();
            let x = with_value(&[6, 7, 5], 3, (2 * 7 + 3) * 5 + 1, bad);
            let around = |x: &Tensor| x.narrow(0, 1, 3).unwrap().narrow(1, 2, 3).unwrap();
            assert_no_number(&around(&conv.forward(&x).unwrap()), &format!("{what}: 3×3"));
            let coarse = tensor(&[3, 4, 5], 4);
            let found = conv.forward_sum(&coarse, &x).unwrap();
            assert_no_number(&around(&found), &format!("{what}: 3×3 of a sum"));
            let kernel = tensor(&[4 * 17, 5], 1);
            let conv = ConvTranspose2x2::new(&kernel, tensor(&[17], 2), compute.float()).unwrap();
            let found = conv.forward(&x, Activation::Gelu).unwrap();
            let square = found.narrow(0, 4, 2).unwrap().narrow(1, 6, 2).unwrap();
            assert_no_number(&square, &format!("{what}: 2×2 transposed"));
        }
    });
}

#[test]
fn dot_products() {
    everywhere(|bad, _| {
        let (b, shift) = (tensor(&[50, 16], 2), tensor(&[9], 3));
        let found = dots(&with_value(&[9, 16], 1, 3 * 16, bad), &b, &shift).unwrap();
        assert_no_number(&found.get(3).unwrap(), &format!("{bad}"));
        let found = dots(&tensor(&[9, 16], 1), &with_value(&[50, 16], 2, 49 * 16, bad), &shift).unwrap();
        assert_no_number(&found.narrow(1, 49, 1).unwrap(), &format!("{bad}"));
    });
}
