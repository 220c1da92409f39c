//! What goes into a model and what comes out of it, in pixels: done where the model runs.

use crate::{Device, Result, Tensor, storage::reserved};

use super::{cuda, host, resize, upsample};

/// Bytes of masks that are on an accelerator at once.
const MASK_BYTES: usize = 64 << 20;

/// A picture, `rgb` `[height, width, 3]`, as a model wants it: `[3, size, size]` in -1 to 1, on `device`.
///
/// Resized as torchvision does it, bit for bit. An accelerator is given the picture's bytes, once, and resizes them
/// itself.
///
/// # Errors
/// When there is no room, or the device fails.
pub fn pixels(rgb: &[u8], extents: (usize, usize), size: usize, device: &Device) -> Result<Tensor> {
    if host::is_main_memory(device) {
        return Tensor::from_vec(resize::normalized(rgb, extents, size)?, (3, size, size), device);
    }
    cuda::resize_normalize_from(rgb, extents, size, device)
}

/// Masks of `logits`, `[n, h, w]`, at a picture's size; none where a logit is not finite. A mask has a bit a
/// pixel, set where the resized logit is positive: pixel x of a row is bit x % 64 of its word x / 64.
///
/// # Errors
/// When there is no room, or the device fails.
pub fn masks(logits: &Tensor, height: usize, width: usize) -> Result<Vec<Option<Vec<u64>>>> {
    let (n, h, w) = logits.dims3()?;
    if host::is_host(logits) {
        let mask = |logits: &[f32]| {
            if !logits.iter().all(|logit| logit.is_finite()) {
                return Ok(None);
            }
            upsample::upsample_threshold(logits, (h, w), (height, width)).map(Some)
        };
        return logits.values::<f32>()?.chunks_exact((h * w).max(1)).map(mask).collect();
    }
    let at_once = (MASK_BYTES / (height * width / 8).max(1)).clamp(1, n.max(1));
    let mut masks = Vec::with_capacity(n);
    for start in (0..n).step_by(at_once) {
        let some = logits.rows(start, at_once.min(n - start))?;
        let inside = cuda::upsample_masks(&some, height, width, 0.0)?;
        let words: Vec<i32> = inside.to_vec()?;
        // 0 of numbers, NaN of all else.
        let zeros: Vec<f32> = (some * 0.0)?.flatten_from(1)?.sum_rows()?.to_vec()?;
        for (of, zero) in words.chunks_exact(words.len() / zeros.len()).zip(zeros) {
            masks.push(if zero == 0.0 { Some(pairs(of)?) } else { None });
        }
    }
    Ok(masks)
}

/// Words of 64 pixels out of pairs of 32.
fn pairs(words: &[i32]) -> Result<Vec<u64>> {
    let (words, _) = words.as_chunks::<2>();
    let mut pairs = reserved(words.len())?;
    pairs.extend(
        words
            .iter()
            .map(|[low, high]| u64::from(low.cast_unsigned()) | u64::from(high.cast_unsigned()) << 32),
    );
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use crate::{Device, Tensor};

    use super::{masks, pixels};
    use crate::ops::{
        host::as_accelerator,
        testing::{assert_close, tensor, values},
    };

    #[test]
    fn an_accelerator_sees_the_same_picture() {
        for (width, height, size) in [(1, 1, 3), (31, 7, 33), (300, 200, 56)] {
            let rgb: Vec<u8> = (0..width * height * 3).map(|i| (i * 37 % 251) as u8).collect();
            let run = || pixels(&rgb, (height, width), size, &Device::Cpu).unwrap();
            let (expected, found) = (run(), as_accelerator(run));
            assert_close(&found, &expected, 0.0, &format!("{width}×{height} → {size}"));
        }
    }

    #[test]
    fn an_accelerator_makes_the_same_masks() {
        let logits = tensor(&[5, 9, 7], 1);
        for (height, width) in [(1, 1), (31, 129), (4, 3)] {
            let expected = masks(&logits, height, width).unwrap();
            let found = as_accelerator(|| masks(&logits, height, width)).unwrap();
            assert_eq!(found, expected, "{height}×{width}");
            assert_eq!(masks(&logits.rows(0, 0).unwrap(), height, width).unwrap(), []);
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
                    let found = masks(&logits, 4, 3).unwrap();
                    found.iter().map(Option::is_some).collect::<Vec<_>>()
                };
                assert_eq!(found(), [true, false, true], "{bad} at {place}");
                assert_eq!(as_accelerator(found), [true, false, true], "{bad} at {place}");
            }
        }
    }
}
