//! What goes into the model and what comes out of it, in pixels: done where the model runs.

use candle_core::{Device, Result, Tensor};

use super::{cuda, host};
use crate::{
    image::{self, Image},
    masks::Mask,
};

/// Bytes of masks that are on an accelerator at once.
const MASK_BYTES: usize = 64 << 20;

/// `image` as the model wants it, `[3, size, size]` in -1 to 1, on `device`.
///
/// An accelerator is given the picture's bytes, once, and resizes them itself.
pub fn pixels(image: &Image, size: usize, device: &Device) -> Result<Tensor> {
    if host::is_main_memory(device) {
        return Tensor::from_vec(image::preprocess(image, size), (3, size, size), device);
    }
    let extents = (image.height() as usize, image.width() as usize);
    cuda::resize_normalize_from(image.rgb(), extents, size, device)
}

/// Masks at a picture's size of some of the `logits`, `[queries, h, w]`; none where a logit is not finite.
///
/// Of an accelerator's, only the masks of `queries` leave it.
pub fn masks(logits: &Tensor, queries: &[usize], height: usize, width: usize) -> Result<Vec<Option<Mask>>> {
    let (_, h, w) = logits.dims3()?;
    if host::is_host(logits) {
        let mask = |&query: &usize| {
            let logits: Vec<f32> = logits.get(query)?.flatten_all()?.to_vec1()?;
            let is_finite = logits.iter().all(|logit| logit.is_finite());
            Ok(is_finite.then(|| image::upsample_threshold(&logits, (h, w), (height, width))))
        };
        return queries.iter().map(mask).collect();
    }
    let mut masks = Vec::with_capacity(queries.len());
    for some in queries.chunks((MASK_BYTES / (height * width / 8).max(1)).max(1)) {
        let index: Vec<u32> = some.iter().map(|&query| query as u32).collect();
        let index = Tensor::from_vec(index, some.len(), logits.device())?;
        let logits = logits.index_select(&index, 0)?;
        let inside = cuda::upsample_masks(&logits, height, width, 0.0)?;
        let words: Vec<i32> = inside.flatten_all()?.to_vec1()?;
        // 0 of numbers, NaN of all else.
        let zeros: Vec<f32> = (logits * 0.0)?.flatten_from(1)?.sum(1)?.to_vec1()?;
        let mask = |(of, zero): (&[i32], f32)| {
            let is_finite = zero == 0.0;
            is_finite.then(|| Mask::from_half_words(width as u32, height as u32, of))
        };
        masks.extend(words.chunks_exact(words.len() / some.len()).zip(zeros).map(mask));
    }
    Ok(masks)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use super::{masks, pixels};
    use crate::{
        image::Image,
        ops::{
            host::as_accelerator,
            testing::{assert_close, tensor, values},
        },
    };

    #[test]
    fn an_accelerator_sees_the_same_picture() {
        for (width, height, size) in [(1, 1, 3), (31, 7, 33), (300, 200, 56)] {
            let rgb = (0..width * height * 3).map(|i| (i * 37 % 251) as u8).collect();
            let image = Image::new(width, height, rgb).unwrap();
            let found = as_accelerator(|| pixels(&image, size, &Device::Cpu)).unwrap();
            let expected = pixels(&image, size, &Device::Cpu).unwrap();
            assert_close(&found, &expected, 0.0, &format!("{width}×{height} → {size}"));
        }
    }

    #[test]
    fn an_accelerator_makes_the_same_masks() {
        let logits = tensor(&[5, 9, 7], 1);
        for (height, width) in [(1, 1), (31, 129), (4, 3)] {
            let expected = masks(&logits, &[4, 0], height, width).unwrap();
            let found = as_accelerator(|| masks(&logits, &[4, 0], height, width)).unwrap();
            assert_eq!(found, expected, "{height}×{width}");
            assert_eq!(masks(&logits, &[], height, width).unwrap(), []);
        }
    }

    #[test]
    fn a_mask_of_what_is_no_number_is_none() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            // At the corners, which a smaller mask does not look at.
            for place in [0, 62, 31] {
                let mut logits = values(3 * 63, 1);
                logits[63 + place] = bad;
                let logits = Tensor::from_vec(logits, (3, 9, 7), &Device::Cpu).unwrap();
                let found = || {
                    let found = masks(&logits, &[0, 1, 2], 4, 3).unwrap();
                    found.iter().map(Option::is_some).collect::<Vec<_>>()
                };
                assert_eq!(found(), [true, false, true], "{bad} at {place}");
                assert_eq!(as_accelerator(found), [true, false, true], "{bad} at {place}");
            }
        }
    }
}
