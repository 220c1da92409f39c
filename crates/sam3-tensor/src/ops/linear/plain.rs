//! The plain twin: loops, sums in f64, for tests.

use crate::{Result, Tensor, ops::testing::plain_gelu};

use super::Activation;

/// `residual + activation(x Wᵀ + b)` for `x` `[rows, in]`, of the values that a layer's weight and bias were made from.
pub fn linear(
    (weight, bias): &(Tensor, Tensor),
    x: &Tensor,
    activation: Activation,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    let ((rows, input), output) = (x.dims2()?, bias.elem_count());
    let (weight, bias, x_values) = (weight.values::<f32>()?, bias.values::<f32>()?, x.values::<f32>()?);
    let residual = residual.map(Tensor::values::<f32>).transpose()?;
    let mut out = Vec::with_capacity(rows * output);
    for (row, column) in (0..rows).flat_map(|row| (0..output).map(move |column| (row, column))) {
        let mut sum = f64::from(bias[column]);
        for i in 0..input {
            sum += f64::from(x_values[row * input + i]) * f64::from(weight[column * input + i]);
        }
        let y = match activation {
            Activation::None => sum,
            Activation::Gelu => plain_gelu(sum),
            Activation::Relu => sum.max(0.0),
        };
        out.push((y + residual.map_or(0.0, |residual| f64::from(residual[out.len()]))) as f32);
    }
    Tensor::from_vec(out, (rows, output), x.device())
}
