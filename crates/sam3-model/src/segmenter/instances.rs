//! What the model's raw outputs mean: instances with scores, boxes and masks.

use sam3_tensor::ops::{self, logistic};

use super::Encoded;
use crate::{
    error::{Error, Result},
    masks::Mask,
    model::Detections,
};

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
        let size = (encoded.height as usize, encoded.width as usize);
        let masks = match kept[..] {
            [] => Vec::new(),
            _ => ops::masks(&self.pred_masks.of(&kept)?, size.0, size.1)?,
        };
        let instance = |(query, words): (usize, Option<Vec<u64>>)| {
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
        kept.into_iter().zip(masks).map(instance).collect()
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
