//! What tracking by text asks of the networks, answered by them.

use sam3_tensor::{Tensor, ops::interpolate};

use super::{
    OnFrame,
    state::{InferenceState, Input},
    track::to_memory,
};
use crate::{
    Result,
    masks::Mask,
    tracking::{MaskPrompt, MemoryLogits, MemoryMask, ObjectId, Tracked, Tracker, Visit, thresholds::NO_MASK_LOGIT},
};

impl Tracker for OnFrame<'_> {
    type Group = InferenceState;

    fn new_group(&mut self) -> InferenceState {
        self.predictor.new_state()
    }

    fn propagate(&mut self, group: &mut InferenceState, visit: Visit) -> Result<Vec<Tracked>> {
        assert_eq!(visit.frame, self.frame.index, "the frame whose features are here");
        OnFrame::propagate(self, group, visit.direction)
    }

    fn add_mask(&mut self, group: &mut InferenceState, frame: usize, prompt: &MaskPrompt<'_>) -> Result<()> {
        assert_eq!(frame, self.frame.index, "the frame whose features are here");
        let (low, high) = (self.predictor.side(), self.predictor.mask_input_side() as u32);
        let mask = Mask::from_logits(prompt.logits, (low, low), (high, high))?;
        self.add_mask_input(group, prompt.id, &mask, Input::Detection)
    }

    fn commit(&mut self, group: &mut InferenceState, frame: usize) -> Result<()> {
        // Who was propagated to this frame is remembered on it as it was found, whatever a commit encodes.
        let is_visited = group
            .visited
            .as_ref()
            .is_some_and(|visited| visited.visit.frame == frame);
        self.predictor.commit_frame(group, frame, !is_visited)
    }

    fn encode_memory(&mut self, group: &mut InferenceState, frame: usize, masks: &[MemoryMask<'_>]) -> Result<()> {
        assert_eq!(frame, self.frame.index, "the frame whose features are here");
        let memories: Vec<Tensor> = masks
            .iter()
            .enumerate()
            .map(|(place, mask)| self.memory(group, place, mask))
            .collect::<Result<_>>()?;
        let record = group.bank.get_mut(frame).expect("it was propagated");
        for (object, memory) in record.objects.iter_mut().zip(memories) {
            object.memory = Some(memory);
        }
        self.leave(group);
        Ok(())
    }

    fn remove(&mut self, group: &mut InferenceState, id: ObjectId) -> Result<()> {
        group.remove(id);
        Ok(())
    }
}

impl OnFrame<'_> {
    /// A mask to remember, encoded.
    fn memory(&self, group: &InferenceState, place: usize, mask: &MemoryMask<'_>) -> Result<Tensor> {
        let (predictor, side) = (self.predictor, self.predictor.side());
        let pix_feat = self.pix_feat()?;
        let low_res = match mask.logits {
            MemoryLogits::AsTracked => group.visited.as_ref().expect("it was propagated").low_res[place].clone(),
            MemoryLogits::Cleaned(logits) => pix_feat.new_tensor(logits.to_vec(), (side, side))?,
            MemoryLogits::Suppressed => pix_feat.new_tensor(vec![NO_MASK_LOGIT; side * side], (side, side))?,
        };
        let side = predictor.mask_input_side();
        let mut logits = interpolate(&low_res, (side, side))?;
        if mask.is_capped {
            logits = logits.clamp(f32::MIN, NO_MASK_LOGIT)?;
        }
        let memory = predictor
            .model
            .encode_memory(pix_feat, &to_memory(&logits)?, mask.is_present)?;
        predictor.stored(&memory)
    }
}
