//! Which frames can be forgotten: those that no frame to come can be found by.

use std::collections::BTreeSet;

use super::bank::{Bank, Kind, MAX_COND_FRAMES, MAX_MEMORIES, MAX_POINTERS};
use crate::tracking::{Direction, Visit};

/// What is kept of the frames that were visited.
///
/// Where frames are forgotten, each frame is visited once on a walk, in order, and prompts are given on the frame that was
/// visited last or on frames ahead. What is found is the same then as if all were kept, with two exceptions. Where more than
/// four conditioning frames were made and the kept ones are, they are looked at in another order. And where an object is
/// removed, frames that it alone spoiled do not come back, nor do conditioning frames beyond the nearest four.
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
