//! What is no number goes into every kernel, and none makes a number of it.

use crate::{DType, Device, Result, Tensor};

use super::{Machine, TYPES, each_pair};
use crate::ops::{
    Activation, Rope, cuda,
    testing::{NO_NUMBERS, assert_no_number, tensor, with_value},
};

pub(super) fn what_is_no_number_stays_none(machine: Machine) {
    for bad in NO_NUMBERS {
        norms(machine, bad);
        finish(machine, bad);
        attention(machine, bad);
        map_attention(machine, bad);
        products_and_sums(machine, bad);
        value_by_value(machine, bad);
    }
    box_bias(machine);
    squares_beyond_f32(machine);
}

/// What a kernel and its twin make of `inputs`, where `part` of it can be no number.
fn check(
    machine: Machine,
    what: &str,
    inputs: &[Tensor],
    compute: impl Fn(&[Tensor]) -> Result<Tensor>,
    part: impl Fn(&Tensor) -> Result<Tensor>,
) {
    assert_no_number(&part(&machine.run(inputs, &compute)).unwrap(), what);
    assert_no_number(&part(&compute(inputs).unwrap()).unwrap(), &format!("{what}: the twin"));
}

fn norms(machine: Machine, bad: f32) {
    each_pair(|(dtype, _), out| {
        let what = |kind: &str, width| format!("{bad} in {kind} of {width}, {dtype:?} as {out:?}");
        for width in [31, 64, 1028] {
            let x = with_value(&[5, width], 3, 2 * width + 9, bad).to_dtype(dtype).unwrap();
            let inputs = [x, tensor(&[width], 1), tensor(&[width], 2)];
            let norm = |x: &[Tensor]| cuda::layer_norm(&x[0], &x[1], &x[2], 1e-5, out);
            check(machine, &what("LayerNorm", width), &inputs, norm, |y| y.get(2));
        }
        // Eight groups; the place is in the second.
        for channels in [24, 48] {
            let size = channels / 8;
            let x = with_value(&[5, 13, channels], 3, 7 * channels + size, bad);
            let inputs = [
                x.to_dtype(dtype).unwrap(),
                tensor(&[channels], 1),
                tensor(&[channels], 2),
            ];
            let norm = |x: &[Tensor]| cuda::group_norm_relu(&x[0], &x[1], &x[2], 8, 1e-5, out);
            check(machine, &what("GroupNorm", channels), &inputs, norm, |y| {
                y.narrow(2, size, size)
            });
        }
    });
}

fn squares_beyond_f32(machine: Machine) {
    for width in [31, 64] {
        let inputs = [
            (tensor(&[5, width], 3) * 1e30).unwrap(),
            tensor(&[width], 1),
            tensor(&[width], 2),
        ];
        let norm = |x: &[Tensor]| cuda::layer_norm(&x[0], &x[1], &x[2], 1e-5, DType::F32);
        check(machine, &format!("LayerNorm of {width}"), &inputs, norm, |y| {
            Ok(y.clone())
        });
    }
    let inputs = [
        (tensor(&[5, 13, 24], 3) * 1e30).unwrap(),
        tensor(&[24], 1),
        tensor(&[24], 2),
    ];
    let norm = |x: &[Tensor]| cuda::group_norm_relu(&x[0], &x[1], &x[2], 8, 1e-5, DType::F32);
    check(machine, "GroupNorm", &inputs, norm, |y| Ok(y.clone()));
}

fn finish(machine: Machine, bad: f32) {
    for activation in [Activation::None, Activation::Gelu, Activation::Relu] {
        if activation == Activation::Relu && !bad.is_nan() {
            // The ReLU of −∞ is 0, as it is of any number as low.
            continue;
        }
        each_pair(|(dtype, _), out| {
            for columns in [31, 24] {
                let y = with_value(&[7, columns], 1, 3 * columns + 8, bad)
                    .to_dtype(dtype)
                    .unwrap();
                let inputs = [y, tensor(&[columns], 2), tensor(&[7, columns], 3)];
                let finish = |x: &[Tensor]| cuda::finish(&x[0], Some(&x[1]), activation, Some(&x[2]), out);
                let what = format!("{bad} in {columns} columns, {activation:?}, {dtype:?} as {out:?}");
                check(machine, &what, &inputs, finish, |y| y.get(3)?.get(8));
            }
        });
    }
}

fn attention(machine: Machine, bad: f32) {
    // Tensor cores where head_dim is a multiple of 8, with and without a bias; few queries with many keys, by several
    // blocks.
    for (queries, keys, head_dim) in [(20, 70, 10), (20, 70, 32), (20, 70, 64), (5, 300, 10)] {
        let zero = Tensor::zeros((1, 1, keys), DType::F32, &Device::Cpu).unwrap();
        for (dtype, _) in TYPES {
            let all = |q: Tensor, k: Tensor, v: Tensor| [q, k, v].map(|x| x.to_dtype(dtype).unwrap());
            let [q, k, v] = [(queries, 1), (keys, 2), (keys, 3)].map(|(n, seed)| tensor(&[1, n, head_dim], seed));
            let in_query = with_value(&[1, queries, head_dim], 1, 4 * head_dim + 5, bad);
            let in_value = with_value(&[1, keys, head_dim], 3, (keys - 1) * head_dim + 5, bad);
            for biased in [false, true] {
                let attend = |x: &[Tensor]| cuda::attention(&x[0], &x[1], &x[2], 1, biased.then_some(&x[3]));
                let what = format!("{queries}×{keys}×{head_dim} {dtype:?} biased {biased}: {bad}");
                let inputs = [&all(in_query.clone(), k.clone(), v.clone()), &[zero.clone()][..]].concat();
                check(machine, &format!("{what} in a query"), &inputs, attend, |y| {
                    y.narrow(1, 4, 1)
                });
                let inputs = [&all(q.clone(), k.clone(), in_value.clone()), &[zero.clone()][..]].concat();
                check(machine, &format!("{what} in a value"), &inputs, attend, |y| {
                    y.narrow(2, 5, 1)
                });
            }
        }
    }
}

fn map_attention(machine: Machine, bad: f32) {
    for (window, head_dim) in [(Some(3), 8), (None, 12)] {
        let tokens: usize = window.map_or(35, |window| window * window);
        let rope = Rope::new(6, head_dim, 1.0, &Device::Cpu).unwrap();
        let (cos, sin) = rope.tables().unwrap();
        let turns = tokens * head_dim / 2;
        let [cos, sin] = [cos, sin].map(|table| Tensor::from_slice(&table[..turns], turns, &Device::Cpu).unwrap());
        for (dtype, _) in TYPES {
            // The last pixel's query.
            let qkv = with_value(&[7, 5, 3 * head_dim], 1, 34 * 3 * head_dim, bad);
            let inputs = [qkv.to_dtype(dtype).unwrap(), cos.clone(), sin.clone()];
            let attend = |x: &[Tensor]| cuda::map_attention(&x[0], None, 1, &x[1], &x[2], window);
            let what = format!("{bad} {dtype:?} {window:?}");
            check(machine, &what, &inputs, attend, |y| y.get(6)?.get(4));
        }
    }
}

fn products_and_sums(machine: Machine, bad: f32) {
    for (dtype, _) in TYPES {
        let x = with_value(&[33, 24], 1, 5 * 24 + 3, bad).to_dtype(dtype).unwrap();
        let inputs = [x, tensor(&[64, 24], 2).to_dtype(dtype).unwrap()];
        let product = |x: &[Tensor]| cuda::product_add(&x[0], &x[1], None, None);
        check(machine, &format!("{bad} {dtype:?} product"), &inputs, product, |y| {
            y.get(5)
        });
        let inputs = [tensor(&[3, 5, 4], 1), with_value(&[6, 10, 4], 2, 45, bad)];
        let sum = |x: &[Tensor]| cuda::upsample_add_rows(&x[0], &x[1], 0..6, dtype);
        check(machine, &format!("{bad} {dtype:?} sum"), &inputs, sum, |y| {
            y.flatten_all().get(45)
        });
        let codes = Tensor::from_vec((0..93u8).collect(), (3, 31), &Device::Cpu).unwrap();
        let inputs = [codes, with_value(&[3, 1], 1, 2, bad)];
        let dequantize = |x: &[Tensor]| cuda::dequantize(&x[0], &x[1], dtype);
        check(machine, &format!("{bad} {dtype:?} codes"), &inputs, dequantize, |y| {
            y.get(2)
        });
    }
}

fn value_by_value(machine: Machine, bad: f32) {
    let at_place = |y: &Tensor| y.flatten_all().get(38);
    let inputs = [with_value(&[7, 31], 1, 38, bad), tensor(&[7, 1], 2)];
    let check = |what: &str, of: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
        check(machine, &format!("{bad}: {what}"), &inputs, of, at_place);
    };
    check("clamp", &|x| x[0].clamp(-0.5, 0.5));
    check("affine", &|x| x[0].affine(0.5, 2.0));
    check("abs", &|x| x[0].abs());
    check("log", &|x| x[0].log());
    check("sin", &|x| x[0].sin());
    check("cos", &|x| x[0].cos());
    check("+", &|x| &x[0] + &x[1]);
    check("-", &|x| &x[1] - &x[0]);
    check("×", &|x| &x[0] * &x[1]);
    check("/", &|x| &x[0] / &x[1]);
    if bad.is_nan() {
        // Of an infinity they are numbers.
        check("sign", &|x| x[0].sign());
        check("exp", &|x| x[0].exp());
        check("recip", &|x| x[0].recip());
        check("divided by", &|x| &x[1] / &x[0]);
    }
    self::check(
        machine,
        &format!("{bad} in a row"),
        &inputs,
        |x| x[0].sum_rows(),
        |y| y.get(1),
    );
    for (from, _) in TYPES {
        for (to, _) in TYPES {
            let inputs = [inputs[0].to_dtype(from).unwrap()];
            let what = format!("{bad} {from:?} to {to:?}");
            self::check(machine, &what, &inputs, |x| x[0].to_dtype(to), at_place);
        }
    }
}

fn box_bias(machine: Machine) {
    let (queries, side, hidden, heads) = (7, 5, 31, 3);
    let mut inputs = vec![with_value(&[queries, 4], 1, 2 * 4, f32::NAN)];
    for seed in [2, 6] {
        inputs.push(tensor(&[hidden, 2], seed));
        inputs.push(tensor(&[hidden], seed + 1));
        inputs.push(tensor(&[heads, hidden], seed + 2));
        inputs.push(tensor(&[heads], seed + 3));
    }
    let bias = |x: &[Tensor]| {
        let network = |from: usize| std::array::from_fn(|i| x[from + i].clone());
        cuda::box_bias(&x[0], side, &[network(1), network(5)])
    };
    // The presence token is query 0.
    check(machine, "a box", &inputs, bias, |y| y.narrow(1, 3, 1));
}
