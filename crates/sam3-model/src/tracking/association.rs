//! Which detection is which track: many to many, by the IoU of their low-resolution masks.

use super::{
    binary_mask::BinaryMask,
    detection::Kept,
    thresholds::{ASSOC_IOU_THRESH, HIGH_CONF_THRESH, HIGH_IOU_THRESH, NEW_DET_THRESH, TRK_ASSOC_IOU_THRESH},
};

/// What a frame's detections and tracks are to each other. Detections and tracks are told by their places in the lists.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Association {
    /// Detections that become objects.
    pub new: Vec<usize>,
    /// For each detection, the tracks that match it; nothing where there are no tracks.
    pub matched: Vec<Vec<usize>>,
    /// Tracks with a mask that no detection is.
    pub unmatched: Vec<usize>,
    /// Tracks without a mask, which are never unmatched.
    pub empty: Vec<usize>,
    /// Tracks and the confident detections that they nearly equal: what reconditions them.
    pub high: Vec<(usize, usize)>,
}

/// Associates the detections with the masks of the tracks.
///
/// Without any track, every detection becomes an object, even one below [`NEW_DET_THRESH`]. That looks unintended, but
/// is what the official code does.
pub(super) fn associate(detections: &[Kept<'_>], tracks: &[BinaryMask]) -> Association {
    if tracks.is_empty() {
        let new = (0..detections.len()).collect();
        return Association {
            new,
            ..Association::default()
        };
    }
    let iou = |detection: &Kept<'_>| tracks.iter().map(|track| detection.mask.iou(track)).collect();
    let ious: Vec<Vec<f32>> = detections.iter().map(iou).collect();
    let (empty, filled): (Vec<usize>, Vec<usize>) = (0..tracks.len()).partition(|&track| tracks[track].is_empty());
    let is_unmatched = |track: &usize| ious.iter().all(|ious| ious[*track] < TRK_ASSOC_IOU_THRESH);
    let mut association = Association {
        unmatched: filled.into_iter().filter(is_unmatched).collect(),
        empty,
        ..Association::default()
    };
    for (index, (detection, ious)) in detections.iter().zip(&ious).enumerate() {
        let matched: Vec<usize> = (0..tracks.len())
            .filter(|&track| ious[track] >= ASSOC_IOU_THRESH)
            .collect();
        if matched.is_empty() && detection.score >= NEW_DET_THRESH {
            association.new.push(index);
        }
        let (best, iou) = largest(ious);
        // No other detection nearly equals the same track: after the suppression of non-maxima they hardly overlap.
        if detection.score >= HIGH_CONF_THRESH && iou >= HIGH_IOU_THRESH {
            association.high.push((best, index));
        }
        association.matched.push(matched);
    }
    association
}

/// Leaves as many new objects as there is room for, and returns how many it dropped. Where it drops some, those that
/// stay are in the order of their scores, as officially: it is the order in which they get their ids.
pub(super) fn limit_new(new: &mut Vec<usize>, detections: &[Kept<'_>], room: usize) -> usize {
    let dropped = new.len().saturating_sub(room);
    if dropped > 0 {
        new.sort_by(|&a, &b| detections[b].score.total_cmp(&detections[a].score));
        new.truncate(room);
    }
    dropped
}

/// The first of the largest values, and its place.
fn largest(values: &[f32]) -> (usize, f32) {
    let larger = |best: (usize, f32), (at, &value)| if value > best.1 { (at, value) } else { best };
    values.iter().enumerate().fold((0, f32::NEG_INFINITY), larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Logits of a square of 10 pixels a side with these of its first row inside.
    fn logits(inside: std::ops::Range<usize>) -> Vec<f32> {
        (0..100).map(|i| if inside.contains(&i) { 1.0 } else { -1.0 }).collect()
    }

    fn detection(score: f32, logits: &[f32]) -> Kept<'_> {
        let mask = BinaryMask::of(logits, 10);
        Kept {
            query: 0,
            score,
            logits,
            mask,
        }
    }

    fn tracks<const N: usize>(inside: [(usize, usize); N]) -> Vec<BinaryMask> {
        inside.map(|(from, to)| BinaryMask::of(&logits(from..to), 10)).to_vec()
    }

    #[test]
    fn any_detection_is_new_where_there_is_no_track() {
        let own = logits(0..5);
        let found = associate(&[detection(0.55, &own)], &[]);
        assert_eq!((found.new, found.matched), (vec![0], vec![]));
        // An empty track is a track.
        for (score, new) in [(0.55, vec![]), (0.7, vec![0])] {
            let found = associate(&[detection(score, &own)], &tracks([(0, 0)]));
            assert_eq!((found.new, found.empty, found.unmatched), (new, vec![0], vec![]));
        }
    }

    #[test]
    fn thresholds_are_met_where_the_iou_equals_them() {
        // IoUs with 0..10 of 1/10, 5/10 and 8/10, and just below.
        for (inside, is_new, is_unmatched, high) in [
            (9..10, false, true, vec![]),
            (9..11, true, true, vec![]),
            (0..5, false, false, vec![]),
            (0..4, false, true, vec![]),
            (0..8, false, false, vec![(0, 0)]),
            (0..7, false, false, vec![]),
        ] {
            let own = logits(inside.clone());
            let found = associate(&[detection(0.8, &own)], &tracks([(0, 10)]));
            let new = if is_new { vec![0] } else { vec![] };
            let unmatched = if is_unmatched { vec![0] } else { vec![] };
            assert_eq!(
                (found.new, found.unmatched, found.high),
                (new, unmatched, high),
                "{inside:?}"
            );
        }
        let own = logits(0..10);
        assert_eq!(associate(&[detection(0.799, &own)], &tracks([(0, 10)])).high, []);
    }

    #[test]
    fn where_there_is_no_room_the_best_become_objects() {
        let own = logits(0..10);
        let detections = [0.7, 0.9, 0.8].map(|score| detection(score, &own));
        for (room, dropped, expected) in [(3, 0, vec![0, 1, 2]), (2, 1, vec![1, 2]), (0, 3, vec![])] {
            let mut new = vec![0, 1, 2];
            assert_eq!(limit_new(&mut new, &detections, room), dropped);
            assert_eq!(new, expected);
        }
    }

    #[test]
    fn a_detection_may_match_several_tracks_and_is_the_nearest_ones() {
        let own = logits(0..10);
        let found = associate(&[detection(0.9, &own)], &tracks([(0, 8), (0, 9), (1, 10), (20, 30)]));
        assert_eq!(found.matched, [[0, 1, 2]]);
        assert_eq!((found.unmatched, found.high), (vec![3], vec![(1, 0)]));
    }
}
