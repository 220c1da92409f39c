//! Pairs of objects that share detections: the younger one is a duplicate when that happens too often.

use super::{
    object::{Object, ObjectId},
    thresholds::HOTSTART_DUP_THRESH,
    visit::Visit,
};

/// How often an object shared a detection with each older one.
#[derive(Debug, Default)]
pub(super) struct Duplicates {
    counts: Vec<(ObjectId, u32)>,
    /// Whether the count with an older object that is gone had reached the threshold; it still makes this one a
    /// duplicate.
    had_reached: bool,
}

impl Duplicates {
    fn count(&mut self, older: ObjectId) {
        match self.counts.iter_mut().find(|(id, _)| *id == older) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((older, 1)),
        }
    }

    /// How often it was shared with `older`.
    fn with(&self, older: ObjectId) -> u32 {
        let found = self.counts.iter().find(|(id, _)| *id == older);
        found.map_or(0, |(_, count)| *count)
    }

    /// Whether it was shared with one of them often enough.
    pub fn has_reached(&self) -> bool {
        self.had_reached || self.counts.iter().any(|(_, count)| *count >= HOTSTART_DUP_THRESH)
    }

    /// Number of older objects that something is known of.
    #[cfg(test)]
    pub fn known(&self) -> usize {
        self.counts.len()
    }

    /// Frees what is known of an older object that is gone.
    pub fn forget(&mut self, older: ObjectId) {
        if let Some(at) = self.counts.iter().position(|(id, _)| *id == older) {
            self.had_reached |= self.counts.swap_remove(at).1 >= HOTSTART_DUP_THRESH;
        }
    }
}

/// Counts a visit: for each detection, `matched` has the tracks that match it. The one that is oldest on this walk is
/// the keeper (backward that is the one with the largest first frame, and of equal ones the first in order); each
/// other one gets a count. Returns the pairs that got one, as keeper, other and count.
pub(super) fn count_duplicates(
    objects: &mut [Object],
    matched: &[Vec<usize>],
    visit: Visit,
) -> Vec<(ObjectId, ObjectId, u32)> {
    let mut pairs = Vec::new();
    for tracks in matched {
        let age = |track: &&usize| visit.since(objects[**track].first_frame);
        let Some(&keeper) = tracks.iter().min_by_key(|track| -age(track)) else {
            continue;
        };
        let keeper_id = objects[keeper].id;
        for &track in tracks.iter().filter(|&&track| track != keeper) {
            objects[track].duplicates.count(keeper_id);
            pairs.push((keeper, track));
        }
    }
    pairs.sort_unstable();
    pairs.dedup();
    let count = |(keeper, track): (usize, usize)| {
        let (keeper, object) = (objects[keeper].id, &objects[track]);
        (keeper, object.id, object.duplicates.with(keeper))
    };
    pairs.into_iter().map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::super::visit::Direction;
    use super::*;

    fn objects(first_frames: &[usize]) -> Vec<Object> {
        let object = |(id, &first)| Object::new(id as ObjectId, 0.9, first);
        first_frames.iter().enumerate().map(object).collect()
    }

    #[test]
    fn the_oldest_on_the_walk_keeps_the_detection() {
        for (direction, keeper) in [(Direction::Forward, 1), (Direction::Backward, 0)] {
            // Two of each age: the first in order is the keeper.
            let mut objects = objects(&[6, 2, 2, 6]);
            let visit = Visit { frame: 8, direction };
            let matched = [vec![0, 1, 2, 3], vec![2], vec![], vec![keeper as usize, 2]];
            let found = count_duplicates(&mut objects, &matched, visit);
            let others = (0..4).filter(|id| *id != keeper);
            let expected: Vec<_> = others.map(|id| (keeper, id, if id == 2 { 2 } else { 1 })).collect();
            assert_eq!(found, expected, "{direction:?}");
            let counts = objects.iter().map(|object| object.duplicates.with(keeper));
            assert_eq!(counts.sum::<u32>(), 4);
        }
    }

    #[test]
    fn a_count_that_was_reached_outlives_the_older_object() {
        for (times, is_reached) in [(7, false), (8, true)] {
            let mut duplicates = Duplicates::default();
            (0..times).for_each(|_| duplicates.count(3));
            duplicates.count(4);
            assert_eq!(duplicates.has_reached(), is_reached);
            duplicates.forget(3);
            duplicates.forget(9);
            assert_eq!((duplicates.has_reached(), duplicates.known()), (is_reached, 1));
            assert_eq!((duplicates.with(3), duplicates.with(4)), (0, 1));
        }
    }
}
