//! Sums, functions and types against what was written by hand.

use std::f64::consts::{LN_2, LN_10};

use super::*;
use crate::{
    Device,
    ops::testing::{assert_values as check, counted, words},
};

fn row(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, values.len(), &Device::Cpu).unwrap()
}

#[test]
fn tensors_of_one_shape_are_added_value_by_value() {
    let (a, b) = (row(&[1.0, 2.0, 3.0]), row(&[4.0, 8.0, -6.0]));
    check(&a + &b, &[3], &[5.0, 10.0, -3.0]);
    check(&a - b.clone(), &[3], &[-3.0, -6.0, 9.0]);
    check(a.clone() * &b, &[3], &[4.0, 16.0, -18.0]);
    check(a / b, &[3], &[0.25, 0.25, -0.5]);
}

#[test]
fn shapes_broadcast_in_both_directions() {
    let (map, columns, rows) = (counted(&[2, 3]), row(&[10.0, 20.0, 30.0]), row(&[100.0, 200.0]));
    let rows = rows.unsqueeze(1).unwrap();
    check(&map + &columns, &[2, 3], &[10.0, 21.0, 32.0, 13.0, 24.0, 35.0]);
    check(&columns - &map, &[2, 3], &[10.0, 19.0, 28.0, 7.0, 16.0, 25.0]);
    check(&map + &rows, &[2, 3], &[100.0, 101.0, 102.0, 203.0, 204.0, 205.0]);
    check(&rows - &map, &[2, 3], &[100.0, 99.0, 98.0, 197.0, 196.0, 195.0]);
    check(&rows + &columns, &[2, 3], &[110.0, 120.0, 130.0, 210.0, 220.0, 230.0]);
    check(&columns + &rows, &[2, 3], &[110.0, 120.0, 130.0, 210.0, 220.0, 230.0]);
    // Axes that one lacks, and an axis in the middle that one has once.
    let (a, b) = (counted(&[2, 1, 2]), (counted(&[3, 1]) * 10.0).unwrap());
    let expected = [0.0, 1.0, 10.0, 11.0, 20.0, 21.0, 2.0, 3.0, 12.0, 13.0, 22.0, 23.0];
    check(&a + &b, &[2, 3, 2], &expected);
    check(&b + &a, &[2, 3, 2], &expected);
    let (a, b) = (counted(&[2, 1, 2]), counted(&[1, 2, 1]));
    check(&a * &b, &[2, 2, 2], &[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 2.0, 3.0]);
    let number = row(&[7.0]).squeeze(0).unwrap();
    check(&number + &number, &[], &[14.0]);
    check(&number - &columns, &[3], &[-3.0, -13.0, -23.0]);
    let none = Tensor::zeros((0, 3), DType::F32, &Device::Cpu).unwrap();
    check(&none + &columns, &[0, 3], &[]);
    assert_eq!(
        words(&map + &row(&[1.0, 2.0])),
        "shapes [2, 3] and [2] do not broadcast"
    );
}

#[test]
fn numbers_are_added_and_multiplied_with() {
    let x = row(&[1.0, -2.0, 0.5]);
    check(&x + 1.5, &[3], &[2.5, -0.5, 2.0]);
    check(&x - 1.5, &[3], &[-0.5, -3.5, -1.0]);
    check(&x * 4.0, &[3], &[4.0, -8.0, 2.0]);
    check(&x / 4.0, &[3], &[0.25, -0.5, 0.125]);
    check(1.0 - &x, &[3], &[0.0, 3.0, 0.5]);
    check(x.affine(2.0, -1.0), &[3], &[1.0, -5.0, 0.0]);
    check(x + 1.0, &[3], &[2.0, -1.0, 1.5]);
    // One rounding, of the sum.
    let x = row(&[1.0 + f32::EPSILON]);
    check(
        x.affine(f64::from(1.0 - f32::EPSILON), -1.0),
        &[1],
        &[-f32::EPSILON * f32::EPSILON],
    );
}

#[test]
fn functions_are_those_of_each_value() {
    let x = row(&[-2.0, -0.0, 0.0, 0.5]);
    check(x.abs(), &[4], &[2.0, 0.0, 0.0, 0.5]);
    check(x.sign(), &[4], &[-1.0, 0.0, 0.0, 1.0]);
    check(x.recip(), &[4], &[-0.5, f32::NEG_INFINITY, f32::INFINITY, 2.0]);
    let near = |found: Result<Tensor>, expected: [f64; 4]| {
        for (found, expected) in found.unwrap().values::<f32>().unwrap().iter().zip(expected) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-6,
                "{found}, expected {expected}"
            );
        }
    };
    near(x.exp(), [0.135_335_283, 1.0, 1.0, 1.648_721_271]);
    near(x.sin(), [-0.909_297_427, 0.0, 0.0, 0.479_425_539]);
    near(x.cos(), [-0.416_146_837, 1.0, 1.0, 0.877_582_562]);
    near(row(&[0.25, 1.0, 2.0, 10.0]).log(), [-2.0 * LN_2, 0.0, LN_2, LN_10]);
    check(counted(&[2, 2]).map(|x| x + 1.0), &[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    assert_eq!(
        words(Tensor::zeros(2, DType::U8, &Device::Cpu).unwrap().exp()),
        "expected elements of F32, found U8"
    );
}

#[test]
fn numbers_are_clamped_and_what_is_none_stays_none() {
    let x = row(&[-3.0, -0.25, 0.5, 7.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
    let found = x.clamp(-1.0, 2.0).unwrap();
    let found = found.values::<f32>().unwrap();
    assert_eq!(found[..4], [-1.0, -0.25, 0.5, 2.0]);
    assert!(found[4..].iter().all(|x| x.is_nan()), "{found:?}");
    let found = x.sign().unwrap();
    let found = found.values::<f32>().unwrap();
    assert!(found[4].is_nan(), "{found:?}");
    assert_eq!(found[5..], [1.0, -1.0]);
}

#[test]
fn rows_are_summed() {
    check(counted(&[2, 3]).sum_rows(), &[2], &[3.0, 12.0]);
    check(counted(&[3, 2]).rows(1, 2).unwrap().sum_rows(), &[2], &[5.0, 9.0]);
    check(
        Tensor::zeros((2, 0), DType::F32, &Device::Cpu).unwrap().sum_rows(),
        &[2],
        &[0.0, 0.0],
    );
    assert_eq!(
        words(counted(&[2, 3, 1]).sum_rows()),
        "expected two axes, found a shape [2, 3, 1]"
    );
}

#[test]
fn halves_are_the_nearest_and_even_where_two_are() {
    // Steps of f16 near 1 are 2⁻¹⁰, its least number is 2⁻²⁴; 65520 lies half way between its largest and what would
    // be the next.
    let (step, least) = (2f32.powi(-10), 2f32.powi(-24));
    for (x, bits) in [
        (1.0, 0x3c00),
        (1.0 + 0.5 * step, 0x3c00),
        (1.0 + 0.5001 * step, 0x3c01),
        (1.0 + 1.5 * step, 0x3c02),
        (-1.0 - 2.5 * step, 0xbc02),
        (65519.0, 0x7bff),
        (65520.0, 0x7c00),
        (f32::NEG_INFINITY, 0xfc00),
        (0.5 * least, 0x0000),
        (0.5001 * least, 0x0001),
        (1.5 * least, 0x0002),
        (-0.0, 0x8000),
    ] {
        let found = row(&[x]).to_dtype(DType::F16).unwrap();
        assert_eq!(found.values::<f16>().unwrap()[0].to_bits(), bits, "{x}");
    }
    let step = 2f32.powi(-7);
    for (x, bits) in [
        (1.0, 0x3f80),
        (1.0 + 0.5 * step, 0x3f80),
        (1.0 + 0.5001 * step, 0x3f81),
        (1.0 + 1.5 * step, 0x3f82),
        (-1.0 - 2.5 * step, 0xbf82),
        (f32::MAX, 0x7f80),
        (f32::from_bits(0x0001_8000), 0x0002),
        (-0.0, 0x8000),
    ] {
        let found = row(&[x]).to_dtype(DType::BF16).unwrap();
        assert_eq!(found.values::<bf16>().unwrap()[0].to_bits(), bits, "{x}");
    }
}

#[test]
fn floats_take_any_float_type_and_nothing_else() {
    // Values that all three hold.
    let x = row(&[0.0, -1.5, 3.0, 0.25, -192.0]);
    for between in [DType::F16, DType::BF16, DType::F32] {
        for last in [DType::F16, DType::BF16, DType::F32] {
            let found = x.to_dtype(between).unwrap().to_dtype(last).unwrap();
            assert_eq!((found.dims(), found.dtype()), (x.dims(), last));
            check(found.to_dtype(DType::F32), x.dims(), x.values().unwrap());
        }
        let nan = row(&[f32::NAN])
            .to_dtype(between)
            .unwrap()
            .to_dtype(DType::F32)
            .unwrap();
        assert!(nan.values::<f32>().unwrap()[0].is_nan(), "{between:?}");
    }
    let part = counted(&[4, 2]).to_dtype(DType::F16).unwrap().rows(2, 1).unwrap();
    check(part.to_dtype(DType::F32), &[1, 2], &[4.0, 5.0]);
    assert_eq!(x.to_dtype(DType::F32).unwrap().address(), x.address());
    let expected = "kernels compute f32, f16 and bf16, not U8";
    assert_eq!(words(x.to_dtype(DType::U8)), expected);
    assert_eq!(
        words(Tensor::zeros(2, DType::U8, &Device::Cpu).unwrap().to_dtype(DType::F32)),
        expected
    );
}
