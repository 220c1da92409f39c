//! A tracker that is a table, and writes down what it is asked.

use super::{
    super::{MaskPrompt, MemoryLogits, MemoryMask, ObjectId, Tracked, Tracker, Visit, thresholds},
    script::{Event, Script},
};
use crate::{Result, masks::Mask};

/// Answers from a script, whatever was asked before.
pub struct Table<'a> {
    pub script: &'a Script,
    pub events: Vec<Event>,
}

impl Table<'_> {
    fn area(&self, logits: &[f32]) -> Result<u64> {
        let side = self.script.mask_side;
        let size = (thresholds::MASK_INPUT_SCALE * side) as u32;
        Ok(Mask::from_logits(logits, (side, side), (size, size))?.area())
    }
}

impl Tracker for Table<'_> {
    type Group = Vec<ObjectId>;

    fn new_group(&mut self) -> Vec<ObjectId> {
        Vec::new()
    }

    fn propagate(&mut self, group: &mut Vec<ObjectId>, visit: Visit) -> Result<Vec<Tracked>> {
        Ok(group.iter().map(|&id| self.script.track(visit.frame, id)).collect())
    }

    fn add_mask(&mut self, group: &mut Vec<ObjectId>, frame: usize, prompt: &MaskPrompt<'_>) -> Result<()> {
        let detection = &self.script.detections(frame)[prompt.query];
        assert_eq!(
            prompt.logits, detection.logits,
            "query {} on frame {frame}",
            prompt.query
        );
        let (id, area) = (prompt.id, self.area(prompt.logits)?);
        self.events.push(if group.contains(&id) {
            let group = group.clone();
            Event::Recondition { id, area, group }
        } else {
            group.push(id);
            let group = group.clone();
            Event::New { id, area, group }
        });
        Ok(())
    }

    fn commit(&mut self, group: &mut Vec<ObjectId>, _: usize) -> Result<()> {
        self.events.push(Event::Commit { group: group.clone() });
        Ok(())
    }

    fn encode_memory(&mut self, group: &mut Vec<ObjectId>, frame: usize, masks: &[MemoryMask<'_>]) -> Result<()> {
        assert!(
            masks.iter().map(|mask| mask.id).eq(group.iter().copied()),
            "a mask for each object, in order"
        );
        let area = |mask: &MemoryMask<'_>| match mask.logits {
            MemoryLogits::Suppressed => Ok(0),
            _ if mask.is_capped => Ok(0),
            MemoryLogits::Cleaned(logits) => self.area(logits),
            MemoryLogits::AsTracked => self.area(&self.script.track(frame, mask.id).logits),
        };
        let area = masks.iter().map(area).collect::<Result<_>>()?;
        self.events.push(Event::Memory {
            group: group.clone(),
            area,
            score: masks
                .iter()
                .map(|mask| if mask.is_present { 10.0 } else { -10.0 })
                .collect(),
        });
        Ok(())
    }

    fn remove(&mut self, group: &mut Vec<ObjectId>, id: ObjectId) -> Result<()> {
        group.retain(|own| *own != id);
        self.events.push(Event::Remove { id });
        Ok(())
    }
}
