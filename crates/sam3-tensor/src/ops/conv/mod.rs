//! Convolutions over `[height, width, channels]`: those of the neck and the pixel decoder as matrix products, and those
//! of the memory encoder.

mod depthwise;
mod device;
mod patches;
#[cfg(test)]
mod plain;
mod stride2;
mod winograd;

pub use self::{depthwise::DepthwiseConv7x7, stride2::Conv3x3Stride2};

use crate::{Result, Tensor};

use super::{
    Activation, Compute, host, matmul_t,
    product::{self, Epilogue, Matrix},
};
use crate::weight::Weight;

/// `Conv2d(input, output, kernel_size=3, padding=1)`.
pub struct Conv3x3 {
    /// `[output, 3 × 3 × input]`.
    kernel: Weight,
    bias: Tensor,
    compute: Compute,
    /// See [`before_products`](Self::before_products).
    before_products: bool,
}

impl Conv3x3 {
    /// `kernel` is `[output, 3 × 3 × input]`, `bias` `[output]`.
    pub fn new(kernel: &Tensor, bias: Tensor, compute: Compute) -> Result<Self> {
        Ok(Self {
            kernel: Weight::for_products(kernel, compute)?,
            bias,
            compute,
            before_products: false,
        })
    }

    /// The same layer where what it makes goes into products and nowhere else: see
    /// [`Linear::before_products`](super::Linear).
    pub fn before_products(mut self) -> Self {
        self.before_products = true;
        self
    }

    /// `x` is `[height, width, input]`; returns `[height, width, output]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if !host::is_host(x) {
            return device::conv_3x3(self, x);
        }
        let (height, width, channels) = x.dims3()?;
        self.run(&Single {
            values: x.values()?,
            extents: [height, width, channels],
        })
    }

    /// [`forward`](Self::forward) of `F.interpolate(coarse, mode="nearest") + fine`, which is never in memory.
    pub fn forward_sum(&self, coarse: &Tensor, fine: &Tensor) -> Result<Tensor> {
        if !host::is_host(fine) {
            return device::conv_3x3_sum(self, coarse, fine);
        }
        let ((height, width, channels), (h, w, _)) = (fine.dims3()?, coarse.dims3()?);
        self.run(&Sum {
            coarse: Single {
                values: coarse.values()?,
                extents: [h, w, channels],
            },
            fine: Single {
                values: fine.values()?,
                extents: [height, width, channels],
            },
        })
    }

    fn run(&self, map: &impl Map) -> Result<Tensor> {
        let [height, width, _] = map.extents();
        let bias = self.bias.values::<f32>()?;
        // In bf16 too: these are 2.25 times fewer products than patches take, which outweighs a unit of twice the rate,
        // and f32.
        let out = winograd::conv_3x3(self, bias, map)?;
        Tensor::from_vec(out, (height, width, bias.len()), self.bias.device())
    }
}

/// What a convolution looks at.
trait Map: Sync {
    /// Height, width and channels.
    fn extents(&self) -> [usize; 3];
    /// Writes the channels of a pixel from one on.
    fn read(&self, y: usize, x: usize, channel: usize, out: &mut [f32]);
}

/// One map, `[height, width, channels]`.
struct Single<'a> {
    values: &'a [f32],
    extents: [usize; 3],
}

impl Single<'_> {
    #[inline(always)]
    fn pixel(&self, y: usize, x: usize, channel: usize, len: usize) -> &[f32] {
        let [_, width, channels] = self.extents;
        &self.values[(y * width + x) * channels + channel..][..len]
    }
}

impl Map for Single<'_> {
    fn extents(&self) -> [usize; 3] {
        self.extents
    }

    #[inline(always)]
    fn read(&self, y: usize, x: usize, channel: usize, out: &mut [f32]) {
        product::copy(self.pixel(y, x, channel, out.len()), out);
    }
}

/// The nearest pixel of a coarse map, plus that of a fine one.
struct Sum<'a> {
    coarse: Single<'a>,
    fine: Single<'a>,
}

impl Map for Sum<'_> {
    fn extents(&self) -> [usize; 3] {
        self.fine.extents
    }

    #[inline(always)]
    fn read(&self, y: usize, x: usize, channel: usize, out: &mut [f32]) {
        let ([height, width, _], [h, w, _]) = (self.fine.extents, self.coarse.extents);
        let coarse = self.coarse.pixel(y * h / height, x * w / width, channel, out.len());
        let fine = self.fine.pixel(y, x, channel, out.len());
        for ((out, coarse), fine) in out.iter_mut().zip(coarse).zip(fine) {
            *out = coarse + fine;
        }
    }
}

/// As [`Map::read`], of coordinates that begin one above and to the left of the map; zero outside it.
#[inline(always)]
fn read_padded(map: &impl Map, y: usize, x: usize, channel: usize, out: &mut [f32]) {
    let [height, width, _] = map.extents();
    if (1..=height).contains(&y) && (1..=width).contains(&x) {
        map.read(y - 1, x - 1, channel, out);
    } else {
        out.fill(0.0);
    }
}

/// `ConvTranspose2d(input, output, kernel_size=2, stride=2)`: each pixel becomes a 2 × 2 square.
pub struct ConvTranspose2x2 {
    /// `[2 × 2 × output, input]`.
    kernel: Weight,
    bias: Tensor,
    output: usize,
    compute: Compute,
}

impl ConvTranspose2x2 {
    /// The same as `step` and then a 1 × 1 convolution, `kernel`, without an activation between the two: each corner's
    /// kernel becomes `kernel × step`, the bias `kernel × step_bias + bias`.
    ///
    /// `step` is `[input, middle, 2, 2]`, `kernel` `[output, middle]` with any axes of 1 behind them.
    pub fn fold(step: &Tensor, step_bias: &Tensor, kernel: &Tensor, bias: &Tensor, compute: Compute) -> Result<Self> {
        let ((input, output, _, _), end) = (step.dims4()?, kernel.dim(0)?);
        let corners = step.permute([2, 3, 0, 1])?.reshape((4, input, output))?;
        let kernel = kernel.reshape((end, output))?;
        let bias = (matmul_t(&kernel, &step_bias.unsqueeze(0)?)?.squeeze(1)? + bias)?;
        let corner = |corner| matmul_t(&kernel, &corners.get(corner)?);
        let corners = (0..4).map(corner).collect::<Result<Vec<_>>>()?;
        Self::new(&Tensor::cat(&corners, 0)?, bias, compute)
    }

    /// `kernel` is `[2 × 2 × output, input]`, `bias` `[output]`.
    pub fn new(kernel: &Tensor, bias: Tensor, compute: Compute) -> Result<Self> {
        Ok(Self {
            kernel: Weight::for_products(kernel, compute)?,
            output: bias.elem_count(),
            bias,
            compute,
        })
    }

    /// `x` is `[height, width, input]`; returns `[2 height, 2 width, output]`, which goes into another product and
    /// nowhere else.
    pub fn forward(&self, x: &Tensor, activation: Activation) -> Result<Tensor> {
        if !host::is_host(x) {
            return device::conv_transpose_2x2(self, x, activation);
        }
        self.run(x, activation, None)
    }

    /// `forward(x) + residual`.
    pub fn forward_add(&self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        if !host::is_host(x) {
            return device::conv_transpose_2x2(self, x, Activation::None)? + residual;
        }
        self.run(x, Activation::None, Some(residual))
    }

    fn run(&self, x: &Tensor, activation: Activation, residual: Option<&Tensor>) -> Result<Tensor> {
        let (height, width, depth) = x.dims3()?;
        let pixels = Matrix {
            values: x.values::<f32>()?,
            depth,
        };
        // Both corners of a row of a square are side by side in the result.
        let row = 2 * self.output;
        let epilogue = Epilogue {
            bias: Some(&self.bias.values::<f32>()?.repeat(2)),
            activation,
            residual: residual.map(Tensor::values::<f32>).transpose()?,
            ..Epilogue::default()
        };
        let write = |out: &mut [_]| {
            for dy in 0..2 {
                let kernel = self.kernel.rows(dy * row..(dy + 1) * row);
                let place = |pixel| ((2 * (pixel / width) + dy) * width + pixel % width) * row;
                // SAFETY: a product has `row` columns, and each pixel its own row of its own square.
                unsafe { product::product_at(self.compute, &pixels, &kernel.reader(), epilogue, out, place)? };
            }
            Ok(())
        };
        // SAFETY: every pixel of the result is in one row of one pixel's square.
        let out = unsafe { host::written(4 * height * width * self.output, write)? };
        Tensor::from_vec(out, (2 * height, 2 * width, self.output), x.device())
    }
}

#[cfg(test)]
mod tests {
    use super::{Activation, Compute, Conv3x3, ConvTranspose2x2, Single, patches::conv_3x3 as by_patches, plain};
    use crate::{
        ops::{
            Linear,
            cuda::upsample_add_rows,
            host::as_accelerator,
            simd::at_every_level,
            testing::{assert_close, tensor},
        },
        weight::Weight,
    };

    #[test]
    fn conv_3x3_equals_its_plain_twin() {
        at_every_level(|| {
            for (height, width, input, output) in [
                (1, 1, 1, 1),
                (2, 1, 5, 3),
                (7, 31, 3, 33),
                (33, 5, 65, 7),
                (9, 2, 130, 64),
            ] {
                let conv = conv_3x3(input, output);
                let x = tensor(&[height, width, input], 3);
                let expected = plain::conv_3x3(&conv, &x).unwrap();
                let what = format!("{height}×{width} {input}→{output}");
                assert_close(&conv.forward(&x).unwrap(), &expected, 3e-5, &what);
                assert_close(&as_accelerator(|| conv.forward(&x)).unwrap(), &expected, 3e-5, &what);
                let map = Single {
                    values: x.values().unwrap(),
                    extents: [height, width, input],
                };
                let found = by_patches(&conv, conv.bias.values().unwrap(), &map).unwrap();
                let found = crate::Tensor::from_vec(found, expected.dims(), x.device()).unwrap();
                assert_close(&found, &expected, 3e-5, &what);
            }
        });
    }

    #[test]
    fn a_sum_is_convolved_as_if_it_were_there() {
        at_every_level(|| {
            for (h, w, height, width, channels) in [(1, 1, 1, 1, 1), (3, 5, 7, 31, 3), (7, 7, 14, 14, 33)] {
                let (coarse, fine) = (tensor(&[h, w, channels], 1), tensor(&[height, width, channels], 2));
                let conv = conv_3x3(channels, 5);
                let sum = upsample_add_rows(&coarse, &fine, 0..height, crate::DType::F32).unwrap();
                let expected = conv.forward(&sum).unwrap();
                let what = format!("{h}×{w} → {height}×{width}");
                let run = || conv.forward_sum(&coarse, &fine).unwrap();
                assert_close(&run(), &expected, 0.0, &what);
                assert_close(&as_accelerator(run), &expected, 3e-5, &what);
            }
        });
    }

    fn conv_3x3(input: usize, output: usize) -> Conv3x3 {
        Conv3x3::new(&tensor(&[output, 9 * input], 1), tensor(&[output], 2), Compute::F32).unwrap()
    }

    #[test]
    fn a_1x1_behind_a_transposed_convolution_folds_into_it() {
        for (height, width, input, output, end) in [(1, 1, 1, 1, 1), (7, 31, 3, 33, 5), (5, 3, 65, 7, 64)] {
            let (step, step_bias) = (tensor(&[input, output, 2, 2], 1), tensor(&[output], 2));
            let (kernel, bias) = (tensor(&[end, output, 1, 1], 3), tensor(&[end], 4));
            let x = tensor(&[height, width, input], 5);
            let corners = step
                .permute([2, 3, 1, 0])
                .unwrap()
                .reshape((4 * output, input))
                .unwrap();
            let unfolded = ConvTranspose2x2::new(&corners, step_bias.clone(), Compute::F32).unwrap();
            let conv_1x1 = Linear::new(Weight::from_tensor(&kernel).unwrap().flatten(), Some(bias.clone()));
            let expected = conv_1x1
                .forward(&unfolded.forward(&x, Activation::None).unwrap())
                .unwrap();
            let folded = || {
                let folded = ConvTranspose2x2::fold(&step, &step_bias, &kernel, &bias, Compute::F32).unwrap();
                folded.forward(&x, Activation::None).unwrap()
            };
            let what = format!("{height}×{width} {input}→{output}→{end}");
            assert_close(&folded(), &expected, 3e-5, &what);
            assert_close(&as_accelerator(folded), &expected, 3e-5, &what);
        }
    }

    #[test]
    fn conv_transpose_2x2_equals_its_plain_twin() {
        at_every_level(|| {
            for (height, width, input, output) in [(1, 1, 1, 1), (7, 31, 3, 33), (33, 5, 65, 7)] {
                let conv = ConvTranspose2x2 {
                    kernel: Weight::from_tensor(&tensor(&[4 * output, input], 1)).unwrap(),
                    bias: tensor(&[output], 2),
                    output,
                    compute: Compute::F32,
                };
                let x = tensor(&[height, width, input], 3);
                let expected = plain::conv_transpose_2x2_gelu(&conv, &x).unwrap();
                let what = format!("{height}×{width} {input}→{output}");
                assert_close(&conv.forward(&x, Activation::Gelu).unwrap(), &expected, 3e-5, &what);
                let residual = tensor(&[2 * height, 2 * width, output], 4);
                let expected = (&conv.forward(&x, Activation::None).unwrap() + &residual).unwrap();
                let run = || conv.forward_add(&x, &residual).unwrap();
                assert_close(&run(), &expected, 0.0, &what);
                assert_close(&as_accelerator(run), &expected, 3e-5, &what);
            }
        });
    }
}
