//! What is remembered of objects, frame by frame, and which of it the next frame is found by.

use std::collections::BTreeMap;

use sam3_tensor::Tensor;

use crate::tracking::{Direction, Visit};

/// Conditioning frames that are looked at, at most (official `max_cond_frames_in_attn`).
pub const MAX_COND_FRAMES: usize = 4;
/// Frames whose masks are remembered, of those that no prompt is on (official `num_maskmem - 1`).
pub const MAX_MEMORIES: usize = 6;
/// Frames that pointers come from, at most (official `max_obj_ptrs_in_encoder`).
pub const MAX_POINTERS: usize = 16;
/// The row of `maskmem_tpos_enc` of conditioning frames.
const COND_ROW: usize = 6;
/// Frames are looked at on which objects are found better than this (official `mf_threshold`).
pub const EFF_THRESHOLD: f32 = 0.01;

/// What is remembered of one object on one frame.
#[derive(Clone)]
pub struct Remembered {
    /// The logit of its being there.
    pub score: f32,
    /// What is predicted of the mask's fit.
    pub iou: f32,
    /// `[d_model]`: what the object is.
    pub pointer: Tensor,
    /// Logits, `[side, side]`: for prompts on this frame, and to be shown again. None once neither can be.
    pub low_res: Option<Tensor>,
    /// `[grid², memory width]`: where it is. None until it is encoded, and once it can be looked at no more.
    pub memory: Option<Tensor>,
}

/// One frame: its objects, in the order of the state's ids.
#[derive(Clone, Default)]
pub struct Record {
    pub objects: Vec<Remembered>,
}

impl Record {
    /// How well the objects are found (official `eff_iou_score`): the mean of how surely they are there, times the mean
    /// of what is predicted of their masks. So one bad object may spoil a frame for its group.
    pub fn eff(&self) -> f32 {
        let count = self.objects.len() as f32;
        let mean = |of: fn(&Remembered) -> f32| self.objects.iter().map(of).sum::<f32>() / count;
        mean(|object| certainty(object.score)) * mean(|object| object.iou)
    }
}

/// 0 of objects that are not there, up to 1.
fn certainty(score: f32) -> f32 {
    if score > 0.0 {
        2.0 / (1.0 + (-score).exp()) - 1.0
    } else {
        0.0
    }
}

/// All frames of a state.
#[derive(Default)]
pub struct Bank {
    /// Conditioning frames, in the order in which they became that.
    cond: Vec<(usize, Record)>,
    /// The others.
    tracked: BTreeMap<usize, Record>,
}

/// Which kind of frame a memory is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Cond,
    Tracked,
}

/// A frame that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub frame: usize,
    pub kind: Kind,
    /// Of a memory, the row of `maskmem_tpos_enc`; of a pointer, its distance in time.
    pub place: usize,
}

/// What a frame is found by.
#[derive(Debug, Default, PartialEq)]
pub struct Selection {
    /// Frames that objects were found on well enough, the nearest last, and the neighbour in any case.
    pub valid: Vec<usize>,
    /// In the order of their tokens.
    pub memories: Vec<Choice>,
    pub pointers: Vec<Choice>,
}

impl Bank {
    /// The conditioning frames, in the order in which they became that.
    pub fn cond_frames(&self) -> Vec<usize> {
        self.cond.iter().map(|(frame, _)| *frame).collect()
    }

    pub fn cond(&self, frame: usize) -> Option<&Record> {
        self.cond
            .iter()
            .find(|(own, _)| *own == frame)
            .map(|(_, record)| record)
    }

    /// What is remembered of a frame, of whichever kind it is.
    pub fn get(&self, frame: usize) -> Option<&Record> {
        self.cond(frame).or_else(|| self.tracked.get(&frame))
    }

    /// As [`get`](Self::get), to be changed.
    pub fn get_mut(&mut self, frame: usize) -> Option<&mut Record> {
        let cond = self.cond.iter_mut().find(|(own, _)| *own == frame);
        match cond {
            Some((_, record)) => Some(record),
            None => self.tracked.get_mut(&frame),
        }
    }

    /// What [`select`](Self::select) chose.
    pub fn chosen(&self, choice: &Choice) -> &Record {
        let record = match choice.kind {
            Kind::Cond => self.cond(choice.frame),
            Kind::Tracked => self.tracked.get(&choice.frame),
        };
        record.expect("what was chosen is there")
    }

    /// Makes a frame a conditioning frame.
    pub fn condition(&mut self, frame: usize, record: Record) {
        self.tracked.remove(&frame);
        match self.cond.iter_mut().find(|(own, _)| *own == frame) {
            Some((_, own)) => *own = record,
            None => self.cond.push((frame, record)),
        }
    }

    /// Makes a conditioning frame one that is tracked.
    pub fn release(&mut self, frame: usize) {
        if let Some(place) = self.cond.iter().position(|(own, _)| *own == frame) {
            self.tracked.insert(frame, self.cond.remove(place).1);
        }
    }

    /// Remembers a frame that no prompt is on.
    pub fn track(&mut self, frame: usize, record: Record) {
        self.tracked.insert(frame, record);
    }

    /// All tensors of all frames.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let cond = self.cond.iter().map(|(_, record)| record);
        let objects = cond.chain(self.tracked.values()).flat_map(|record| &record.objects);
        objects.flat_map(|object| {
            let maps = object.low_res.iter().chain(&object.memory);
            maps.chain([&object.pointer])
        })
    }

    /// Every frame with what is remembered of it.
    pub fn records_mut(&mut self) -> impl Iterator<Item = (usize, Kind, &mut Record)> {
        let cond = self.cond.iter_mut().map(|(frame, record)| (*frame, Kind::Cond, record));
        let tracked = self
            .tracked
            .iter_mut()
            .map(|(frame, record)| (*frame, Kind::Tracked, record));
        cond.chain(tracked)
    }

    /// Forgets frames.
    pub fn retain(&mut self, is_kept: impl Fn(usize, Kind) -> bool) {
        self.cond.retain(|(frame, _)| is_kept(*frame, Kind::Cond));
        self.tracked.retain(|frame, _| is_kept(*frame, Kind::Tracked));
    }

    /// The frames without prompts on which objects were found well, the nearest behind a visit first.
    pub fn good_behind(&self, visit: Visit) -> impl Iterator<Item = usize> {
        let good = |(frame, record): (&usize, &Record)| (record.eff() > EFF_THRESHOLD).then_some(*frame);
        let (forward, backward) = match visit.direction {
            // Officially the walk back stops before frame 0.
            Direction::Forward => (Some(self.tracked.range(1..visit.frame.max(1)).rev()), None),
            Direction::Backward => (None, Some(self.tracked.range(visit.frame + 1..))),
        };
        let forward = forward.into_iter().flatten().filter_map(good);
        forward.chain(backward.into_iter().flatten().filter_map(good))
    }

    /// What a frame is found by, in a video of so many `frames`, where that is known.
    pub fn select(&self, visit: Visit, frames: Option<usize>) -> Selection {
        let conditioning = self.select_cond(visit.frame);
        let most = pointers(frames) - 1;
        let valid = self.valid(visit, frames, most);
        let found = |frame: usize| {
            if self.tracked.contains_key(&frame) {
                Some(Kind::Tracked)
            } else {
                (self.cond(frame).is_some() && !conditioning.contains(&frame)).then_some(Kind::Cond)
            }
        };
        // The k-th from the end, with its place.
        let from_end = |k: usize, place: usize| {
            let frame = *valid.get(valid.len().checked_sub(k)?)?;
            let kind = found(frame)?;
            Some(Choice { frame, kind, place })
        };
        let cond = |frame: usize, place: usize| Choice {
            frame,
            kind: Kind::Cond,
            place,
        };
        let memories = conditioning.iter().map(|&frame| cond(frame, COND_ROW));
        let memories = memories.chain((1..=MAX_MEMORIES).rev().filter_map(|k| from_end(k, k - 1)));
        let past = conditioning.iter().filter_map(|&frame| {
            let distance = usize::try_from(visit.since(frame)).ok()?;
            Some(cond(frame, distance))
        });
        // A pointer's distance is its rank, and the oldest frame gives none: both as officially.
        let ranks = 1..=most.min(valid.len().saturating_sub(1));
        Selection {
            memories: memories.collect(),
            pointers: past.chain(ranks.filter_map(|rank| from_end(rank, rank))).collect(),
            valid,
        }
    }

    /// The conditioning frames that are looked at: all, or the nearest on both sides and then the nearest.
    fn select_cond(&self, frame: usize) -> Vec<usize> {
        let all = self.cond_frames();
        if all.len() <= MAX_COND_FRAMES {
            return all;
        }
        let before = all.iter().copied().filter(|&own| own < frame).max();
        let behind = all.iter().copied().filter(|&own| own >= frame).min();
        let mut selected: Vec<usize> = [before, behind].into_iter().flatten().collect();
        let mut rest: Vec<usize> = all.into_iter().filter(|own| !selected.contains(own)).collect();
        rest.sort_by_key(|own| own.abs_diff(frame));
        rest.truncate(MAX_COND_FRAMES - selected.len());
        selected.extend(rest);
        selected
    }

    fn valid(&self, visit: Visit, frames: Option<usize>, most: usize) -> Vec<usize> {
        let neighbour = match visit.direction {
            Direction::Forward => visit.frame.checked_sub(1),
            Direction::Backward => Some(visit.frame + 1).filter(|next| frames.is_none_or(|count| *next < count)),
        };
        let Some(neighbour) = neighbour else {
            return Vec::new();
        };
        let mut valid: Vec<usize> = self.good_behind(visit).take(most).collect();
        valid.reverse();
        if !valid.contains(&neighbour) {
            valid.push(neighbour);
        }
        valid
    }
}

/// How many frames pointers come from in a video of so many frames.
pub fn pointers(frames: Option<usize>) -> usize {
    frames.map_or(MAX_POINTERS, |frames| frames.clamp(2, MAX_POINTERS))
}

#[cfg(test)]
mod tests {
    use sam3_tensor::{DType, Device};

    use super::*;

    fn object(score: f32, iou: f32) -> Remembered {
        Remembered {
            score,
            iou,
            pointer: Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap(),
            low_res: None,
            memory: None,
        }
    }

    fn record(score: f32) -> Record {
        Record {
            objects: vec![object(score, 0.9)],
        }
    }

    fn forward(frame: usize) -> Visit {
        Visit {
            frame,
            direction: Direction::Forward,
        }
    }

    /// Numbers of memories and pointers of a frame.
    fn counts(bank: &Bank, frame: usize) -> (usize, usize) {
        let selection = bank.select(forward(frame), None);
        (selection.memories.len(), selection.pointers.len())
    }

    #[test]
    fn a_frame_is_as_good_as_its_objects_are_on_average() {
        let eff = |objects: &[(f32, f32)]| Record {
            objects: objects.iter().map(|(score, iou)| object(*score, *iou)).collect(),
        };
        assert!((eff(&[(3.0, 0.8)]).eff() - 0.724_119).abs() < 1e-6);
        assert_eq!(eff(&[(0.0, 0.8)]).eff(), 0.0);
        // A product of means, not the mean of products.
        let of_two = eff(&[(3.0, 0.8), (-1.0, 0.2)]).eff();
        assert!((of_two - 0.905_148 / 2.0 * 0.5).abs() < 1e-6);
    }

    #[test]
    fn memories_and_pointers_come_frame_by_frame() {
        let mut bank = Bank::default();
        bank.condition(3, record(5.0));
        let mut found = Vec::new();
        for frame in 4..30 {
            found.push(counts(&bank, frame));
            bank.track(frame, record(5.0));
        }
        let expected = [(1, 1), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5), (7, 6), (7, 7)];
        assert_eq!(found[..8], expected);
        assert_eq!((found[15], found[25]), ((7, 15), (7, 15)));
        let rows: Vec<usize> = bank
            .select(forward(30), None)
            .memories
            .iter()
            .map(|memory| memory.place)
            .collect();
        assert_eq!(rows, [6, 5, 4, 3, 2, 1, 0]);
        // A bad neighbour is looked at in any case, beside the fifteen good ones.
        bank.track(30, record(-5.0));
        let selection = bank.select(forward(31), None);
        assert_eq!((selection.pointers.len(), selection.memories[6].frame), (16, 30));
        assert!(!bank.select(forward(32), None).valid.contains(&30));
        bank.track(31, record(5.0));
        assert!(!bank.select(forward(32), None).valid.contains(&30));
    }

    #[test]
    fn of_many_conditioning_frames_the_nearest_are_looked_at() {
        let mut bank = Bank::default();
        let conditioning = [0, 3, 6, 9, 40, 43, 46, 49];
        conditioning
            .into_iter()
            .for_each(|frame| bank.condition(frame, record(5.0)));
        for frame in (10..40).filter(|frame| !conditioning.contains(frame)) {
            bank.track(frame, record(5.0));
        }
        assert_eq!(bank.select_cond(30), [9, 40, 43, 46]);
        assert_eq!(bank.select_cond(12), [9, 40, 6, 3]);
        assert_eq!(counts(&bank, 30).0, 10);
        // Pointers are of past ones alone.
        let pointers = bank.select(forward(30), None).pointers;
        assert_eq!((pointers[0].frame, pointers[0].place, pointers[1].frame), (9, 21, 29));
        let backward = Visit {
            direction: Direction::Backward,
            ..forward(30)
        };
        let pointers = bank.select(backward, Some(60)).pointers;
        let ahead: Vec<_> = pointers[..3]
            .iter()
            .map(|pointer| (pointer.frame, pointer.place))
            .collect();
        assert_eq!(ahead, [(40, 10), (43, 13), (46, 16)]);
    }

    #[test]
    fn at_an_end_of_the_video_nothing_is_behind() {
        let mut bank = Bank::default();
        bank.condition(5, record(5.0));
        (0..5).for_each(|frame| bank.track(frame, record(5.0)));
        assert!(bank.select(forward(0), None).valid.is_empty());
        // Frame 0 is not looked at on the way forward, but as a neighbour.
        assert_eq!(bank.select(forward(3), None).valid, [1, 2]);
        assert_eq!(bank.select(forward(1), None).valid, [0]);
        let last = Visit {
            frame: 9,
            direction: Direction::Backward,
        };
        assert!(bank.select(last, Some(10)).valid.is_empty());
        assert_eq!(bank.select(last, None).valid, [10]);
    }
}
