//! What is shown of a frame: masks that share no pixel, and their boxes.

use super::object::ObjectId;
use crate::masks::Mask;

/// An object's mask on a frame, before it competes with others.
#[derive(Clone, Debug)]
pub struct Output {
    /// The object.
    pub id: ObjectId,
    /// The score of the detection that it began as.
    pub score: f32,
    /// Its probability on this frame: the tracker's, or on its first frame the detection's.
    pub frame_score: f32,
    /// The tracker's logit of its being there; none on its first frame.
    pub object_score: Option<f32>,
    /// The IoU that the mask decoder predicts for the mask, where it does.
    pub iou: Option<f32>,
    /// Its mask, at the size of the video.
    pub mask: Mask,
    /// Whether a later frame may remove it.
    pub is_tentative: bool,
}

/// An object as it is shown on a frame.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FrameObject {
    /// The object.
    pub id: ObjectId,
    /// The place of its text among the session's; none of an object that was clicked.
    pub text: Option<usize>,
    /// The score of the detection that it began as: the same on each frame (officially `out_probs`). Of an object that
    /// was clicked, [`iou`](Self::iou).
    pub score: f32,
    /// The tracker's logit of its being there; none on its first frame.
    pub object_score: Option<f32>,
    /// The IoU that the mask decoder predicts for the mask, where it does.
    pub iou: Option<f32>,
    /// `x1, y1, x2, y2`: the first and the last column and row of its mask, before other objects took their pixels
    /// out. As the last are inside, officially too, a box is a pixel narrower and lower than its mask.
    pub bbox: [u32; 4],
    /// Its pixels, at the size of the video. None is inside two masks of one text, and so a mask may be empty. Those of
    /// objects that were clicked may overlap, as officially.
    pub mask: Mask,
    /// Whether a later frame may remove the object: only where frames are emitted
    /// [at once](super::emission::Emission::AtOnce).
    pub is_tentative: bool,
}

impl FrameObject {
    /// An object that was clicked.
    pub(crate) fn clicked(id: ObjectId, mask: Mask, object_score: f32, iou: Option<f32>) -> Self {
        Self {
            id,
            text: None,
            score: iou.unwrap_or_default(),
            object_score: Some(object_score),
            iou,
            bbox: inclusive(mask.bounding_box().unwrap_or_default()),
            mask,
            is_tentative: false,
        }
    }

    /// The box as officially (`out_boxes_xywh`): left, top, width and height as shares of the video's.
    pub fn bbox_xywh(&self) -> [f32; 4] {
        let [x1, y1, x2, y2] = self.bbox;
        let (width, height) = (self.mask.width() as f32, self.mask.height() as f32);
        [
            x1 as f32 / width,
            y1 as f32 / height,
            (x2 - x1) as f32 / width,
            (y2 - y1) as f32 / height,
        ]
    }
}

/// A mask's box with its last column and row in place of those behind them; of an empty mask it is empty.
fn inclusive([x1, y1, x2, y2]: [u32; 4]) -> [u32; 4] {
    [x1, y1, x2.saturating_sub(1), y2.saturating_sub(1)]
}

/// Shows the objects of one text. Those without a mask are left out; of the others each pixel goes to the one with the
/// highest score on the frame, of equal ones to the lowest id.
pub(super) fn show(text: usize, outputs: Vec<Output>) -> Vec<FrameObject> {
    let boxed = |output: Output| output.mask.bounding_box().map(|bbox| (bbox, output));
    let mut boxed: Vec<_> = outputs.into_iter().filter_map(boxed).collect();
    boxed.sort_by(|(_, a), (_, b)| b.frame_score.total_cmp(&a.frame_score).then(a.id.cmp(&b.id)));
    let mut shown: Vec<FrameObject> = Vec::with_capacity(boxed.len());
    for ([x1, y1, x2, y2], output) in boxed {
        let mut mask = output.mask;
        shown.iter().for_each(|higher| mask.subtract(&higher.mask));
        shown.push(FrameObject {
            id: output.id,
            text: Some(text),
            score: output.score,
            object_score: output.object_score,
            iou: output.iou,
            bbox: inclusive([x1, y1, x2, y2]),
            mask: mask.trimmed(),
            is_tentative: output.is_tentative,
        });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(id: ObjectId, frame_score: f32, columns: std::ops::Range<u32>) -> Output {
        Output {
            id,
            score: 0.9,
            frame_score,
            object_score: None,
            iou: None,
            mask: Mask::from_fn(10, 4, |x, y| columns.contains(&x) && y > 0),
            is_tentative: false,
        }
    }

    #[test]
    fn a_pixel_goes_to_the_highest_score_and_of_equal_ones_to_the_lowest_id() {
        let shown = show(
            3,
            vec![
                output(4, 0.6, 0..6),
                output(1, 0.6, 2..8),
                output(2, 0.7, 7..9),
                output(5, 1.0, 3..3),
            ],
        );
        let columns = |object: &FrameObject| {
            object
                .mask
                .row_runs(1)
                .map(|run| (run.start, run.end))
                .collect::<Vec<_>>()
        };
        let found: Vec<_> = shown
            .iter()
            .map(|object| (object.id, object.bbox, columns(object)))
            .collect();
        let expected = [
            (2, [7, 1, 8, 3], vec![(7, 9)]),
            (1, [2, 1, 7, 3], vec![(2, 7)]),
            (4, [0, 1, 5, 3], vec![(0, 2)]),
        ];
        assert_eq!(found, expected);
        assert!(shown.iter().all(|object| object.text == Some(3)));
        assert_eq!(shown[2].bbox_xywh(), [0.0, 0.25, 0.5, 0.5]);
    }

    #[test]
    fn who_loses_every_pixel_stays_with_its_box() {
        let shown = show(0, vec![output(0, 0.5, 3..5), output(1, 0.8, 2..8)]);
        assert_eq!((shown[1].id, shown[1].bbox, shown[1].mask.area()), (0, [3, 1, 4, 3], 0));
    }
}
