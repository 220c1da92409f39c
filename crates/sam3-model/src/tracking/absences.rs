//! Objects of a video without an end that nobody has seen for long.

use std::collections::BTreeMap;

use super::{FrameResult, ObjectId};

/// Finds who may be let go of. Officially no object is ever forgotten, which a clip can afford: an object that is hidden
/// costs as much as one that is seen, and through a camera's frames people go by for days.
#[derive(Debug)]
pub struct Absences {
    most: usize,
    /// For how many frames each object was not seen.
    unseen: BTreeMap<ObjectId, usize>,
}

impl Default for Absences {
    /// Twice the frames after which the official code hides an object that no detection confirms.
    fn default() -> Self {
        Self::new(60)
    }
}

impl Absences {
    /// Objects may stay away for `most` frames.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            unseen: BTreeMap::new(),
        }
    }

    /// Of the objects that are `followed` after a frame's result, those that were away for longer. A session removes
    /// them; objects in `kept`, as those that somebody clicked, stay.
    pub fn after(&mut self, result: &FrameResult, followed: &[ObjectId], kept: &[ObjectId]) -> Vec<ObjectId> {
        self.unseen.retain(|id, _| followed.contains(id));
        for id in followed {
            let frames = self.unseen.entry(*id).or_default();
            let is_seen = result.objects.iter().any(|object| object.id == *id);
            *frames = if is_seen { 0 } else { *frames + 1 };
        }
        let is_gone = |(id, frames): (&ObjectId, &usize)| (*frames > self.most && !kept.contains(id)).then_some(*id);
        self.unseen.iter().filter_map(is_gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_away_for_long_is_let_go_of() {
        let mut absences = Absences::new(2);
        let nobody = FrameResult::default();
        assert!(absences.after(&nobody, &[4, 7, 9], &[9]).is_empty());
        assert!(absences.after(&nobody, &[4, 7, 9], &[9]).is_empty());
        assert_eq!(absences.after(&nobody, &[4, 7, 8, 9], &[9]), [4, 7]);
        // They were removed, and a number may not come back before its time.
        assert!(absences.after(&nobody, &[8, 9], &[9]).is_empty());
        assert_eq!(absences.after(&nobody, &[4, 8, 9], &[9]), [8]);
    }
}
