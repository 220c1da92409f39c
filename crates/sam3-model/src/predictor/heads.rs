//! Which of the decoder's masks an object has, and what its pointer is (official `_forward_sam_heads`).

use sam3_tensor::Tensor;

use super::Predictor;
use crate::{Result, model::Decoded, segmenter::Answer, tracking::Tracked};

/// The logits of an object that is not there.
const NO_OBJ_SCORE: f32 = -1024.0;

/// What the heads say of one object.
pub struct Head {
    /// `[side, side]`.
    pub low_res: Tensor,
    /// `[d_model]`.
    pub pointer: Tensor,
    /// The same logits in main memory, with the score and the predicted IoU.
    pub tracked: Tracked,
}

impl Predictor {
    /// Of what was decoded: the best of three masks, or the one of clear objects where it is stable.
    ///
    /// # Errors
    /// When it holds what is no number, or the device fails.
    pub(super) fn head(&self, decoded: &Decoded, is_multimask: bool) -> Result<Head> {
        let answer = Answer::of(decoded)?;
        // The pointer is officially of the token of clear objects even where another mask was taken.
        let (mask, token) = match is_multimask {
            true => [answer.best_of_three(); 2].into(),
            false => (answer.single(), 0),
        };
        let tracked = |logits| Tracked {
            logits,
            object_score: answer.object_score,
            iou: Some(answer.iou(mask)),
        };
        if answer.object_score > 0.0 {
            return Ok(Head {
                // A copy: as a part of the four it would keep them all.
                low_res: Tensor::cat(&[decoded.masks.get(mask)?], 0)?,
                pointer: self.model.pointer(decoded, token)?,
                tracked: tracked(answer.logits(mask).to_vec()),
            });
        }
        let low_res = self.no_object(&decoded.masks)?;
        Ok(Head {
            pointer: self.model.no_pointer()?,
            tracked: tracked(low_res.to_vec()?),
            low_res,
        })
    }

    /// The mask of an object that is not there, where `like` is.
    pub(super) fn no_object(&self, like: &Tensor) -> Result<Tensor> {
        let side = self.side();
        Ok(like.new_tensor(vec![NO_OBJ_SCORE; side * side], (side, side))?)
    }
}
