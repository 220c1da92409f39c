//! Pictures in and masks out, in pixels.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::host;
use crate::image::{self, Image};

/// A picture as the model wants it: `rgb`, u8 `[height, width, 3]`, to f32 `[3, size, size]` in -1 to 1.
///
/// Bit for bit what [`image::preprocess`] makes of it.
pub fn resize_normalize(rgb: &Tensor, size: usize) -> Result<Tensor> {
    let (height, width, channels) = rgb.dims3()?;
    if rgb.dtype() != DType::U8 || channels != 3 || height * width * size == 0 {
        bail!("a picture of {:?} {:?} to {size}×{size}", rgb.dims(), rgb.dtype());
    }
    resize_twin(rgb, size)
}

fn resize_twin(rgb: &Tensor, size: usize) -> Result<Tensor> {
    let (height, width, _) = rgb.dims3()?;
    let image = Image {
        width: width as u32,
        height: height as u32,
        rgb: rgb.flatten_all()?.to_vec1()?,
    };
    Tensor::from_vec(image::preprocess(&image, size), (3, size, size), &Device::Cpu)?.to_device(rgb.device())
}

/// Masks at a picture's size: `logits`, `[n, h, w]`, resized as [`image::upsample_threshold`] does it, then 1 where above
/// `threshold` and 0 elsewhere, u8 `[n, height, width]`.
pub fn upsample_masks(logits: &Tensor, height: usize, width: usize, threshold: f32) -> Result<Tensor> {
    let (_, h, w) = logits.dims3()?;
    if h * w == 0 {
        bail!("masks of {h}×{w} logits");
    }
    upsample_twin(logits, height, width, threshold)
}

fn upsample_twin(logits: &Tensor, height: usize, width: usize, threshold: f32) -> Result<Tensor> {
    let (n, h, w) = logits.dims3()?;
    let values = host::values(logits)?;
    let (rows, columns) = (image::between(h, height), image::between(w, width));
    let mut masks = Vec::with_capacity(n * height * width);
    for logits in values.chunks_exact(h * w) {
        for row in &rows {
            for column in &columns {
                let along = |y: usize| {
                    let row = &logits[y * w..][..w];
                    row[column.low] * column.low_weight + row[column.high] * column.high_weight
                };
                let value = along(row.low) * row.low_weight + along(row.high) * row.high_weight;
                masks.push(u8::from(value > threshold));
            }
        }
    }
    Tensor::from_vec(masks, (n, height, width), &Device::Cpu)?.to_device(logits.device())
}
