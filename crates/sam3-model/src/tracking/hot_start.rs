//! Hot start: an object is on probation for its first frames, and removed if it turns out to be nothing, or another
//! one.

use super::{
    association::Association,
    duplicates::count_duplicates,
    object::{Object, ObjectId},
    thresholds::{HOTSTART_DELAY, HOTSTART_UNMATCH_THRESH},
    visit::Visit,
};

/// What a visit says against the objects.
pub(super) struct HotStart {
    /// Of each object, whether it is removed.
    pub is_removed: Vec<bool>,
    /// Pairs that shared a detection, as keeper, other and how often they did.
    pub duplicates: Vec<(ObjectId, ObjectId, u32)>,
}

/// Counts what a visit says against the objects, which are the tracks in their order.
///
/// Counts go on over all walks through the video, need not be of frames in a row, and are looked at only on frames
/// where the object is on probation.
pub(super) fn hot_start(objects: &mut [Object], association: &Association, visit: Visit) -> HotStart {
    for &track in &association.unmatched {
        objects[track].unmatched += 1;
    }
    let duplicates = count_duplicates(objects, &association.matched, visit);
    let is_removed = |object: &Object| {
        let is_bad = object.unmatched >= HOTSTART_UNMATCH_THRESH || object.duplicates.has_reached();
        is_bad && is_on_probation(visit.since(object.first_frame))
    };
    HotStart {
        is_removed: objects.iter().map(is_removed).collect(),
        duplicates,
    }
}

/// Whether an object may still be removed on the frame behind this one, and on later ones.
pub(super) fn is_tentative(first_frame: usize, visit: Visit) -> bool {
    is_on_probation(visit.since(first_frame) + 1)
}

/// By the number of frames since its first one. On a walk backward an object's first frame may still be ahead.
fn is_on_probation(age: i64) -> bool {
    age < HOTSTART_DELAY as i64
}

#[cfg(test)]
mod tests {
    use super::super::visit::Direction::{self, Backward, Forward};
    use super::*;

    fn visit(frame: usize, direction: Direction) -> Visit {
        Visit { frame, direction }
    }

    fn unmatched() -> Association {
        Association {
            unmatched: vec![0],
            ..Association::default()
        }
    }

    #[test]
    fn the_eighth_unmatched_visit_removes_who_is_younger_than_fifteen_frames() {
        for (first_frame, at, direction, is_removed) in [
            (10, 24, Forward, true),
            (10, 25, Forward, false),
            (24, 10, Backward, true),
            (25, 10, Backward, false),
            // Found by an earlier walk on a frame that is still ahead.
            (3, 10, Backward, true),
        ] {
            let mut objects = vec![Object::new(0, 0.9, first_frame)];
            for count in 1..=8 {
                let removed = hot_start(&mut objects, &unmatched(), visit(at, direction)).is_removed;
                assert_eq!(
                    removed,
                    [is_removed && count == 8],
                    "{first_frame} at {at}, {direction:?}"
                );
            }
        }
    }

    #[test]
    fn a_count_that_was_full_too_late_removes_on_a_walk_backward() {
        let mut objects = vec![Object::new(0, 0.9, 0)];
        for _ in 0..8 {
            assert_eq!(
                hot_start(&mut objects, &unmatched(), visit(15, Forward)).is_removed,
                [false]
            );
        }
        let matched = Association::default();
        assert_eq!(hot_start(&mut objects, &matched, visit(9, Backward)).is_removed, [true]);
    }

    #[test]
    fn objects_are_tentative_while_a_later_frame_may_remove_them() {
        assert!(is_tentative(10, visit(23, Forward)) && !is_tentative(10, visit(24, Forward)));
        assert!(is_tentative(24, visit(11, Backward)) && !is_tentative(24, visit(10, Backward)));
    }
}
