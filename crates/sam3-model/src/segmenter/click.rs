//! What the click head says of one object, and which of its masks that means.

use std::sync::{Arc, PoisonError};

use rayon::prelude::*;
use sam3_package::{StateDict, Tasks};
use sam3_tensor::{Tensor, ops::logistic};

use super::{Clicks, Encoded, Instance, LowResMask, Segmenter, encoded::bytes_of, instances::finite};
use crate::{
    error::{ClickError, Error, NoClickHead, Result},
    masks::{Mask, components},
    model::{Clicked, Decoded, Label, Point, Tracker, TrackerFeatures, VideoTracker},
    weights::Weights,
};

/// Logits that are handed on are clamped to ± this.
const CLAMP: f32 = 32.0;
/// A mask is stable where its area above a logit of [`STABILITY_DELTA`] is at least this share of that above minus as
/// much.
const STABILITY_THRESHOLD: f32 = 0.98;
const STABILITY_DELTA: f32 = 0.05;
/// Holes of at most so many low-resolution pixels are filled.
const MOST_HOLE: u32 = 256;
/// The logits of what is filled.
const FILLING: f32 = 10.0;

/// What the clicks mean.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClickedObject {
    /// One mask, or three, in the model's order.
    pub masks: Vec<ClickedMask>,
    /// A logit: above 0, the object is there, as the model sees it. It decides nothing here.
    pub object_score: f32,
}

/// A mask of what was clicked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClickedMask {
    /// At the image's size, with small holes filled.
    pub mask: Mask,
    /// How well it fits the object, as the model predicts it: an intersection over union, 0 to 1.
    pub iou: f32,
    /// Its logits, from −32 to 32, as the next step takes them back.
    pub logits: LowResMask,
}

impl ClickedObject {
    /// The mask of the highest predicted IoU.
    ///
    /// # Panics
    /// Never: there is one.
    pub fn best(&self) -> &ClickedMask {
        let best = self.masks.iter().max_by(|a, b| a.iou.total_cmp(&b.iou));
        best.expect("a click gives a mask")
    }
}

/// What clicks need of an image.
pub(super) enum ForClicks {
    /// Its segmenter was opened without them, or its model has no click head.
    NotKept,
    /// The trunk's map, until something is clicked.
    Trunk(Tensor),
    /// What the tracker's neck made of it.
    Encoded(Arc<TrackerFeatures>),
}

impl Segmenter {
    /// Finds the object that was clicked.
    ///
    /// The first click in an image costs the tracker's neck too, a fiftieth of what [`encode`](Self::encode) does.
    ///
    /// # Errors
    /// When the clicks show nothing or hold what is no number, a mask has another side than
    /// [`mask_side`](Self::mask_side), the checkpoint has no click head, or another model encoded the image; when the
    /// model's answer is no number, memory runs out or the device fails.
    pub fn click(&self, encoded: &Encoded, clicks: &Clicks) -> Result<ClickedObject> {
        self.run(|| {
            self.is_own(encoded)?;
            clicks.check()?;
            let tracker = self.tracker()?;
            let features = encoded.tracker_features(&tracker)?;
            let decoded = self.decode(encoded, &tracker, &features, clicks)?;
            Answer::of(&decoded)?.choose(clicks, encoded)
        })
    }

    /// Passes the mask of an instance that a text found through the click head once, with the box of that: edges become
    /// finer, and its own holes are filled.
    ///
    /// # Errors
    /// As [`click`](Self::click).
    pub fn refine(&self, encoded: &Encoded, instance: &Instance) -> Result<ClickedObject> {
        let mask = LowResMask::from_mask(&instance.mask, encoded.mask_side());
        self.click(encoded, &Clicks::new().bounding_box(instance.bbox).mask(mask))
    }

    /// Pixels in a side of the masks that clicks make and take, before they are resized: 288 of SAM 3 at its own image
    /// size.
    pub fn mask_side(&self) -> usize {
        4 * (self.image_size / self.shared.config.vit.patch_size)
    }

    /// Loads what clicks need, as the first click does otherwise.
    ///
    /// # Errors
    /// When the checkpoint has no click head, or a part of it.
    pub fn load_click_head(&self) -> Result<()> {
        self.run(|| self.tracker()).map(drop)
    }

    pub(super) fn decode(
        &self,
        encoded: &Encoded,
        tracker: &Tracker,
        features: &TrackerFeatures,
        clicks: &Clicks,
    ) -> Result<Decoded> {
        let side = encoded.mask_side();
        let mask = match &clicks.mask {
            Some(mask) if mask.side() != side => {
                return Err(ClickError::MaskSide {
                    expected: side,
                    found: mask.side(),
                }
                .into());
            }
            Some(mask) => Some(features.f.new_tensor(mask.values().to_vec(), (side, side))?),
            None => None,
        };
        let clicked = Clicked {
            points: &encoded.points(clicks),
            mask: mask.as_ref(),
        };
        Ok(tracker.click(features, &clicked)?)
    }

    /// The tracker, loaded when it is first asked for. Nothing is locked while it is: two that ask for it at once both
    /// load it.
    pub(super) fn tracker(&self) -> Result<Arc<Tracker>> {
        let shared = &*self.shared;
        let loaded = || shared.tracker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tracker) = &*loaded() {
            return Ok(tracker.clone());
        }
        if let Some(reason) = why_no_click_head(&shared.dict) {
            return Err(Error::NoClickHead {
                path: shared.dict.path().to_owned(),
                reason,
            });
        }
        let weights = Weights::new(shared.dict.clone(), shared.device.clone()).with_compute(shared.compute);
        let tracker = Arc::new(Tracker::load(&weights, &shared.config)?);
        weights.check("clicks need")?;
        Ok(loaded().get_or_insert(tracker).clone())
    }

    /// Loads what following objects through videos needs beside the click head.
    ///
    /// # Errors
    /// When the checkpoint has no tracker, or a part of it.
    pub fn load_video_tracker(&self) -> Result<()> {
        self.run(|| self.video_tracker()).map(drop)
    }

    /// The tracker with what videos need, loaded when it is first asked for.
    pub(crate) fn video_tracker(&self) -> Result<Arc<VideoTracker>> {
        let shared = &*self.shared;
        let loaded = || shared.video_tracker.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tracker) = &*loaded() {
            return Ok(tracker.clone());
        }
        let tracker = self.tracker()?;
        let weights = Weights::new(shared.dict.clone(), shared.device.clone()).with_compute(shared.compute);
        let tracker = Arc::new(VideoTracker::load(&weights, &shared.config, tracker)?);
        weights.check("videos need")?;
        Ok(loaded().get_or_insert(tracker).clone())
    }
}

impl Clicks {
    /// Where they are in a picture of these extents, which the model sees as a square of `side` pixels: the box's
    /// corners, then the points.
    pub(super) fn places(&self, (width, height): (u32, u32), side: usize) -> Vec<Point> {
        let (side, extents) = (side as f64, [width, height].map(f64::from));
        let place = |xy: [f32; 2], label| {
            let share = [0, 1].map(|axis| (f64::from(xy[axis]) * side / extents[axis] + 0.5) / side);
            Point { share, label }
        };
        let corners =
            |[x1, y1, x2, y2]: [f32; 4]| [place([x1, y1], Label::TopLeft), place([x2, y2], Label::BottomRight)];
        let points = self.points.iter().map(|&(xy, positive)| {
            let label = if positive { Label::Positive } else { Label::Negative };
            place(xy, label)
        });
        self.bounding_box.into_iter().flat_map(corners).chain(points).collect()
    }
}

impl Encoded {
    /// Bytes of what is kept for clicks: the trunk's map, or what the tracker's neck made of it.
    pub(super) fn bytes_for_clicks(&self) -> u64 {
        match &*self.for_clicks.lock().unwrap_or_else(PoisonError::into_inner) {
            ForClicks::NotKept => 0,
            ForClicks::Trunk(trunk) => bytes_of(trunk),
            ForClicks::Encoded(features) => features.tensors().map(bytes_of).sum(),
        }
    }

    /// Pixels in a side of the masks that the model makes of this image before they are resized.
    fn mask_side(&self) -> usize {
        4 * self.size.cells.side()
    }

    fn points(&self, clicks: &Clicks) -> Vec<Point> {
        clicks.places((self.width, self.height), self.size.image_size)
    }

    /// What the tracker's neck makes of the image, once. Nothing is locked while it does: two that ask at once both
    /// wait for their own.
    pub(crate) fn tracker_features(&self, tracker: &Tracker) -> Result<Arc<TrackerFeatures>> {
        let kept = || self.for_clicks.lock().unwrap_or_else(PoisonError::into_inner);
        let trunk = match &*kept() {
            ForClicks::NotKept => return Err(ClickError::NotKept.into()),
            ForClicks::Encoded(features) => return Ok(features.clone()),
            ForClicks::Trunk(trunk) => trunk.clone(),
        };
        let features = Arc::new(tracker.encode(&trunk)?);
        *kept() = ForClicks::Encoded(features.clone());
        Ok(features)
    }
}

/// Whether a checkpoint may have a click head: what a part of it lacks is known when it is loaded.
pub(super) fn may_have_click_head(dict: &StateDict) -> bool {
    why_no_click_head(dict).is_none()
}

fn why_no_click_head(dict: &StateDict) -> Option<NoClickHead> {
    match Tasks::of(dict.tensors().map(|tensor| tensor.name)) {
        Tasks { clicks: true, .. } => None,
        Tasks { is_sam31: true, .. } => Some(NoClickHead::Sam31),
        _ => Some(NoClickHead::LeftOut),
    }
}

/// The decoder's answer in main memory.
pub(crate) struct Answer {
    side: usize,
    /// Those of mask 0, then those of the three.
    logits: Vec<f32>,
    ious: Vec<f32>,
    pub object_score: f32,
}

impl Answer {
    pub fn of(decoded: &Decoded) -> Result<Self> {
        let (_, side, _) = decoded.masks.dims3()?;
        let answer = Self {
            side,
            logits: decoded.masks.to_vec()?,
            ious: decoded.iou_logits.to_vec::<f32>()?.into_iter().map(logistic).collect(),
            object_score: decoded.object_score_logit.to_vec::<f32>()?[0],
        };
        finite("masks", answer.logits.iter().copied())?;
        finite("predicted IoUs", answer.ious.iter().copied())?;
        finite("object scores", [answer.object_score])?;
        Ok(answer)
    }

    fn choose(&self, clicks: &Clicks, encoded: &Encoded) -> Result<ClickedObject> {
        let is_one_point = clicks.points.len() == 1 && clicks.bounding_box.is_none();
        let chosen = match clicks.multimask {
            Some(true) => vec![1, 2, 3],
            None if is_one_point => vec![self.best_of_three()],
            Some(false) | None => vec![self.single()],
        };
        let mask = |index: usize| self.clicked(index, encoded);
        Ok(ClickedObject {
            masks: chosen.into_par_iter().map(mask).collect::<Result<_>>()?,
            object_score: self.object_score,
        })
    }

    /// The logits of a mask.
    pub fn logits(&self, mask: usize) -> &[f32] {
        let cells = self.side * self.side;
        &self.logits[mask * cells..][..cells]
    }

    /// The one of the three of the highest predicted IoU.
    pub fn best_of_three(&self) -> usize {
        let better = |best, other| {
            if self.ious[other] > self.ious[best] {
                other
            } else {
                best
            }
        };
        [2, 3].into_iter().fold(1, better)
    }

    /// The mask of clear objects where it is stable, else the best of the three.
    pub fn single(&self) -> usize {
        if self.stability(0, STABILITY_DELTA) >= STABILITY_THRESHOLD {
            0
        } else {
            self.best_of_three()
        }
    }

    /// How much of a mask's area above a logit of −`delta` is above `delta`.
    pub fn stability(&self, mask: usize, delta: f32) -> f32 {
        let above = |bound: f32| self.logits(mask).iter().filter(|logit| **logit > bound).count();
        match (above(delta), above(-delta)) {
            (_, 0) => 1.0,
            (least, most) => least as f32 / most as f32,
        }
    }

    /// The predicted IoU of a mask.
    pub fn iou(&self, mask: usize) -> f32 {
        self.ious[mask]
    }

    /// A mask at the image's size, with small holes filled.
    pub fn mask(&self, index: usize, encoded: &Encoded) -> Result<Mask> {
        let side = self.side;
        let filled = fill_holes(self.logits(index), side);
        Mask::from_logits(&filled, (side, side), (encoded.height, encoded.width))
    }

    fn clicked(&self, index: usize, encoded: &Encoded) -> Result<ClickedMask> {
        let logits = self.logits(index);
        let clamped = logits.iter().map(|logit| logit.clamp(-CLAMP, CLAMP)).collect();
        Ok(ClickedMask {
            mask: self.mask(index, encoded)?,
            iou: self.ious[index],
            logits: LowResMask::new(self.side, clamped)?,
        })
    }
}

/// The same logits with those of small holes, which corners connect, replaced.
fn fill_holes(logits: &[f32], side: usize) -> Vec<f32> {
    let extent = side as u32;
    let mask = Mask::from_fn(extent, extent, |x, y| logits[y as usize * side + x as usize] > 0.0);
    let outside = components::outside(&mask);
    let mut filled = logits.to_vec();
    for (run, area) in outside.iter().zip(components::component_areas(&outside)) {
        if area <= MOST_HOLE {
            filled[run.y as usize * side..][run.x.start as usize..run.x.end as usize].fill(FILLING);
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::fill_holes;

    const SIDE: usize = 32;

    /// Logits of a map that is inside but where `is_hole` of x and y says otherwise.
    fn map(is_hole: impl Fn(usize, usize) -> bool) -> Vec<f32> {
        let logit = |at: usize| if is_hole(at % SIDE, at / SIDE) { 0.0 } else { 2.0 };
        (0..SIDE * SIDE).map(logit).collect()
    }

    #[test]
    fn holes_of_256_pixels_are_filled_and_larger_ones_stay() {
        let square = |x: usize, y: usize| (3..19).contains(&x) && (5..21).contains(&y);
        let expected = map(square)
            .into_iter()
            .map(|logit| if logit == 0.0 { 10.0 } else { logit });
        assert_eq!(fill_holes(&map(square), SIDE), expected.collect::<Vec<_>>());
        let larger = map(|x, y| square(x, y) || (x, y) == (19, 5));
        assert_eq!(fill_holes(&larger, SIDE), larger);
        // Two that touch at a corner are one.
        let of_two = |from: usize, x: usize, y: usize| (from..from + 12).contains(&x) && (from..from + 12).contains(&y);
        let two = map(|x, y| of_two(1, x, y) || of_two(13, x, y));
        assert_eq!(fill_holes(&two, SIDE), two);
    }
}
