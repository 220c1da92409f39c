//! Of two tracks that cover each other, one is suppressed by who was hidden last.

use super::{
    binary_mask::BinaryMask,
    object::Object,
    thresholds::SUPPRESS_OVERLAPPING_THRESH,
    visit::{Direction, Visit},
};

/// Which tracks are suppressed on a visit, by their cleaned masks; what is empty or suppressed is noted as occluded
/// there.
///
/// Walking forward, the track that was occluded last gives way to one that was occluded before it, if ever. On a walk
/// backward the official comparison is turned round: the one that was occluded *first* gives way, and so does one
/// that never was. That looks unintended, and is followed.
pub(super) fn suppress_recently_occluded(objects: &mut [Object], masks: &[BinaryMask], visit: Visit) -> Vec<bool> {
    let gives_way = |track: usize, other: usize| {
        let [own, others] = [track, other].map(|track| objects[track].last_occluded);
        let is_behind = match visit.direction {
            Direction::Forward => own > others,
            Direction::Backward => own < others,
        };
        is_behind && others.is_some()
    };
    let mut is_suppressed = vec![false; masks.len()];
    for other in 0..masks.len() {
        for track in 0..other {
            if masks[track].iou(&masks[other]) >= SUPPRESS_OVERLAPPING_THRESH {
                is_suppressed[track] |= gives_way(track, other);
                is_suppressed[other] |= gives_way(other, track);
            }
        }
    }
    for (object, (mask, is_suppressed)) in objects.iter_mut().zip(masks.iter().zip(&is_suppressed)) {
        if mask.is_empty() || *is_suppressed {
            object.last_occluded = Some(visit.frame);
        }
    }
    is_suppressed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(inside: std::ops::Range<usize>) -> BinaryMask {
        let logits: Vec<f32> = (0..100).map(|i| if inside.contains(&i) { 1.0 } else { -1.0 }).collect();
        BinaryMask::of(&logits, 10)
    }

    fn check(last: [Option<usize>; 2], masks: [BinaryMask; 2], direction: Direction, expected: [bool; 2]) {
        let mut objects = [0, 1].map(|id| Object::new(id, 0.9, 0));
        objects[0].last_occluded = last[0];
        objects[1].last_occluded = last[1];
        let found = suppress_recently_occluded(&mut objects, &masks, Visit { frame: 30, direction });
        assert_eq!(found, expected, "{last:?} {direction:?}");
        for ((object, mask), (last, expected)) in objects.iter().zip(masks).zip(last.into_iter().zip(expected)) {
            let is_occluded = expected || mask.is_empty();
            assert_eq!(object.last_occluded, if is_occluded { Some(30) } else { last });
        }
    }

    #[test]
    fn who_was_occluded_last_gives_way() {
        use Direction::{Backward, Forward};
        for (last, forward, backward) in [
            ([None, None], [false, false], [false, false]),
            ([Some(4), None], [false, false], [false, true]),
            ([Some(4), Some(4)], [false, false], [false, false]),
            ([Some(4), Some(9)], [false, true], [true, false]),
            ([Some(9), Some(0)], [true, false], [false, true]),
        ] {
            // 7 of 10 pixels, then 6 of 10.
            check(last, [mask(0..10), mask(0..7)], Forward, forward);
            check(last, [mask(0..10), mask(0..7)], Backward, backward);
            check(last, [mask(0..10), mask(0..6)], Forward, [false, false]);
            check(last, [mask(0..0), mask(0..0)], Forward, [false, false]);
        }
    }
}
