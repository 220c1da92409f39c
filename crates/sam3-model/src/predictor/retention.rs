//! Which frames can be forgotten: those that no frame to come can be found by.

use std::collections::BTreeSet;

use super::bank::{Bank, Kind, MAX_COND_FRAMES, MAX_MEMORIES, MAX_POINTERS};
use crate::tracking::{Direction, Visit};

/// What is kept of the frames that were visited.
///
/// Where frames are forgotten, each frame is visited once on a walk, in order, and prompts are given on the frame that
/// was visited last or on frames ahead. What is found then is the same as if all were kept, but for two things. Of more
/// than four conditioning frames, those that are kept may be looked at in another order: sums are rounded otherwise.
/// And where an object is removed, frames that it alone spoiled do not come back, nor conditioning frames beyond four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// All of them: prompts and walks may go anywhere. Of SAM 3, 1 MB an object and frame.
    #[default]
    All,
    /// What the walk under way can still use, whichever way it goes: of SAM 3, 8 MB an object.
    ThisWalk,
    /// The same, and what a walk backward from this frame can use, which comes later: twice that.
    ThenBackwardFrom(usize),
}

impl Retention {
    /// Forgets what nothing to come can use, once `visit` is done.
    pub(super) fn trim(self, bank: &mut Bank, visit: Visit) {
        let next = match visit.direction {
            Direction::Forward => Some(visit.frame + 1),
            Direction::Backward => visit.frame.checked_sub(1),
        };
        let next = next.map(|frame| Visit { frame, ..visit });
        let later = match (self, visit.direction) {
            (Self::All, _) => return,
            (Self::ThenBackwardFrom(frame), Direction::Forward) => Some(Visit {
                frame,
                direction: Direction::Backward,
            }),
            _ => None,
        };
        let walks: Vec<Walk> = [next, later]
            .into_iter()
            .flatten()
            .map(|from| Walk::new(bank, from))
            .collect();
        let is_ahead = |frame: usize| walks.iter().any(|walk| walk.from.since(frame) <= 0);
        bank.retain(|frame, kind| {
            frame == visit.frame
                || match kind {
                    Kind::Cond => walks.iter().any(|walk| walk.cond.contains(&frame)),
                    Kind::Tracked => walks.iter().any(|walk| walk.valid.contains(&frame)),
                }
        });
        for (frame, kind, record) in bank.records_mut() {
            let has_memory = kind == Kind::Cond || walks.iter().any(|walk| walk.memories.contains(&frame));
            let is_shown = frame == visit.frame || kind == Kind::Cond && is_ahead(frame);
            for object in &mut record.objects {
                if !has_memory {
                    object.memory = None;
                }
                if !is_shown {
                    object.low_res = None;
                }
            }
        }
    }
}

/// What a walk from a frame on can use.
struct Walk {
    from: Visit,
    cond: BTreeSet<usize>,
    valid: BTreeSet<usize>,
    memories: BTreeSet<usize>,
}

impl Walk {
    fn new(bank: &Bank, from: Visit) -> Self {
        let (ahead, mut behind): (Vec<usize>, Vec<usize>) = bank
            .cond_frames()
            .into_iter()
            .partition(|&frame| from.since(frame) <= 0);
        behind.sort_by_key(|&frame| from.since(frame));
        behind.truncate(MAX_COND_FRAMES);
        let neighbour = match from.direction {
            Direction::Forward => from.frame.checked_sub(1),
            Direction::Backward => Some(from.frame + 1),
        };
        let good: Vec<usize> = bank.good_behind(from).take(MAX_POINTERS - 1).collect();
        let nearest = |count: usize| good.iter().take(count).copied().chain(neighbour).collect();
        Self {
            from,
            cond: ahead.into_iter().chain(behind).collect(),
            valid: nearest(good.len()),
            memories: nearest(MAX_MEMORIES),
        }
    }
}

#[cfg(test)]
mod tests {
    use sam3_tensor::{DType, Device, Tensor};

    use super::*;
    use crate::predictor::bank::{Record, Remembered, Selection};

    /// What is remembered of a frame, well found or not.
    fn record(is_good: bool) -> Record {
        let tensor = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
        let object = Remembered {
            score: if is_good { 5.0 } else { -5.0 },
            iou: 0.9,
            pointer: tensor.clone(),
            low_res: Some(tensor.clone()),
            memory: Some(tensor),
        };
        Record { objects: vec![object] }
    }

    /// One bank that forgets nothing, and one that does.
    struct Banks {
        all: Bank,
        kept: Bank,
        retention: Retention,
        state: u32,
        most: [usize; 4],
    }

    impl Banks {
        fn new(retention: Retention) -> Self {
            Self {
                all: Bank::default(),
                kept: Bank::default(),
                retention,
                state: 1,
                most: [0; 4],
            }
        }

        fn draws(&mut self, of: u32) -> bool {
            self.state = self.state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (self.state >> 16).is_multiple_of(of)
        }

        fn condition(&mut self, frame: usize) {
            self.all.condition(frame, record(true));
            self.kept.condition(frame, record(true));
        }

        /// Visits a frame; `prompts` is how rarely it becomes a conditioning frame after that, and `bad` how rarely
        /// nothing is found on it.
        fn visit(&mut self, visit: Visit, prompts: u32, bad: u32) {
            if let Some(record) = self.kept.cond(visit.frame) {
                let has_masks = |object: &Remembered| object.low_res.is_some() && object.memory.is_some();
                assert!(record.objects.iter().all(has_masks), "{visit:?}");
            } else {
                let [all, kept] = [&self.all, &self.kept].map(|bank| bank.select(visit, None));
                self.check(visit, &all, &kept);
                let is_good = !self.draws(bad);
                self.all.track(visit.frame, record(is_good));
                self.kept.track(visit.frame, record(is_good));
            }
            if self.draws(prompts) {
                self.condition(visit.frame);
            }
            self.retention.trim(&mut self.kept, visit);
            self.count();
        }

        fn check(&self, visit: Visit, all: &Selection, kept: &Selection) {
            assert_eq!(kept.valid, all.valid, "{visit:?}");
            for (all, kept) in [(&all.memories, &kept.memories), (&all.pointers, &kept.pointers)] {
                let in_order = |choices: &[crate::predictor::bank::Choice]| {
                    let mut list: Vec<_> = choices.iter().map(|choice| (choice.frame, choice.place)).collect();
                    list.sort_unstable();
                    list
                };
                assert_eq!(in_order(kept), in_order(all), "{visit:?}");
            }
            for choice in &kept.memories {
                let record = self.kept.chosen(choice);
                assert!(record.objects[0].memory.is_some(), "{choice:?} at {visit:?}");
            }
        }

        /// Frames, memories and masks that are kept, at the most.
        fn count(&mut self) {
            let mut counts = [0; 4];
            for (_, kind, record) in self.kept.records_mut() {
                let object = &record.objects[0];
                counts[0] += 1;
                counts[1] += usize::from(object.memory.is_some());
                counts[2] += usize::from(object.low_res.is_some());
                counts[3] += usize::from(kind == Kind::Cond);
            }
            self.most = std::array::from_fn(|i| self.most[i].max(counts[i]));
        }
    }

    fn walk(frames: impl Iterator<Item = usize>, direction: Direction) -> impl Iterator<Item = Visit> {
        frames.map(move |frame| Visit { frame, direction })
    }

    #[test]
    fn a_walk_finds_the_same_from_what_is_kept_and_that_does_not_grow() {
        for (prompts, bad) in [(1_000_000, 1_000_000), (16, 3), (2, 2), (50, 1)] {
            for direction in [Direction::Forward, Direction::Backward] {
                let mut banks = Banks::new(Retention::ThisWalk);
                let mut frames: Vec<usize> = (0..4000).collect();
                if direction == Direction::Backward {
                    frames.reverse();
                }
                // A few prompts ahead, too.
                for place in [0, 3, 40, 41, 42, 43, 44, 300] {
                    banks.condition(frames[place]);
                }
                for visit in walk(frames.into_iter(), direction) {
                    banks.visit(visit, prompts, bad);
                }
                let [frames, memories, masks, cond] = banks.most;
                assert!(frames <= 16 + 5 + 8, "{frames} frames");
                assert!(memories <= 7 + 5 + 8, "{memories} memories");
                assert!(
                    masks <= 1 + 8 && cond <= 5 + 8,
                    "{masks} masks, {cond} conditioning frames"
                );
            }
        }
    }

    #[test]
    fn back_from_a_frame_the_same_is_found_after_all_others() {
        for (prompts, bad) in [(1_000_000, 1_000_000), (16, 3), (2, 2), (50, 1)] {
            let mut banks = Banks::new(Retention::ThenBackwardFrom(1499));
            [1500, 1503, 1600].into_iter().for_each(|frame| banks.condition(frame));
            for visit in walk(1500..4000, Direction::Forward) {
                banks.visit(visit, prompts, bad);
            }
            let [frames, memories, masks, _] = banks.most;
            assert!(
                frames <= 2 * 21 + 3 && memories <= 2 * 12 + 3 && masks <= 4,
                "{:?}",
                banks.most
            );
            for visit in walk((0..1500).rev(), Direction::Backward) {
                banks.visit(visit, 1_000_000, bad);
            }
        }
    }
}
