//! The plain twins: loops, sums in f64, for tests.

use crate::{Result, Tensor};

use super::{Conv3x3, ConvTranspose2x2};
use crate::ops::testing::plain_gelu;

/// See [`Conv3x3::forward`].
pub fn conv_3x3(conv: &Conv3x3, x: &Tensor) -> Result<Tensor> {
    let ((height, width, input), output) = (x.dims3()?, conv.bias.elem_count());
    let kernel = conv.kernel.to_tensor()?;
    let (kernel, bias, values) = (kernel.values::<f32>()?, conv.bias.values::<f32>()?, x.values::<f32>()?);
    let mut out = Vec::with_capacity(height * width * output);
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for channel in 0..output {
            let mut sum = f64::from(bias[channel]);
            for (dy, dx) in (0..3).flat_map(|dy| (0..3).map(move |dx| (dy, dx))) {
                // Tap (1, 1) is the pixel itself; outside the map there are zeros.
                let (Some(row), Some(column)) = ((y + dy).checked_sub(1), (x + dx).checked_sub(1)) else {
                    continue;
                };
                if row < height && column < width {
                    let pixel = &values[(row * width + column) * input..][..input];
                    sum += dot(pixel, &kernel[(channel * 9 + dy * 3 + dx) * input..]);
                }
            }
            out.push(sum as f32);
        }
    }
    Tensor::from_vec(out, (height, width, output), x.device())
}

/// See [`ConvTranspose2x2::forward`]; with GELU.
pub fn conv_transpose_2x2_gelu(conv: &ConvTranspose2x2, x: &Tensor) -> Result<Tensor> {
    let ((height, width, input), output) = (x.dims3()?, conv.output);
    let kernel = conv.kernel.to_tensor()?;
    let (kernel, bias, values) = (kernel.values::<f32>()?, conv.bias.values::<f32>()?, x.values::<f32>()?);
    let mut out = Vec::with_capacity(4 * height * width * output);
    for (y, x) in (0..2 * height).flat_map(|y| (0..2 * width).map(move |x| (y, x))) {
        let pixel = &values[(y / 2 * width + x / 2) * input..][..input];
        let corner = y % 2 * 2 + x % 2;
        for channel in 0..output {
            let sum = dot(pixel, &kernel[(corner * output + channel) * input..]) + f64::from(bias[channel]);
            out.push(plain_gelu(sum) as f32);
        }
    }
    Tensor::from_vec(out, (2 * height, 2 * width, output), x.device())
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}
