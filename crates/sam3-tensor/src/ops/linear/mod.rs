//! `y = x Wᵀ + b`, and what follows it.

mod device;
mod few;
mod mlp;
mod packed;
#[cfg(test)]
mod plain;

use std::sync::{Arc, OnceLock};

use crate::{DType, Result, Tensor};

pub use self::mlp::Mlp;
pub use super::product::Activation;
use super::{Compute, host};
use crate::weight::Weight;

/// Rows that go through two layers at a time: what is between the MLP's layers then has some 25 MB, and each core still
/// gets several blocks of a product.
const ROW_BLOCK: usize = 1296;

/// A fully connected layer whose weight stays as the file has it.
pub struct Linear {
    weight: Weight,
    bias: Option<Tensor>,
    compute: Compute,
    /// See [`before_products`](Self::before_products).
    before_products: bool,
    /// What one int8 code of each row of the weight is worth; found when it is first needed.
    scales: OnceLock<Arc<[f32]>>,
}

impl Linear {
    /// `weight` is `[out, in]`, `bias` `[out]`; products are f32.
    pub fn new(weight: Weight, bias: Option<Tensor>) -> Self {
        Self {
            weight,
            bias,
            compute: Compute::F32,
            before_products: false,
            scales: OnceLock::new(),
        }
    }

    /// The same layer with products of another precision.
    pub fn with_compute(mut self, compute: Compute) -> Self {
        self.compute = compute;
        self
    }

    /// The same layer where what it makes goes into other products and nowhere else: an accelerator hands it on in
    /// their precision. See `ops/device.rs`.
    pub fn before_products(mut self) -> Self {
        self.before_products = true;
        self
    }

    /// What its products are computed in.
    pub(super) fn compute(&self) -> Compute {
        self.compute
    }

    /// `[out, in]`.
    pub fn weight(&self) -> &Weight {
        &self.weight
    }

    /// `[out]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// `x` is `[.., in]`; returns `[.., out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.apply(x, Activation::None, None)
    }

    /// `x Wᵀ` alone, of a tensor on an accelerator, for an op that adds the bias itself.
    pub(super) fn product(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, dims) = self.output_shape(x);
        device::product(self, &x.reshape((rows, ()))?)?.reshape(dims)
    }

    /// [`forward`](Self::forward), then GELU or ReLU.
    pub fn forward_then(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        self.apply(x, activation, None)
    }

    /// `residual + forward(x)`.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.apply(x, Activation::None, Some(residual))
    }

    /// `residual + next(activation(forward(x)))`: a block of rows goes through both layers at a time, so that what is
    /// between them, the widest tensor of a transformer, is never whole.
    pub(super) fn forward_through(
        &self,
        x: &Tensor,
        activation: Activation,
        next: &Linear,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        if !host::is_host(x) {
            let between = self.on_device(x, activation, None, next.compute.dtype())?;
            return next.on_device(&between, Activation::None, residual, DType::F32);
        }
        let ([hidden, input], [output, _]) = (self.extents(), next.extents());
        let values = x.values::<f32>()?;
        let residual = residual.map(Tensor::values::<f32>).transpose()?;
        let rows = x.elem_count() / input;
        let block = ROW_BLOCK.min(rows.max(1));
        let mut between = host::room(block * hidden)?;
        let (mut first, mut second) = (self.packed()?, next.packed()?);
        let write = |out: &mut [_]| {
            let blocks = values.chunks(block * input).zip(out.chunks_mut(block * output));
            for (i, (x, out)) in blocks.enumerate() {
                let between = &mut between[..x.len() / input * hidden];
                first.run(x, activation, None, between)?;
                let residual = residual.map(|all| &all[i * block * output..][..out.len()]);
                // SAFETY: the first layer wrote all of it.
                second.run(unsafe { host::values_in(between) }, Activation::None, residual, out)?;
            }
            Ok(())
        };
        // SAFETY: the blocks are all rows, and a layer writes all of one.
        let out = unsafe { host::written(rows * output, write)? };
        let mut dims = x.dims().to_vec();
        *dims.last_mut().expect("x has rows") = output;
        Tensor::from_vec(out, dims, x.device())
    }

    fn extents(&self) -> [usize; 2] {
        let [output, input] = *self.weight.shape() else {
            unreachable!("Linear::new takes a matrix")
        };
        [output, input]
    }

    fn scales(&self) -> &[f32] {
        self.scales.get_or_init(|| self.weight.scales())
    }

    fn apply(&self, x: &Tensor, activation: Activation, residual: Option<&Tensor>) -> Result<Tensor> {
        if !host::is_host(x) {
            let out = if self.before_products {
                self.compute.dtype()
            } else {
                DType::F32
            };
            return self.on_device(x, activation, residual, out);
        }
        let (rows, dims) = self.output_shape(x);
        let [output, _] = self.extents();
        let values = x.values::<f32>()?;
        let residual = residual.map(Tensor::values::<f32>).transpose()?;
        let mut packed = self.packed()?;
        let write = |out: &mut [_]| packed.run(values, activation, residual, out);
        // SAFETY: a layer writes all rows.
        let out = unsafe { host::written(rows * output, write)? };
        Tensor::from_vec(out, dims, x.device())
    }

    fn on_device(&self, x: &Tensor, activation: Activation, residual: Option<&Tensor>, out: DType) -> Result<Tensor> {
        let (rows, dims) = self.output_shape(x);
        device::linear(self, &x.reshape((rows, ()))?, activation, residual, out)?.reshape(dims)
    }

    /// Rows of `x`, and the result's extents.
    fn output_shape(&self, x: &Tensor) -> (usize, Vec<usize>) {
        let [output, input] = self.extents();
        let mut dims = x.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = output;
        }
        (x.elem_count() / input, dims)
    }
}

#[cfg(test)]
mod tests {
    use crate::Tensor;

    use super::{Activation, Linear, plain};
    use crate::{
        ops::{
            Compute, int8,
            simd::at_every_level,
            testing::{assert_close, tensor},
        },
        weight::Weight,
    };

    fn parameters(input: usize, output: usize, seed: u64) -> (Tensor, Tensor) {
        (tensor(&[output, input], seed), tensor(&[output], seed + 1))
    }

    fn linear(input: usize, output: usize, seed: u64) -> Linear {
        let (weight, bias) = parameters(input, output, seed);
        Linear::new(Weight::from_tensor(&weight).unwrap(), Some(bias))
    }

    #[test]
    fn equals_its_plain_twin() {
        at_every_level(|| {
            for (rows, input, output) in [(1, 1, 1), (7, 31, 33), (33, 64, 7), (201, 256, 65)] {
                for activation in [Activation::None, Activation::Gelu, Activation::Relu] {
                    let layer = linear(input, output, 1);
                    let (x, residual) = (tensor(&[rows, input], 3), tensor(&[rows, output], 4));
                    for residual in [None, Some(&residual)] {
                        let found = layer.apply(&x, activation, residual).unwrap();
                        let expected = plain::linear(&parameters(input, output, 1), &x, activation, residual).unwrap();
                        let what = format!("{rows}×{input}×{output} {activation:?}");
                        assert_close(&found, &expected, 2e-5, &what);
                    }
                }
            }
        });
    }

    #[test]
    fn few_rows_give_the_bits_of_many() {
        at_every_level(|| {
            for (rows, input, output) in [(1, 31, 33), (32, 600, 200), (64, 64, 65)] {
                for compute in [Compute::F32, Compute::Bf16] {
                    let layer = linear(input, output, 1).with_compute(compute);
                    let many = tensor(&[rows + 65, input], 3);
                    let residual = tensor(&[rows + 65, output], 4);
                    let expected = layer.apply(&many, Activation::Gelu, Some(&residual)).unwrap();
                    let (x, residual) = (many.narrow(0, 0, rows).unwrap(), residual.narrow(0, 0, rows).unwrap());
                    let found = layer.apply(&x, Activation::Gelu, Some(&residual)).unwrap();
                    let expected = expected.narrow(0, 0, rows).unwrap();
                    let bits = |x: &Tensor| x.to_vec::<f32>().unwrap();
                    assert_eq!(bits(&found), bits(&expected), "{rows}×{input}×{output} {compute:?}");
                }
            }
        });
    }

    #[test]
    fn two_layers_at_a_time_are_one_after_the_other() {
        at_every_level(|| {
            for (rows, widths) in [(1, [1, 1, 1]), (7, [31, 33, 5]), (1300, [3, 17, 9])] {
                let (first, second) = (linear(widths[0], widths[1], 1), linear(widths[1], widths[2], 3));
                let (x, residual) = (tensor(&[rows, widths[0]], 5), tensor(&[rows, widths[2]], 6));
                let of = |i: usize, seed: u64| parameters(widths[i], widths[i + 1], seed);
                let between = plain::linear(&of(0, 1), &x, Activation::Gelu, None).unwrap();
                let expected = plain::linear(&of(1, 3), &between, Activation::None, Some(&residual)).unwrap();
                let found = first.forward_through(&x, Activation::Gelu, &second, Some(&residual));
                assert_close(&found.unwrap(), &expected, 2e-5, &format!("{rows} {widths:?}"));
            }
        });
    }

    #[test]
    fn int8_is_near_where_activations_allow_it_and_left_alone_where_they_do_not() {
        at_every_level(|| {
            let layer = linear(256, 65, 1);
            let x = tensor(&[33, 256], 3);
            let expected = plain::linear(&parameters(256, 65, 1), &x, Activation::None, None).unwrap();
            let layer = layer.with_compute(Compute::Int8);
            let found = layer.forward(&x).unwrap();
            // Two operands of 1/254 each at most, in a random walk of 256 steps.
            assert_close(&found, &expected, 0.25, "int8");
            let bf16 = linear(256, 65, 1).with_compute(Compute::auto()).forward(&x).unwrap();
            assert_ne!(found.to_vec::<f32>().unwrap(), bf16.to_vec::<f32>().unwrap());
            // One value larger than the others in every row, at the most a hundred times: their codes would be 0 and
            // ±1.
            for (largest, errors, is_int8) in [
                (14.0, 0.05..0.08, true),
                (24.0, 0.08..0.12, false),
                (100.0, 0.2..0.3, false),
            ] {
                let mut values = x.to_vec::<f32>().unwrap();
                values.chunks_exact_mut(256).for_each(|row| row[7] = largest);
                let error = int8::quantize(&values, 256).unwrap().error;
                assert!(errors.contains(&error), "{largest}: an error of {error}");
                let x = Tensor::from_vec(values, x.dims(), x.device()).unwrap();
                let found = layer.forward(&x).unwrap().to_vec::<f32>().unwrap();
                let float = linear(256, 65, 1).with_compute(Compute::auto()).forward(&x).unwrap();
                assert_eq!(found != float.to_vec::<f32>().unwrap(), is_int8, "{largest}");
            }
        });
    }
}
