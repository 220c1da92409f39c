//! When a frame's objects are told: when it is certain which of them stay, or at once.

use std::collections::VecDeque;

use super::{
    object::ObjectId,
    output::{FrameObject, Output, show},
    text::TextFrame,
    thresholds::HOTSTART_DELAY,
};
use crate::masks::Mask;

/// When frames are emitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emission {
    /// When no later frame can remove an object that is seen on them for the first time: 14 frames later, or at the
    /// end. What is removed in its hot start is never shown. This is what the official code does.
    #[default]
    Final,
    /// As they come. Objects are [tentative](FrameObject::is_tentative) until their hot start has passed, and
    /// [removed](FrameResult::removed) if they do not pass it.
    AtOnce,
}

/// What is told of a frame.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FrameResult {
    /// The frame's number in the video, from 0.
    pub frame: usize,
    /// The objects that have a mask on it, by id.
    pub objects: Vec<FrameObject>,
    /// Objects that this frame removed: frames that were emitted before may show them, this one does not.
    pub removed: Vec<ObjectId>,
    /// Number of objects that are followed on, with or without a mask (officially `num_obj_tracked`).
    pub tracked: usize,
    /// Number of objects that would have begun here, had there been room (officially `num_obj_dropped`).
    pub dropped: usize,
}

/// Holds frames back until they are emitted. It has one for all texts of a session, so that each frame is emitted once.
#[derive(Debug, Default)]
pub struct EmissionBuffer {
    emission: Emission,
    pending: VecDeque<Pending>,
}

/// A frame that is held back.
#[derive(Debug)]
struct Pending {
    frame: usize,
    /// The outputs of each text.
    texts: Vec<Vec<Output>>,
    /// Objects that were clicked.
    clicked: Vec<FrameObject>,
    removed: Vec<ObjectId>,
    tracked: usize,
    dropped: usize,
}

impl EmissionBuffer {
    /// Without frames.
    pub fn new(emission: Emission) -> Self {
        Self {
            emission,
            pending: VecDeque::new(),
        }
    }

    /// Takes a frame, with what each text says of it, and returns the one that is to be emitted now, if any.
    pub fn push(&mut self, frame: usize, texts: Vec<TextFrame>) -> Option<FrameResult> {
        self.push_with(frame, texts, Vec::new())
    }

    /// The same with objects that were `clicked`, which no frame to come removes: without texts, nothing is held back.
    pub fn push_with(&mut self, frame: usize, texts: Vec<TextFrame>, clicked: Vec<FrameObject>) -> Option<FrameResult> {
        let removed: Vec<ObjectId> = texts.iter().flat_map(|text| &text.decisions.removed).copied().collect();
        removed.iter().for_each(|&id| self.hide(id));
        let held_back = match self.emission {
            Emission::Final if !texts.is_empty() => HOTSTART_DELAY - 1,
            _ => 0,
        };
        self.pending.push_back(Pending {
            frame,
            removed,
            tracked: clicked.len() + texts.iter().map(|text| text.tracked).sum::<usize>(),
            dropped: texts.iter().map(|text| text.decisions.dropped).sum(),
            texts: texts.into_iter().map(|text| text.outputs).collect(),
            clicked,
        });
        (self.pending.len() > held_back).then(|| self.emit_oldest())?
    }

    /// Takes an object out of the frames that are held back.
    pub fn hide(&mut self, id: ObjectId) {
        for frame in &mut self.pending {
            frame.clicked.retain(|object| object.id != id);
            for text in &mut frame.texts {
                text.retain(|output| output.id != id);
            }
        }
    }

    /// Emits the frames that are held back: no frame follows on this walk through the video.
    pub fn finish(&mut self) -> Vec<FrameResult> {
        std::iter::from_fn(|| self.emit_oldest()).collect()
    }

    /// What the frames that are held back take of memory.
    pub(crate) fn bytes(&self) -> u64 {
        let masks = self.pending.iter().flat_map(|frame| {
            let of_texts = frame.texts.iter().flatten().map(|output| &output.mask);
            of_texts.chain(frame.clicked.iter().map(|object| &object.mask))
        });
        masks.map(Mask::bytes).sum()
    }

    fn emit_oldest(&mut self) -> Option<FrameResult> {
        let frame = self.pending.pop_front()?;
        let texts = frame.texts.into_iter().enumerate();
        let mut objects: Vec<FrameObject> = texts.flat_map(|(text, outputs)| show(text, outputs)).collect();
        objects.extend(frame.clicked.into_iter().filter(|object| object.mask.area() > 0));
        objects.sort_by_key(|object| object.id);
        if self.emission == Emission::Final {
            objects.iter_mut().for_each(|object| object.is_tentative = false);
        }
        Some(FrameResult {
            frame: frame.frame,
            objects,
            removed: frame.removed,
            tracked: frame.tracked,
            dropped: frame.dropped,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracking::Decisions;

    fn text(ids: &[ObjectId], removed: &[ObjectId]) -> TextFrame {
        let output = |&id: &ObjectId| Output {
            id,
            score: 0.9,
            frame_score: 1.0 / (2.0 + id as f32),
            object_score: Some(3.0),
            iou: None,
            mask: Mask::from_fn(8, 1, |x, _| x < 1 + id),
            is_tentative: true,
        };
        TextFrame {
            outputs: ids.iter().map(output).collect(),
            tracked: ids.len(),
            decisions: Decisions {
                removed: removed.to_vec(),
                ..Decisions::default()
            },
        }
    }

    fn ids(result: &FrameResult) -> Vec<ObjectId> {
        result.objects.iter().map(|object| object.id).collect()
    }

    #[test]
    fn a_final_frame_comes_out_fourteen_frames_later_without_what_was_removed_since() {
        let mut buffer = EmissionBuffer::new(Emission::Final);
        for frame in 0..14 {
            assert!(buffer.push(frame, vec![text(&[0, 1, 2], &[])]).is_none());
        }
        let first = buffer.push(14, vec![text(&[0, 2], &[1])]).unwrap();
        assert_eq!((first.frame, ids(&first), first.tracked), (0, vec![0, 2], 3));
        assert!(first.removed.is_empty() && first.objects.iter().all(|object| !object.is_tentative));
        // Without 0 in its way, 2 has the pixel back that they shared.
        assert_eq!(first.objects[1].mask.area(), 2);
        buffer.hide(0);
        let rest = buffer.finish();
        assert_eq!(
            rest.iter().map(|result| result.frame).collect::<Vec<_>>(),
            (1..15).collect::<Vec<_>>()
        );
        assert!(
            rest.iter()
                .all(|result| ids(result) == [2] && result.objects[0].mask.area() == 3)
        );
        assert_eq!((&rest[13].removed, rest[13].tracked), (&vec![1], 2));
        assert!(buffer.finish().is_empty());
    }

    #[test]
    fn at_once_a_frame_comes_out_as_it_goes_in() {
        let mut buffer = EmissionBuffer::new(Emission::AtOnce);
        let result = buffer.push(7, vec![text(&[0, 1], &[5])]).unwrap();
        assert_eq!((result.frame, ids(&result), result.removed), (7, vec![0, 1], vec![5]));
        assert!(result.objects.iter().all(|object| object.is_tentative));
        assert!(buffer.finish().is_empty());
    }

    #[test]
    fn objects_take_pixels_from_those_of_their_own_text_alone() {
        let mut buffer = EmissionBuffer::new(Emission::AtOnce);
        let result = buffer.push(0, vec![text(&[1, 4], &[]), text(&[0, 3], &[])]).unwrap();
        let shown = |o: &FrameObject| (o.id, o.text.unwrap(), o.mask.area());
        let found: Vec<_> = result.objects.iter().map(shown).collect();
        assert_eq!(found, [(0, 1, 1), (1, 0, 2), (3, 1, 3), (4, 0, 3)]);
        assert_eq!(result.tracked, 4);
    }

    #[test]
    fn clicked_objects_are_held_back_with_the_frames_of_texts_alone() {
        let clicked = |id: ObjectId, pixels: u32| {
            let mask = Mask::from_fn(4, 4, |x, y| 4 * y + x < pixels);
            FrameObject::clicked(id, mask, 2.0, Some(0.75))
        };
        let mut buffer = EmissionBuffer::new(Emission::Final);
        let result = buffer.push_with(0, vec![], vec![clicked(3, 6), clicked(5, 0)]).unwrap();
        assert_eq!(
            (ids(&result), result.tracked),
            (vec![3], 2),
            "an empty mask is not shown"
        );
        let object = &result.objects[0];
        assert_eq!((object.text, object.score, object.iou), (None, 0.75, Some(0.75)));
        assert_eq!(object.bbox, [0, 0, 3, 1]);
        for frame in 1..15 {
            assert!(
                buffer
                    .push_with(frame, vec![text(&[0], &[])], vec![clicked(3, 6), clicked(4, 2)])
                    .is_none()
            );
        }
        buffer.hide(4);
        let result = buffer.push_with(15, vec![text(&[0], &[])], vec![]).unwrap();
        assert_eq!((result.frame, ids(&result)), (1, vec![0, 3]));
    }
}
