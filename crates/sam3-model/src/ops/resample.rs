//! Nearest-neighbour upsampling of feature maps.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::{Compute, cuda, host};

/// `F.interpolate(x, mode="nearest") + level`: `x` is `[h, w, c]`, `level` `[height, width, c]`. It goes into a convolution of `compute`
/// and nowhere else.
pub fn upsample_nearest_add(compute: Compute, x: &Tensor, level: &Tensor) -> Result<Tensor> {
    let (height, width, channels) = level.dims3()?;
    let (h, w, _) = x.dims3()?;
    if !host::is_host(x) {
        return cuda::upsample_add(x, level, compute.dtype());
    }
    let (x, level) = (x.contiguous()?, level.contiguous()?);
    let (values, fine) = (host::values(&x)?, host::values(&level)?);
    let (values, fine): (&[f32], &[f32]) = (&values, &fine);
    let mut out = host::zeros(fine.len());
    out.par_chunks_mut(width * channels)
        .zip(fine.par_chunks(width * channels))
        .enumerate()
        .for_each(|(y, (out, fine))| {
            let row = &values[y * h / height * w * channels..][..w * channels];
            let pixels = out.chunks_exact_mut(channels).zip(fine.chunks_exact(channels));
            for (column, (out, fine)) in pixels.enumerate() {
                let coarse = &row[column * w / width * channels..][..channels];
                for ((out, fine), coarse) in out.iter_mut().zip(fine).zip(coarse) {
                    *out = coarse + fine;
                }
            }
        });
    Tensor::from_vec(out, (height, width, channels), x.device())
}

/// The upsampling alone, by candle's gather: `[h, w, c]` -> `[height, width, c]`.
#[cfg(test)]
fn plain(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let (h, w, _) = x.dims3()?;
    let index = |from: usize, to: usize| {
        let index: Vec<u32> = (0..to).map(|i| (i * from / to) as u32).collect();
        Tensor::from_vec(index, to, x.device())
    };
    x.index_select(&index(h, height)?, 0)?
        .index_select(&index(w, width)?, 1)
}

#[cfg(test)]
mod tests {
    use super::{plain, upsample_nearest_add};
    use crate::ops::{
        Compute,
        host::as_accelerator,
        testing::{assert_close, tensor},
    };

    #[test]
    fn equals_its_plain_twin() {
        for (h, w, height, width, channels) in [(1, 1, 1, 1, 1), (3, 5, 7, 31, 3), (7, 7, 14, 14, 33)] {
            let (x, level) = (tensor(&[h, w, channels], 1), tensor(&[height, width, channels], 2));
            let expected = (plain(&x, height, width).unwrap() + &level).unwrap();
            let what = format!("{h}×{w} → {height}×{width}");
            let run = || upsample_nearest_add(Compute::F32, &x, &level).unwrap();
            assert_close(&run(), &expected, 0.0, &what);
            assert_close(&as_accelerator(run), &expected, 0.0, &what);
        }
    }
}
