//! What the detector found on a frame, without what it found twice.

use sam3_tensor::ops::logistic;

use super::{
    binary_mask::BinaryMask,
    thresholds::{DET_NMS_THRESH, SCORE_THRESHOLD_DETECTION},
};

/// What one query of the detector found on a frame.
#[derive(Clone, Debug)]
pub struct Detection {
    /// The query's number.
    pub query: usize,
    /// Its probability, [`video_score`].
    pub score: f32,
    /// Mask logits, `[side, side]`, all finite.
    pub logits: Vec<f32>,
}

/// A detection that stays, with its mask's bits.
pub(super) struct Kept<'a> {
    pub query: usize,
    pub score: f32,
    pub logits: &'a [f32],
    pub mask: BinaryMask,
}

/// The probability of a detection on video, from a query's logit and the frame's presence logit.
///
/// Officially the product of both probabilities passes through `inverse_sigmoid`, which limits it to about 0.001 to
/// 0.999.
pub fn video_score(query_logit: f32, presence_logit: f32) -> f32 {
    const EPS: f32 = 1e-3;
    let product = logistic(query_logit) * logistic(presence_logit);
    let logit = (product.max(EPS) / (1.0 - product).max(EPS)).ln();
    logistic(logit.clamp(-10.0, 10.0))
}

/// The detections that have a score above the threshold and are not one that a better one has, too; in the order given.
///
/// Officially the order of equal scores depends on the device; here the earlier query comes first, as on CUDA.
pub(super) fn non_maximum_suppression(detections: &[Detection], side: usize) -> Vec<Kept<'_>> {
    let mut by_score: Vec<usize> = (0..detections.len())
        .filter(|&index| detections[index].score > SCORE_THRESHOLD_DETECTION)
        .collect();
    by_score.sort_by(|&a, &b| detections[b].score.total_cmp(&detections[a].score));
    let mut kept: Vec<(usize, BinaryMask)> = Vec::new();
    for index in by_score {
        let mask = BinaryMask::of(&detections[index].logits, side);
        if kept.iter().all(|(_, better)| better.iou(&mask) <= DET_NMS_THRESH) {
            kept.push((index, mask));
        }
    }
    kept.sort_by_key(|(index, _)| *index);
    let detection = |(index, mask): (usize, BinaryMask)| {
        let Detection { query, score, logits } = &detections[index];
        Kept {
            query: *query,
            score: *score,
            logits,
            mask,
        }
    };
    kept.into_iter().map(detection).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_score_is_the_product_within_its_limits() {
        let logit = |p: f32| (p / (1.0 - p)).ln();
        for (query, presence, expected) in [
            (0.8, 0.9, 0.72),
            (0.9, 0.1, 0.09),
            // inverse_sigmoid of 1 and 0: ln(1 / eps) and ln(eps), at eps = 0.001.
            (1.0 - 1e-7, 1.0 - 1e-7, 1000.0 / 1001.0),
            (1e-5, 0.5, 1.0 / 1001.0),
        ] {
            let found = video_score(logit(query), logit(presence));
            assert!((found - expected).abs() < 1e-6, "{query} and {presence}: {found}");
        }
    }

    #[test]
    fn of_overlapping_detections_the_best_stays_and_equal_ones_go_by_query() {
        // Pixels of a row of ten; the rest of the square is outside.
        let detection = |query, score, inside: std::ops::Range<usize>| Detection {
            query,
            score,
            logits: (0..100).map(|i| if inside.contains(&i) { 2.0 } else { -2.0 }).collect(),
        };
        let detections = [
            detection(3, 0.6, 0..4),
            detection(5, 0.9, 2..6),
            detection(6, 0.9, 5..8),
            detection(8, 0.5, 40..50),
            detection(9, 0.51, 20..24),
            detection(11, 0.7, 23..29),
        ];
        let kept = non_maximum_suppression(&detections, 10);
        // 2..6 drops 0..4 and 5..8, whose IoUs with it are 2/6 and 1/6; 20..24 and 23..29 share 1 of 9 pixels.
        assert_eq!(kept.iter().map(|kept| kept.query).collect::<Vec<_>>(), [5, 11]);
    }
}
