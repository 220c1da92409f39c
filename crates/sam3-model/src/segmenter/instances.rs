//! What the model's raw outputs mean: instances with scores, boxes and masks.

use sam3_tensor::ops::{self, logistic};

use super::Encoded;
use crate::{
    error::{Error, Result},
    masks::Mask,
    model::Detections,
};

/// Bytes of masks that have the bits of all pixels at once; then those of the object's surroundings are kept alone.
const MASK_BYTES: usize = 64 << 20;

/// One thing that was found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Instance {
    /// Confidence, 0 to 1.
    pub score: f32,
    /// `x1, y1, x2, y2` in pixels; the model's own box, not the mask's.
    pub bbox: [f32; 4],
    /// Its pixels, at the image's size.
    pub mask: Mask,
}

impl Instance {
    /// Of these parts.
    pub fn new(score: f32, bbox: [f32; 4], mask: Mask) -> Self {
        Self { score, bbox, mask }
    }

    /// The same in a picture of `width` × `height` pixels, of which its own is the part that begins at (x, y).
    pub(crate) fn in_picture(self, extents: (u32, u32), (x, y): (u32, u32)) -> Self {
        let [x1, y1, x2, y2] = self.bbox;
        let (dx, dy) = (x as f32, y as f32);
        Self {
            score: self.score,
            bbox: [x1 + dx, y1 + dy, x2 + dx, y2 + dy],
            mask: self.mask.paste(extents, (x, y)),
        }
    }
}

impl Detections {
    /// Probability that the image holds what was asked for at all.
    ///
    /// # Errors
    /// When it is no number, or the device fails.
    pub fn presence(&self) -> Result<f32> {
        let logit = self.presence_logits.to_vec::<f32>()?[0];
        finite("presence logits", [logit])?;
        Ok(logistic(logit))
    }

    /// The queries whose score is above `threshold`, with masks at the size of the image that was encoded.
    ///
    /// # Errors
    /// When a score, or the box or the mask of a query that is kept, is no number; or the device fails.
    pub fn instances(&self, encoded: &Encoded, threshold: f32) -> Result<Vec<Instance>> {
        let scores = self.scores()?;
        let kept: Vec<usize> = (0..scores.len()).filter(|&query| scores[query] > threshold).collect();
        self.instances_of(encoded, &scores, kept)
    }

    /// As [`instances`](Self::instances), of which `most` with the best scores, best first. Masks are made of these
    /// alone.
    ///
    /// # Errors
    /// As [`instances`](Self::instances).
    pub fn best_instances(&self, encoded: &Encoded, threshold: f32, most: usize) -> Result<Vec<Instance>> {
        let scores = self.scores()?;
        let mut kept: Vec<usize> = (0..scores.len()).filter(|&query| scores[query] > threshold).collect();
        kept.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
        kept.truncate(most);
        self.instances_of(encoded, &scores, kept)
    }

    /// Each query's score.
    fn scores(&self) -> Result<Vec<f32>> {
        let presence = self.presence()?;
        let logits = self.pred_logits.to_vec::<f32>()?;
        finite("scores", logits.iter().copied())?;
        Ok(logits.into_iter().map(|logit| logistic(logit) * presence).collect())
    }

    fn instances_of(&self, encoded: &Encoded, scores: &[f32], kept: Vec<usize>) -> Result<Vec<Instance>> {
        let boxes = self.pred_boxes.to_vec::<f32>()?;
        let (width, height) = (encoded.width as f32, encoded.height as f32);
        let instance = |query: usize, words: Option<Vec<u64>>| {
            let xyxy = &boxes[4 * query..][..4];
            finite("boxes", xyxy.iter().copied())?;
            Ok(Instance {
                score: scores[query],
                bbox: [xyxy[0] * width, xyxy[1] * height, xyxy[2] * width, xyxy[3] * height],
                mask: match words {
                    Some(words) => Mask::from_words(encoded.width, encoded.height, words),
                    None => return Err(not_finite("masks")),
                },
            })
        };
        if kept.is_empty() {
            return Ok(Vec::new());
        }
        let size = (encoded.height as usize, encoded.width as usize);
        let logits_of_masks = self.pred_masks.of(&kept)?;
        let at_once = (MASK_BYTES / (size.0 * size.1 / 8).max(1)).clamp(1, kept.len());
        let mut instances = Vec::with_capacity(kept.len());
        for (start, queries) in (0..).step_by(at_once).zip(kept.chunks(at_once)) {
            let masks = ops::masks(&logits_of_masks.rows(start, queries.len())?, size.0, size.1)?;
            for (&query, words) in queries.iter().zip(masks) {
                instances.push(instance(query, words)?);
            }
        }
        Ok(instances)
    }
}

/// That every value of one of the model's outputs is a number.
pub(super) fn finite(output: &str, values: impl IntoIterator<Item = f32>) -> Result<()> {
    if values.into_iter().all(f32::is_finite) {
        return Ok(());
    }
    Err(not_finite(output))
}

fn not_finite(output: &str) -> Error {
    Error::NotFinite(format!(
        "the model's {output} hold an infinity or NaN: a value in the model was beyond the range of what it was computed in"
    ))
}
