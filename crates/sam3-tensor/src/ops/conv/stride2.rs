//! The 3 × 3 convolution that halves a map's sides.

use std::ops::Range;

use super::{Single, patches::Patches};
use crate::{
    Result, Tensor,
    ops::{
        Compute, cuda, device, host,
        product::{self, Epilogue},
    },
    weight::Weight,
};

/// Rows of the result that an accelerator makes at once. In tests few, so that maps have several blocks.
const ROWS: usize = if cfg!(test) { 2 } else { 64 };

/// `Conv2d(input, output, kernel_size=3, stride=2, padding=1)`.
pub struct Conv3x3Stride2 {
    /// `[output, 3 × 3 × input]`.
    kernel: Weight,
    bias: Tensor,
    compute: Compute,
}

impl Conv3x3Stride2 {
    /// `kernel` is `[output, 3 × 3 × input]`, `bias` `[output]`.
    ///
    /// # Errors
    /// When there is no room, or the device fails.
    pub fn new(kernel: &Tensor, bias: Tensor, compute: Compute) -> Result<Self> {
        Ok(Self {
            kernel: Weight::for_products(kernel, compute)?,
            bias,
            compute,
        })
    }

    /// `x` is `[height, width, input]`; returns half of both extents, rounded up, `[.., .., output]`.
    ///
    /// # Errors
    /// When shapes do not fit, there is no room, or the device fails.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (height, width, channels) = x.dims3()?;
        let (rows, columns, output) = (height.div_ceil(2), width.div_ceil(2), self.bias.elem_count());
        if !host::is_host(x) {
            return self.on_device(x);
        }
        let map = Single {
            values: x.values()?,
            extents: [height, width, channels],
        };
        let patches = Patches { map: &map, stride: 2 };
        let epilogue = Epilogue {
            bias: Some(self.bias.values::<f32>()?),
            ..Epilogue::default()
        };
        let write = |out: &mut [_]| product::product(self.compute, &patches, &self.kernel.reader(), epilogue, out);
        // SAFETY: a product writes every element.
        let out = unsafe { host::written(rows * columns * output, write)? };
        Tensor::from_vec(out, (rows, columns, output), x.device())
    }

    fn on_device(&self, x: &Tensor) -> Result<Tensor> {
        let (height, width, _) = x.dims3()?;
        let (rows, columns) = (height.div_ceil(2), width.div_ceil(2));
        // The map with one more row or column where its extent is odd; no patch has its middle there.
        let even = x.pad_with_zeros(0, 0, height % 2)?.pad_with_zeros(1, 0, width % 2)?;
        let even = device::operand(&even, self.compute)?;
        let kernel = self.kernel.matrix(self.compute.dtype())?;
        let mut blocks = Vec::with_capacity(rows.div_ceil(ROWS));
        for start in (0..rows).step_by(ROWS) {
            let block = start..rows.min(start + ROWS);
            blocks.push(cuda::product_add(
                &halved(&even, block, columns)?,
                &kernel,
                Some(&self.bias),
                None,
            )?);
        }
        Tensor::cat(&blocks, 0)?.reshape((rows, columns, ()))
    }
}

/// The patches of every other pixel of some rows of the result.
fn halved(x: &Tensor, rows: Range<usize>, columns: usize) -> Result<Tensor> {
    let patches = cuda::patches3x3_rows(x, 2 * rows.start..2 * rows.end)?;
    let width = patches.dim(1)?;
    let patches = patches.reshape((rows.len(), 2, columns, 2, width))?;
    patches
        .narrow(1, 0, 1)?
        .narrow(3, 0, 1)?
        .reshape((rows.len() * columns, width))
}

#[cfg(test)]
mod tests {
    use super::Conv3x3Stride2;
    use crate::{
        Tensor,
        ops::{
            Compute, Conv3x3,
            conv::plain,
            host::as_accelerator,
            simd::at_every_level,
            testing::{assert_close, tensor},
        },
    };

    /// Every other pixel of the convolution that keeps the size.
    fn expected(kernel: &Tensor, bias: &Tensor, x: &Tensor) -> Tensor {
        let conv = Conv3x3::new(kernel, bias.clone(), Compute::F32).unwrap();
        let all = plain::conv_3x3(&conv, x).unwrap();
        let (height, width, _) = all.dims3().unwrap();
        let rows: Vec<usize> = (0..height).step_by(2).collect();
        let columns: Vec<usize> = (0..width).step_by(2).collect();
        let all = all.select(&rows).unwrap().permute([1, 0, 2]).unwrap();
        all.select(&columns).unwrap().permute([1, 0, 2]).unwrap()
    }

    #[test]
    fn equals_its_plain_twin() {
        at_every_level(|| {
            for (height, width, input, output) in [(2, 2, 1, 4), (1, 1, 3, 2), (8, 14, 5, 33), (7, 9, 16, 7)] {
                let (kernel, bias) = (tensor(&[output, 9 * input], 1), tensor(&[output], 2));
                let conv = Conv3x3Stride2::new(&kernel, bias.clone(), Compute::F32).unwrap();
                let x = tensor(&[height, width, input], 3);
                let expected = expected(&kernel, &bias, &x);
                let what = format!("{height}×{width} {input}→{output}");
                assert_close(&conv.forward(&x).unwrap(), &expected, 3e-5, &what);
                assert_close(&as_accelerator(|| conv.forward(&x)).unwrap(), &expected, 3e-5, &what);
            }
        });
    }
}
