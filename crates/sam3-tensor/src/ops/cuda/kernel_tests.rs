//! The kernels against the twins, on awkward sizes: emulated on the CPU, and on a GPU where there is one.

mod finite;
mod tensors;

use crate::{DType, Device, Result, Tensor};
use finite::what_is_no_number_stays_none;
use tensors::{
    functions_equal_their_twins, sums_and_products_equal_their_twins, sums_of_rows_equal_their_twins,
    tensors_rearranged_equal_their_twins, types_become_others_as_their_twins_do,
};

use crate::launch::emulated;
use crate::ops::{
    Activation, Rope,
    testing::{assert_close, assert_no_number, tensor},
};

const TYPES: [(DType, f32); 3] = [(DType::F32, 2e-6), (DType::F16, 2e-3), (DType::BF16, 1.6e-2)];

/// What runs the kernels.
#[derive(Clone, Copy)]
enum Machine {
    Emulated,
    #[cfg(feature = "cuda")]
    Gpu,
}

/// The first GPU, opened once: each opened one has a stream of its own.
#[cfg(feature = "cuda")]
fn gpu() -> &'static Device {
    static GPU: std::sync::OnceLock<Device> = std::sync::OnceLock::new();
    GPU.get_or_init(|| crate::open_gpu(0).unwrap())
}

impl Machine {
    /// What `compute` makes of these tensors with kernels, in main memory.
    fn run(self, inputs: &[Tensor], compute: impl Fn(&[Tensor]) -> Result<Tensor>) -> Tensor {
        let result = match self {
            Self::Emulated => emulated(|| compute(inputs)),
            #[cfg(feature = "cuda")]
            Self::Gpu => {
                let inputs: Vec<Tensor> = inputs.iter().map(|x| x.to_device(gpu()).unwrap()).collect();
                compute(&inputs).and_then(|x| x.to_device(&Device::Cpu))
            }
        };
        result.unwrap()
    }

    /// A kernel's result against its twin's, from `inputs` as `dtype` and then `exact` as they are; the twin's is f32
    /// from the same rounded inputs.
    fn check(
        self,
        what: &str,
        (dtype, tolerance): (DType, f32),
        inputs: &[Tensor],
        exact: &[Tensor],
        compute: impl Fn(&[Tensor]) -> Result<Tensor>,
    ) {
        let inputs: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(dtype).unwrap()).collect();
        let found = self.run(&[&inputs, exact].concat(), &compute);
        let inputs: Vec<Tensor> = inputs.iter().map(|x| x.to_dtype(DType::F32).unwrap()).collect();
        let expected = compute(&[&inputs, exact].concat()).unwrap();
        let [found, expected] = [found, expected].map(|x| x.to_dtype(DType::F32).unwrap());
        assert_close(&found, &expected, tolerance, &format!("{what} {dtype:?}"));
    }

    /// A kernel's result is its twin's to the last bit.
    fn check_exact(self, what: &str, inputs: &[Tensor], compute: impl Fn(&[Tensor]) -> Result<Tensor>) {
        assert_close(&self.run(inputs, &compute), &compute(inputs).unwrap(), 0.0, what);
    }
}

macro_rules! on_every_machine {
    ($($test:ident)*) => {
        mod on_the_cpu {
            $(#[test]
            #[ignore = "needs a C++ compiler; .ci/run cuda runs it"]
            fn $test() {
                super::$test(super::Machine::Emulated);
            })*
        }

        #[cfg(feature = "cuda")]
        mod on_a_gpu {
            $(#[test]
            #[ignore = "needs a CUDA device"]
            fn $test() {
                super::$test(super::Machine::Gpu);
            })*
        }
    };
}

on_every_machine! {
    attention_equals_its_twin
    attention_of_many_queries_equals_its_twin
    a_query_that_sees_nothing_gives_no_number
    map_attention_equals_its_twin
    layer_norm_equals_its_twin
    group_norm_equals_its_twin
    finish_equals_its_twin
    rows_shifted_equal_their_twin
    maps_upsampled_equal_their_twins
    box_bias_equals_its_twin
    product_add_equals_its_twin
    dequantize_equals_its_twin
    maps_rearranged_equal_their_twins
    pictures_equal_their_twins
    masks_equal_their_twins
    softmax_equals_its_twin
    depthwise_equals_its_twin
    what_is_no_number_stays_none
    tensors_rearranged_equal_their_twins
    sums_and_products_equal_their_twins
    functions_equal_their_twins
    sums_of_rows_equal_their_twins
    types_become_others_as_their_twins_do
}

fn attention_equals_its_twin(machine: Machine) {
    for (batch, queries, keys, heads, head_dim) in [
        (1, 1, 1, 1, 8),
        (2, 7, 31, 3, 24),
        (1, 65, 64, 2, 32),
        (1, 33, 130, 1, 64),
        (3, 129, 63, 1, 40),
        (1, 5, 9, 2, 10),
        (1, 17, 65, 1, 33),
        // Few queries and many keys: several blocks share them, the first of which sees nothing where some are hidden.
        (2, 5, 300, 2, 10),
        (1, 67, 401, 2, 64),
    ] {
        let sizes = (batch, queries, keys, heads, head_dim);
        let hidden = |i: usize| {
            if i + 1 < keys && (i % 3 == 1 || i < 130) {
                f32::NEG_INFINITY
            } else {
                0.5
            }
        };
        let padding = Tensor::from_vec((0..keys).map(hidden).collect(), (1, 1, keys), &Device::Cpu).unwrap();
        let biases = [
            &[][..],
            &[tensor(&[heads, queries, keys], 4)],
            &[tensor(&[1, queries, keys], 5)],
            &[tensor(&[heads, queries, 1], 6)],
            &[padding],
        ];
        let width = heads * head_dim;
        let inputs =
            [(queries, 1), (keys, 2), (keys, 3)].map(|(n, seed)| (tensor(&[batch, n, width], seed) * 3.0).unwrap());
        for (kind, bias) in biases.iter().enumerate() {
            for (dtype, tolerance) in TYPES {
                let what = format!("{sizes:?} bias {kind}");
                machine.check(&what, (dtype, 3.0 * tolerance), &inputs, bias, |x| {
                    super::attention(&x[0], &x[1], &x[2], heads, x.get(3))
                });
            }
        }
    }
}

fn attention_of_many_queries_equals_its_twin(machine: Machine) {
    // Enough blocks that each takes 128 queries.
    for (queries, keys, heads, head_dim) in [(130, 70, 128, 64), (97, 129, 256, 32)] {
        let width = heads * head_dim;
        let inputs = [(queries, 1), (keys, 2), (keys, 3)].map(|(n, seed)| tensor(&[1, n, width], seed));
        let bias = [tensor(&[1, queries, keys], 4)];
        machine.check(&format!("{queries}×{keys}"), TYPES[1], &inputs, &bias, |x| {
            super::attention(&x[0], &x[1], &x[2], heads, Some(&x[3]))
        });
    }
}

fn a_query_that_sees_nothing_gives_no_number(machine: Machine) {
    // The second by several blocks, none of which sees anything.
    for keys in [3, 300] {
        let bias = Tensor::from_vec(vec![f32::NEG_INFINITY; keys], (1, 1, keys), &Device::Cpu).unwrap();
        for (dtype, _) in TYPES {
            let inputs =
                [(3, 1), (keys, 2), (keys, 3)].map(|(n, seed)| tensor(&[1, n, 8], seed).to_dtype(dtype).unwrap());
            let inputs = [&inputs, &[bias.clone()][..]].concat();
            let attention = |x: &[Tensor]| super::attention(&x[0], &x[1], &x[2], 1, Some(&x[3]));
            let what = format!("{keys} keys, {dtype:?}");
            assert_no_number(&machine.run(&inputs, attention), &what);
            assert_no_number(&attention(&inputs).unwrap(), &format!("{what}: the twin"));
        }
    }
}

fn map_attention_equals_its_twin(machine: Machine) {
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
        let turns = tokens * head_dim / 2;
        let [cos, sin] = [cos, sin].map(|table| Tensor::from_slice(&table[..turns], turns, &Device::Cpu).unwrap());
        let inputs = [tensor(&[height, width, 3 * channels], 1), tensor(&[3 * channels], 2)];
        let rest = [cos, sin, tensor(&[3 * channels], 3)];
        for (dtype, tolerance) in TYPES {
            for padded in [false, true] {
                let what = format!("{height}×{width} {window:?} {heads}×{head_dim} padding {padded}");
                machine.check(&what, (dtype, 2.0 * tolerance), &inputs, &rest, |x| {
                    super::map_attention(&x[0], padded.then_some(&x[1]), heads, &x[2], &x[3], window)
                });
            }
            let what = format!("{height}×{width} {window:?} {heads}×{head_dim} bias");
            machine.check(&what, (dtype, 3.0 * tolerance), &inputs, &rest, |x| {
                super::map_attention_biased(&x[0], &x[4], heads, &x[2], &x[3], window)
            });
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

fn layer_norm_equals_its_twin(machine: Machine) {
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
        let affine = [tensor(&[width], 1), tensor(&[width], 2)];
        each_pair(|(dtype, tolerance), out| {
            let what = format!("{rows}×{width} as {out:?}");
            machine.check(&what, (dtype, 5.0 * tolerance), &x, &affine, |x| {
                super::layer_norm(&x[0], &x[1], &x[2], 1e-5, out)
            });
        });
    }
}

fn group_norm_equals_its_twin(machine: Machine) {
    for (height, width, channels, groups) in [(1, 7, 8, 8), (11, 13, 24, 8), (3, 5, 256, 8), (9, 9, 6, 3)] {
        let x = [(tensor(&[height, width, channels], 3) + 0.7).unwrap()];
        let affine = [tensor(&[channels], 1), tensor(&[channels], 2)];
        each_pair(|(dtype, tolerance), out| {
            let what = format!("{height}×{width}×{channels} as {out:?}");
            machine.check(&what, (dtype, 5.0 * tolerance), &x, &affine, |x| {
                super::group_norm_relu(&x[0], &x[1], &x[2], groups, 1e-5, out)
            });
            let what = format!("{what}, in its place");
            machine.check(&what, (dtype, 5.0 * tolerance), &x, &affine, |x| {
                // A copy that nobody else has.
                let own = super::group_norm_relu(&x[0], &x[1], &x[2], groups, 1e-5, DType::F32)?;
                super::group_norm_relu_in_place(own, &x[1], &x[2], groups, 1e-5)?.to_dtype(out)
            });
        });
    }
}

fn finish_equals_its_twin(machine: Machine) {
    for (rows, columns) in [(1, 1), (7, 31), (300, 12), (33, 24)] {
        let inputs = [1, 2].map(|seed| (tensor(&[rows, columns], seed) * 3.0).unwrap());
        let bias = [tensor(&[columns], 3)];
        for activation in [Activation::None, Activation::Gelu, Activation::Relu] {
            each_pair(|(dtype, tolerance), out| {
                for (has_bias, residual) in [
                    (false, None),
                    (true, None),
                    (true, Some(out)),
                    (false, Some(DType::F32)),
                ] {
                    let what = format!("{rows}×{columns} {activation:?} {has_bias} {residual:?} as {out:?}");
                    machine.check(&what, (dtype, 4.0 * tolerance), &inputs, &bias, |x| {
                        let residual = residual.map(|dtype| x[1].to_dtype(dtype)).transpose()?;
                        super::finish(&x[0], has_bias.then_some(&x[2]), activation, residual.as_ref(), out)
                    });
                }
            });
        }
    }
}

fn rows_shifted_equal_their_twin(machine: Machine) {
    for (rows, columns) in [(1, 1), (7, 31), (9, 64)] {
        let inputs = [tensor(&[rows, columns], 1), tensor(&[rows], 2)];
        machine.check_exact(&format!("{rows}×{columns}"), &inputs, |x| {
            super::shift_rows(&x[0], &x[1])
        });
    }
}

fn maps_upsampled_equal_their_twins(machine: Machine) {
    for (h, w, height, width, channels, rows) in [
        (1, 1, 1, 1, 1, 0..1),
        (3, 5, 7, 31, 3, 0..7),
        (3, 5, 7, 31, 3, 2..6),
        (7, 7, 14, 14, 36, 5..14),
    ] {
        let inputs = [tensor(&[h, w, channels], 1), tensor(&[height, width, channels], 2)];
        for (out, _) in TYPES {
            let what = format!("{h}×{w} to {rows:?} of {height}×{width}×{channels} as {out:?}");
            machine.check_exact(&what, &inputs, |x| {
                super::upsample_add_rows(&x[0], &x[1], rows.clone(), out)?.to_dtype(DType::F32)
            });
        }
    }
}

fn box_bias_equals_its_twin(machine: Machine) {
    for (queries, side, hidden, heads) in [(1, 1, 1, 1), (7, 5, 31, 3), (5, 12, 256, 8)] {
        let mut inputs = vec![tensor(&[queries, 4], 1)];
        for seed in [2, 6] {
            inputs.push(tensor(&[hidden, 2], seed));
            inputs.push(tensor(&[hidden], seed + 1));
            inputs.push((tensor(&[heads, hidden], seed + 2) / (hidden as f64).sqrt()).unwrap());
            inputs.push(tensor(&[heads], seed + 3));
        }
        let what = format!("{queries} queries, {side}², {hidden} hidden, {heads} heads");
        machine.check(&what, (DType::F32, 1e-5), &inputs, &[], |x| {
            let network = |from: usize| std::array::from_fn(|i| x[from + i].clone());
            super::box_bias(&x[0], side, &[network(1), network(5)])
        });
    }
}

fn product_add_equals_its_twin(machine: Machine) {
    for (rows, columns, depth) in [(1, 1, 1), (7, 31, 33), (33, 64, 24), (5, 256, 72), (130, 48, 1024)] {
        // Sums near 1, whatever the depth.
        let weight = (tensor(&[columns, depth], 2) / (depth as f64).sqrt()).unwrap();
        let inputs = [tensor(&[rows, depth], 1), weight];
        let added = [tensor(&[columns], 3), tensor(&[rows, columns], 4)];
        for (dtype, tolerance) in TYPES {
            for (bias, residual) in [(false, false), (true, false), (false, true), (true, true)] {
                let what = format!("{rows}×{columns}×{depth} bias {bias} residual {residual}");
                machine.check(&what, (dtype, 2.0 * tolerance), &inputs, &added, |x| {
                    super::product_add(&x[0], &x[1], bias.then_some(&x[2]), residual.then_some(&x[3]))
                });
            }
        }
    }
}

fn dequantize_equals_its_twin(machine: Machine) {
    for (rows, columns) in [(1, 1), (7, 31), (3, 1032)] {
        let codes: Vec<u8> = (0..rows * columns).map(|i| (i * 37 % 256) as u8).collect();
        let codes = Tensor::from_vec(codes, (rows, columns), &Device::Cpu).unwrap();
        let inputs = [codes, tensor(&[rows, 1], 1)];
        for (out, _) in TYPES {
            let what = format!("{rows}×{columns} as {out:?}");
            machine.check_exact(&what, &inputs, |x| {
                super::dequantize(&x[0], &x[1], out)?.to_dtype(DType::F32)
            });
        }
    }
}

fn maps_rearranged_equal_their_twins(machine: Machine) {
    for (height, width, channels) in [(1, 1, 1), (7, 5, 3), (3, 9, 6), (4, 5, 24), (2, 3, 64)] {
        let inputs = [
            tensor(&[height, width, channels], 1),
            tensor(&[height, width, 4 * channels], 2),
        ];
        for (dtype, _) in TYPES {
            let what = format!("{height}×{width}×{channels}");
            let rearranged = |of: &dyn Fn(&[Tensor]) -> Result<Tensor>| {
                machine.check(&what, (dtype, 0.0), &inputs, &[], of);
            };
            rearranged(&|x| super::patches3x3(&x[0]));
            rearranged(&|x| super::patches3x3_rows(&x[0], height / 2..height));
            rearranged(&|x| super::shuffle2x2(&x[1]));
        }
    }
}

fn pictures_equal_their_twins(machine: Machine) {
    for (height, width, size) in [(1, 1, 3), (5, 7, 5), (40, 31, 9), (9, 64, 33), (3, 200, 14)] {
        let rgb: Vec<u8> = (0..height * width * 3).map(|i| (i * i * 31 % 251) as u8).collect();
        let rgb = [Tensor::from_vec(rgb, (height, width, 3), &Device::Cpu).unwrap()];
        let what = format!("{height}×{width} to {size}");
        machine.check_exact(&what, &rgb, |x| super::resize_normalize(&x[0], size));
        #[cfg(feature = "cuda")]
        if let Machine::Gpu = machine {
            for way in [super::frame::Way::Copy, super::frame::Way::InPlace] {
                let Device::Cuda(gpu) = gpu() else { unreachable!() };
                let bytes = rgb[0].values::<u8>().unwrap();
                let found = super::pixels::resize_staged(bytes, (height, width), size, gpu, way).unwrap();
                let expected = super::resize_normalize(&rgb[0], size).unwrap();
                let what = format!("{what} {way:?}");
                assert_close(&found.to_device(&Device::Cpu).unwrap(), &expected, 0.0, &what);
            }
        }
    }
}

fn masks_equal_their_twins(machine: Machine) {
    for (n, h, w, height, width) in [
        (1, 1, 1, 5, 70),
        (3, 7, 5, 31, 29),
        (2, 9, 12, 4, 3),
        (1, 16, 16, 16, 16),
    ] {
        let logits = [tensor(&[n, h, w], 1)];
        for threshold in [0.0, 0.3] {
            let what = format!("{n} of {h}×{w} to {height}×{width} above {threshold}");
            let masks = |x: &[Tensor]| super::upsample_masks(&x[0], height, width, threshold);
            let words = |x: Tensor| x.flatten_all().to_vec::<i32>().unwrap();
            assert_eq!(
                words(machine.run(&logits, masks)),
                words(masks(&logits).unwrap()),
                "{what}"
            );
        }
    }
}

fn softmax_equals_its_twin(machine: Machine) {
    for (rows, columns) in [(1, 1), (3, 31), (2, 256), (5, 1000)] {
        let x = [(tensor(&[rows, columns], 1) * 30.0).unwrap()];
        for (dtype, tolerance) in TYPES {
            let run = |x: &[Tensor]| super::softmax(&x[0], dtype)?.to_dtype(DType::F32);
            let expected = super::softmax(&x[0], DType::F32).unwrap();
            assert_close(
                &machine.run(&x, run),
                &expected,
                tolerance,
                &format!("{rows}×{columns} {dtype:?}"),
            );
        }
    }
    // A row with what is no number, and one that sees nothing.
    for bad in [f32::NAN, f32::INFINITY] {
        let mut values = vec![1.0; 300];
        values[270] = bad;
        let x = [Tensor::from_vec(values, (1, 300), &Device::Cpu).unwrap()];
        let found = machine.run(&x, |x| super::softmax(&x[0], DType::F32)?.narrow(1, 270, 1));
        assert_no_number(&found, "softmax");
    }
    let x = [Tensor::from_vec(vec![f32::NEG_INFINITY; 300], (1, 300), &Device::Cpu).unwrap()];
    assert_no_number(
        &machine.run(&x, |x| super::softmax(&x[0], DType::F32)),
        "softmax of nothing",
    );
}

fn depthwise_equals_its_twin(machine: Machine) {
    for (height, width, channels) in [(1, 1, 1), (3, 9, 5), (8, 7, 33)] {
        let inputs = [
            tensor(&[height, width, channels], 1),
            tensor(&[49, channels], 2),
            tensor(&[channels], 3),
        ];
        let run = |x: &[Tensor]| super::depthwise_7x7(&x[0], &x[1], &x[2]);
        let what = format!("{height}×{width}×{channels}");
        assert_close(&machine.run(&inputs, run), &run(&inputs).unwrap(), 1e-5, &what);
    }
}
