//! Tensors rearranged, computed with value by value, taken to other types: kernels against the loops of main memory.

use std::slice::from_ref;

use half::{bf16, f16};

use crate::{DType, Device, Result, Tensor};

use super::Machine;
use crate::ops::testing::{tensor, values};

const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];
const TYPES: [DType; 5] = [DType::F32, DType::F16, DType::BF16, DType::U8, DType::I32];

/// Elements of any bits, those of NaN included.
fn any_bits(dtype: DType, shape: &[usize], seed: u64) -> Tensor {
    let len = shape.iter().product::<usize>() * dtype.size_in_bytes();
    let bytes: Vec<u8> = values(len, seed)
        .into_iter()
        .map(|x| ((x + 1.0) * 128.0) as u8)
        .collect();
    Tensor::from_bytes(&bytes, dtype, shape, &Device::Cpu).unwrap()
}

fn bytes(x: &Tensor) -> Vec<u8> {
    let (buffer, range) = x.buffer().unwrap();
    let size = x.dtype().size_in_bytes();
    buffer.bytes()[range.start * size..range.end * size].to_vec()
}

/// A kernel's result is that of main memory to the last bit, NaN's included.
fn check_bits(machine: Machine, what: &str, inputs: &[Tensor], compute: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let (found, expected) = (machine.run(inputs, &compute), compute(inputs).unwrap());
    let what = format!("{what} of {inputs:?}");
    assert_eq!(
        (found.dims(), found.dtype()),
        (expected.dims(), expected.dtype()),
        "{what}"
    );
    assert_eq!(bytes(&found), bytes(&expected), "{what}");
}

pub(super) fn tensors_rearranged_equal_their_twins(machine: Machine) {
    for dtype in TYPES {
        for shape in [
            &[1][..],
            &[257],
            &[3, 5],
            &[2, 3, 7],
            &[3, 130, 7],
            &[4, 1, 5, 3],
            &[2, 3, 1, 5, 2],
            &[2, 1, 3, 2, 3, 2],
            &[3, 0, 2],
        ] {
            let x = any_bits(dtype, shape, 1);
            parts(machine, &x);
            end_to_end(machine, &x);
            // A part, which begins behind the buffer's start.
            if shape[0] > 2 {
                parts(machine, &x.rows(1, shape[0] - 1).unwrap());
                end_to_end(machine, &x.rows(2, shape[0] - 2).unwrap());
            }
        }
        in_another_order(machine, dtype);
        repeated(machine, dtype);
    }
}

/// Parts of each axis, and zeros around it.
fn parts(machine: Machine, x: &Tensor) {
    for (axis, &extent) in x.dims().iter().enumerate() {
        for (start, end) in [
            (0, extent),
            (1, extent),
            (0, extent / 2),
            (extent / 2, extent.div_ceil(2) + 1),
            (extent, extent),
        ] {
            if start <= end && end <= extent {
                check_bits(machine, &format!("{start}..{end} of axis {axis}"), from_ref(x), |x| {
                    x[0].narrow(axis, start, end - start)
                });
            }
        }
        for (before, behind) in [(0, 0), (1, 0), (0, 3), (2, 1)] {
            let what = format!("{before} before and {behind} behind axis {axis}");
            check_bits(machine, &what, from_ref(x), |x| {
                x[0].pad_with_zeros(axis, before, behind)
            });
        }
    }
}

fn end_to_end(machine: Machine, x: &Tensor) {
    for axis in 0..x.dims().len() {
        let mut shape = x.dims().to_vec();
        let others = [2, 0, 5].map(|extent| {
            shape[axis] = extent;
            any_bits(x.dtype(), &shape, extent as u64)
        });
        let inputs = [&others[..1], from_ref(x), &others[1..]].concat();
        check_bits(machine, &format!("end to end along axis {axis}"), &inputs, |x| {
            Tensor::cat(x, axis)
        });
    }
    // Six axes are the most, and the new one is one more.
    for axis in (0..=x.dims().len()).filter(|_| x.dims().len() < 6) {
        let inputs = [x.clone(), any_bits(x.dtype(), x.dims(), 2), x.clone()];
        check_bits(machine, &format!("stacked along axis {axis}"), &inputs, |x| {
            Tensor::stack(x, axis)
        });
    }
    let last = x.dims()[0] - 1;
    check_bits(machine, "selected", from_ref(x), |x| {
        x[0].select(&[last, 0, last, last / 2])
    });
}

fn in_another_order(machine: Machine, dtype: DType) {
    fn check<const N: usize>(machine: Machine, x: Tensor, order: [usize; N]) {
        check_bits(machine, &format!("{order:?}"), &[x], |x| x[0].permute(order));
    }
    for shape in [[1, 1], [7, 31], [300, 3]] {
        check_bits(machine, "transposed", &[any_bits(dtype, &shape, 1)], |x| x[0].t());
        check_bits(
            machine,
            "transposed",
            &[any_bits(dtype, &shape, 1).rows(1, shape[0] - 1).unwrap()],
            |x| x[0].t(),
        );
    }
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        check(machine, any_bits(dtype, &[5, 13, 7], 2), order);
        check(machine, any_bits(dtype, &[6, 1, 7], 2).rows(3, 3).unwrap(), order);
    }
    check(machine, any_bits(dtype, &[5], 3), [0]);
    check(machine, any_bits(dtype, &[3, 5, 2, 7], 3), [0, 2, 1, 3]);
    check(machine, any_bits(dtype, &[3, 5, 2, 7], 3), [3, 1, 2, 0]);
    check(machine, any_bits(dtype, &[3, 2, 4, 5, 3], 4), [0, 2, 1, 3, 4]);
    check(machine, any_bits(dtype, &[3, 2, 4, 1, 3, 2], 5), [5, 0, 4, 2, 1, 3]);
    check(machine, any_bits(dtype, &[3, 0, 4], 6), [2, 1, 0]);
}

fn repeated(machine: Machine, dtype: DType) {
    for (from, to) in [
        (&[][..], &[1][..]),
        (&[], &[3, 5]),
        (&[1], &[257]),
        (&[5], &[3, 5]),
        (&[3, 1], &[3, 7]),
        (&[3, 1], &[2, 3, 4]),
        (&[1, 5, 1], &[6, 5, 9]),
        (&[2, 1, 3, 1, 2, 1], &[2, 4, 3, 5, 2, 3]),
        (&[4], &[3, 2, 1, 2, 3, 4]),
        (&[3, 5], &[3, 5]),
        (&[1, 3], &[0, 3]),
    ] {
        check_bits(machine, &format!("as {to:?}"), &[any_bits(dtype, from, 1)], |x| {
            x[0].broadcast_as(to)
        });
    }
    fn check<const N: usize>(machine: Machine, x: Tensor, times: [usize; N]) {
        check_bits(machine, &format!("{times:?} times"), &[x], |x| x[0].repeat(times));
    }
    check(machine, any_bits(dtype, &[3], 2), [100]);
    check(machine, any_bits(dtype, &[2, 3], 2), [2, 1]);
    check(machine, any_bits(dtype, &[2, 3], 2), [1, 5]);
    check(machine, any_bits(dtype, &[4, 3, 5], 2).rows(1, 3).unwrap(), [2, 3, 2]);
    check(machine, any_bits(dtype, &[2, 3], 2), [3, 0]);
}

pub(super) fn sums_and_products_equal_their_twins(machine: Machine) {
    for (a, b) in [
        (&[][..], &[][..]),
        (&[1], &[1]),
        (&[257], &[257]),
        (&[300], &[1]),
        (&[5], &[]),
        (&[3, 5], &[5]),
        (&[3, 5], &[3, 1]),
        (&[3, 1], &[1, 5]),
        (&[7, 31, 3], &[31, 1]),
        (&[2, 3, 4], &[2, 1, 4]),
        (&[1, 3, 1], &[2, 1, 4]),
        (&[2, 3, 2, 5], &[3, 1, 5]),
        (&[2, 1, 3, 1, 2, 1], &[1, 5, 1, 2, 1, 3]),
        (&[2, 3, 1, 2, 3, 2], &[2, 3, 1, 2, 3, 2]),
        (&[0, 3], &[1, 3]),
    ] {
        for (a, b) in [(a, b), (b, a)] {
            let inputs = [tensor(a, 1), tensor(b, 2)];
            let check = |what: &str, of: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
                machine.check_exact(&format!("{a:?} {what} {b:?}"), &inputs, of);
            };
            check("+", &|x| &x[0] + &x[1]);
            check("-", &|x| &x[0] - &x[1]);
            check("×", &|x| &x[0] * &x[1]);
            check("/", &|x| &x[0] / &x[1]);
        }
    }
    // Parts, which begin behind the buffers' starts.
    let inputs = [
        tensor(&[5, 7], 1).rows(2, 3).unwrap(),
        tensor(&[4, 7], 2).get(3).unwrap(),
    ];
    machine.check_exact("parts", &inputs, |x| &x[0] - &x[1]);
    machine.check_exact("parts", &inputs, |x| &x[1] - &x[0]);
}

pub(super) fn functions_equal_their_twins(machine: Machine) {
    for shape in [&[][..], &[1], &[7, 31], &[3, 130, 7], &[2, 0]] {
        let inputs = [(tensor(shape, 1) * 3.0).unwrap()];
        let exact = |what: &str, of: &dyn Fn(&Tensor) -> Result<Tensor>| {
            machine.check_exact(&format!("{what} of {shape:?}"), &inputs, |x| of(&x[0]));
        };
        exact("affine", &|x| x.affine(0.3, -0.7));
        exact("+", &|x| x + 0.1);
        exact("-", &|x| x - 0.1);
        exact("×", &|x| x * 0.1);
        exact("/", &|x| x / 0.1);
        exact("from", &|x| 0.1 - x);
        exact("clamp", &|x| x.clamp(-1.25, 0.5));
        exact("recip", &|x| x.recip());
        exact("abs", &|x| x.abs());
        exact("sign", &|x| x.sign());
        let close = |what: &str, of: &dyn Fn(&Tensor) -> Result<Tensor>| {
            let what = format!("{what} of {shape:?}");
            machine.check(&what, (DType::F32, 1e-6), &inputs, &[], |x| of(&x[0]));
        };
        close("exp", &|x| (x - 3.0)?.exp());
        close("log", &|x| (x.abs()? + 1e-2)?.log());
        close("sin", &|x| x.sin());
        close("cos", &|x| x.cos());
        close("sin of many turns", &|x| (x * 100.0)?.sin());
        close("cos of many turns", &|x| (x * 100.0)?.cos());
    }
    let x = [-0.0, 0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-40, -1e-40];
    let x = [Tensor::from_slice(&x, x.len(), &Device::Cpu).unwrap()];
    check_bits(machine, "sign", &x, |x| x[0].sign());
    check_bits(machine, "abs", &x, |x| x[0].abs());
    check_bits(machine, "recip", &x, |x| x[0].recip());
    check_bits(machine, "clamp", &x, |x| x[0].clamp(-1.0, 1.0));
}

pub(super) fn sums_of_rows_equal_their_twins(machine: Machine) {
    for (rows, columns) in [(1, 1), (7, 31), (3, 32), (33, 65), (5, 1000), (0, 4), (3, 0)] {
        // Whole numbers, whose sums are exact in any order.
        let x = tensor(&[rows + 1, columns], 1).map(|x| (x * 1000.0).round()).unwrap();
        let x = [x.rows(1, rows).unwrap()];
        machine.check_exact(&format!("{rows}×{columns}"), &x, |x| x[0].sum_rows());
    }
}

pub(super) fn types_become_others_as_their_twins_do(machine: Machine) {
    // Every number of both halves; what lies half way between two, and to both sides of that.
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    let numbers = |widen: &dyn Fn(u16) -> f32| -> Vec<f32> {
        let all = halves.iter().map(|bits| widen(*bits));
        all.filter(|x| !x.is_nan()).collect()
    };
    let f16s = numbers(&|bits| f16::from_bits(bits).to_f32());
    let bf16s = numbers(&|bits| bf16::from_bits(bits).to_f32());
    let mut f32s = values(1000, 1);
    for pair in [&f16s, &bf16s].into_iter().flat_map(|all| all.windows(2).step_by(7)) {
        let middle = (f64::from(pair[0]) + f64::from(pair[1])) / 2.0;
        f32s.extend([
            pair[0],
            (middle as f32).next_down(),
            middle as f32,
            (middle as f32).next_up(),
        ]);
    }
    f32s.extend([
        65519.99,
        65520.0,
        -65520.0,
        f32::MAX,
        f32::MIN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        1e-45,
        -0.0,
    ]);
    f32s.retain(|x| !x.is_nan());
    let of = |dtype: DType| match dtype {
        DType::F16 => row(f16s.iter().map(|x| f16::from_f32(*x)).collect()),
        DType::BF16 => row(bf16s.iter().map(|x| bf16::from_f32(*x)).collect()),
        _ => row(f32s.clone()),
    };
    for from in FLOATS {
        for to in FLOATS {
            let what = format!("{from:?} to {to:?}");
            check_bits(machine, &what, &[of(from)], |x| x[0].to_dtype(to));
            check_bits(machine, &what, &[of(from).rows(3, 300).unwrap()], |x| x[0].to_dtype(to));
        }
    }
}

fn row<T: crate::Element>(values: Vec<T>) -> Tensor {
    let len = values.len();
    Tensor::from_vec(values, len, &Device::Cpu).unwrap()
}
