//! The logits that the objects of texts have on a frame, noted as the tracker is asked.

use std::collections::BTreeMap;

use crate::{
    error::Result,
    predictor::{InferenceState, OnFrame},
    tracking::{MaskPrompt, MemoryMask, ObjectId, Tracked, Tracker, Visit},
};

/// A tracker that notes the logits of each object: where it is found first, the detection's, else what it returns.
pub struct Recording<'a, 'b> {
    tracker: OnFrame<'a>,
    low_res: &'b mut BTreeMap<ObjectId, Vec<f32>>,
}

impl<'a, 'b> Recording<'a, 'b> {
    pub fn new(tracker: OnFrame<'a>, low_res: &'b mut BTreeMap<ObjectId, Vec<f32>>) -> Self {
        Self { tracker, low_res }
    }
}

impl Tracker for Recording<'_, '_> {
    type Group = InferenceState;

    fn new_group(&mut self) -> InferenceState {
        self.tracker.new_group()
    }

    fn propagate(&mut self, group: &mut InferenceState, visit: Visit) -> Result<Vec<Tracked>> {
        let tracked = Tracker::propagate(&mut self.tracker, group, visit)?;
        for (&id, tracked) in group.ids().iter().zip(&tracked) {
            // On the frame that it was found on it comes back as it was shown there.
            self.low_res.entry(id).or_insert_with(|| tracked.logits.clone());
        }
        Ok(tracked)
    }

    fn add_mask(&mut self, group: &mut InferenceState, frame: usize, prompt: &MaskPrompt<'_>) -> Result<()> {
        self.low_res.entry(prompt.id).or_insert_with(|| prompt.logits.to_vec());
        self.tracker.add_mask(group, frame, prompt)
    }

    fn commit(&mut self, group: &mut InferenceState, frame: usize) -> Result<()> {
        self.tracker.commit(group, frame)
    }

    fn encode_memory(&mut self, group: &mut InferenceState, frame: usize, masks: &[MemoryMask<'_>]) -> Result<()> {
        self.tracker.encode_memory(group, frame, masks)
    }

    fn remove(&mut self, group: &mut InferenceState, id: ObjectId) -> Result<()> {
        self.tracker.remove(group, id)
    }
}
