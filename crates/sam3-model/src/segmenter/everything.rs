//! Everything in an image: a grid of points is clicked, and of the masks that they give, those are kept that are good
//! and unlike each other. Steps and defaults are those of SAM 2's `SAM2AutomaticMaskGenerator`, of one crop; the mask
//! NMS is our own.

use std::ops::ControlFlow;

use rayon::prelude::*;

use super::{Clicks, Encoded, Segmenter, click::Answer};
use crate::{
    error::{Error, Result},
    masks::{Mask, remove_small_regions},
    model::{Progress, Watch},
};

/// Logits above and below 0 between which a mask's area should change little: SAM 2's `stability_score_offset`.
const STABILITY_OFFSET: f32 = 1.0;
/// The three masks for objects that are not clear, SAM 2's `multimask_output`.
const MULTIMASK: [usize; 3] = [1, 2, 3];

/// What is clicked, and what is kept.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Everything {
    /// Points in a row of the grid, and rows; SAM 2's `points_per_side`, 32.
    pub grid: usize,
    /// Masks whose predicted IoU is above this are kept; `pred_iou_thresh`, 0.8.
    pub min_iou: f32,
    /// Masks whose stability is at least this are kept; `stability_score_thresh`, 0.95.
    pub min_stability: f32,
    /// Of two masks whose boxes, or whose pixels, have a higher IoU than this, the one of the higher predicted IoU is
    /// kept; `box_nms_thresh`, 0.7.
    pub most_overlap: f32,
    /// Holes and islands of fewer pixels of the image are removed; `min_mask_region_area`, 0.
    pub min_region: usize,
}

impl Default for Everything {
    fn default() -> Self {
        Self {
            grid: 32,
            min_iou: 0.8,
            min_stability: 0.95,
            most_overlap: 0.7,
            min_region: 0,
        }
    }
}

/// One of the things in an image.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Segment {
    /// At the image's size.
    pub mask: Mask,
    /// The mask's predicted IoU with the object, 0 to 1.
    pub iou: f32,
    /// The share of the mask's area that is certain, 0 to 1.
    pub stability: f32,
    /// A logit: above 0, the object is there, as the model sees it.
    pub object_score: f32,
    /// The point that it was found by, in pixels of the image.
    pub point: [f32; 2],
}

impl Segmenter {
    /// Finds everything in an image, the best masks first.
    ///
    /// # Errors
    /// As [`click`](Self::click).
    pub fn everything(&self, encoded: &Encoded, everything: &Everything) -> Result<Vec<Segment>> {
        self.everything_watched(encoded, everything, &mut |_| ControlFlow::Continue(()))
    }

    /// [`everything`](Self::everything), watched: of every row of points.
    ///
    /// # Errors
    /// As there, and [`Error::Stopped`].
    pub fn everything_watched(
        &self,
        encoded: &Encoded,
        everything: &Everything,
        watch: &mut Watch<'_>,
    ) -> Result<Vec<Segment>> {
        self.run(|| {
            self.is_own(encoded)?;
            let tracker = self.tracker()?;
            let features = encoded.tracker_features(&tracker)?;
            let mut found = Vec::new();
            let of = everything.grid;
            for row in 0..of {
                // Side by side: what a single point asks for is too little to keep all cores at work.
                let of_row = (0..of).into_par_iter().map(|column| {
                    let point = encoded.grid_point([column, row], of);
                    let decoded = self.decode(encoded, &tracker, &features, &Clicks::new().point(point))?;
                    encoded.kept(&Answer::of(&decoded)?, point, everything)
                });
                found.extend(of_row.collect::<Result<Vec<_>>>()?.into_iter().flatten());
                let (stage, done) = ("grid of points", row + 1);
                if watch(Progress { stage, done, of }).is_break() {
                    return Err(Error::Stopped { stage, done, of });
                }
            }
            by_iou(&mut found);
            let found = without_likes(found, everything.most_overlap);
            Ok(match everything.min_region {
                0 => found,
                least => without_small_regions(found, least, everything.most_overlap),
            })
        })
    }
}

impl Encoded {
    /// The middle of a cell of a grid over the image.
    fn grid_point(&self, cell: [usize; 2], side: usize) -> [f32; 2] {
        let middle = |cell: usize, extent: u32| ((cell as f64 + 0.5) * f64::from(extent) / side as f64) as f32;
        [middle(cell[0], self.width), middle(cell[1], self.height)]
    }

    /// Those of a point's three masks that are good.
    fn kept(&self, answer: &Answer, point: [f32; 2], everything: &Everything) -> Result<Vec<Segment>> {
        let mut kept = Vec::new();
        for index in MULTIMASK {
            let (iou, stability) = (answer.iou(index), answer.stability(index, STABILITY_OFFSET));
            if iou <= everything.min_iou || stability < everything.min_stability {
                continue;
            }
            let mask = answer.mask(index, self)?;
            if mask.area() > 0 {
                kept.push(Segment {
                    mask,
                    iou,
                    stability,
                    object_score: answer.object_score,
                    point,
                });
            }
        }
        Ok(kept)
    }
}

/// The best first.
fn by_iou(found: &mut [Segment]) {
    found.sort_by(|a, b| b.iou.total_cmp(&a.iou));
}

/// Non-maximum suppression, by boxes and by masks: those that are not like one before them.
fn without_likes(found: impl IntoIterator<Item = Segment>, most_overlap: f32) -> Vec<Segment> {
    let mut kept: Vec<(Segment, [u32; 4])> = Vec::new();
    for segment in found {
        let Some(bbox) = segment.mask.bounding_box() else {
            continue;
        };
        let is_like = |(other, of_other): &(Segment, [u32; 4])| {
            let overlap = box_iou(bbox, *of_other);
            // Masks whose boxes are apart share nothing.
            overlap > most_overlap
                || overlap > 0.0
                    && segment
                        .mask
                        .iou(&other.mask)
                        .is_some_and(|iou| iou as f32 > most_overlap)
        };
        if !kept.iter().any(is_like) {
            kept.push((segment, bbox));
        }
    }
    kept.into_iter().map(|(segment, _)| segment).collect()
}

/// Without small holes and islands; what thereby becomes like another one leaves, the changed before the others.
fn without_small_regions(found: Vec<Segment>, least: usize, most_overlap: f32) -> Vec<Segment> {
    let cleaned = found.into_iter().map(|segment| {
        let mask = remove_small_regions(&segment.mask, least);
        let is_changed = mask != segment.mask;
        (is_changed, Segment { mask, ..segment })
    });
    let (same, changed): (Vec<_>, Vec<_>) = cleaned.partition(|(is_changed, _)| !is_changed);
    let ranked = same.into_iter().chain(changed).map(|(_, segment)| segment);
    let mut kept = without_likes(ranked, most_overlap);
    by_iou(&mut kept);
    kept
}

fn box_iou(a: [u32; 4], b: [u32; 4]) -> f32 {
    let area = |[x1, y1, x2, y2]: [u32; 4]| u64::from(x2.saturating_sub(x1)) * u64::from(y2.saturating_sub(y1));
    let both = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    match area(a) + area(b) - both {
        0 => 0.0,
        either => both as f32 / either as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(iou: f32, [x1, y1, x2, y2]: [u32; 4]) -> Segment {
        Segment {
            mask: Mask::from_fn(100, 100, |x, y| (x1..x2).contains(&x) && (y1..y2).contains(&y)),
            iou,
            stability: 1.0,
            object_score: 0.0,
            point: [0.0; 2],
        }
    }

    #[test]
    fn of_likes_the_better_one_is_kept() {
        let mut found = vec![
            segment(0.90, [0, 0, 50, 50]),
            segment(0.95, [0, 0, 50, 45]),
            segment(0.85, [0, 0, 50, 20]),
            segment(0.99, [60, 60, 100, 100]),
        ];
        by_iou(&mut found);
        let kept: Vec<f32> = without_likes(found, 0.7).iter().map(|one| one.iou).collect();
        assert_eq!(kept, [0.99, 0.95, 0.85]);
    }

    /// A speck makes the box of one larger: the masks are still the same.
    #[test]
    fn masks_are_compared_where_their_boxes_are_not_alike() {
        let mut speck = segment(0.9, [0, 0, 40, 40]);
        speck.mask.insert(99, 99);
        let found = vec![segment(0.95, [0, 0, 40, 40]), speck.clone()];
        assert!(box_iou([0, 0, 40, 40], speck.mask.bounding_box().unwrap()) < 0.2);
        let kept = without_likes(found, 0.7);
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].iou, 0.95);
    }

    #[test]
    fn what_cleaning_makes_alike_leaves() {
        let mut speck = segment(0.99, [0, 0, 40, 40]);
        speck.mask.insert(99, 99);
        let found = vec![
            speck.clone(),
            segment(0.9, [0, 0, 40, 40]),
            segment(0.8, [50, 0, 90, 90]),
        ];
        let kept: Vec<f32> = without_small_regions(found, 5, 0.7).iter().map(|one| one.iou).collect();
        assert_eq!(kept, [0.9, 0.8], "the one that was changed leaves");
        let alone = without_small_regions(vec![speck], 5, 0.7);
        assert_eq!(alone[0].mask, segment(0.0, [0, 0, 40, 40]).mask);
    }
}
