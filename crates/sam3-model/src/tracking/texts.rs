//! Several texts on one video.

use super::{
    detection::Detection,
    object::{ObjectId, ObjectIds},
    text::{MaskSizes, TextFrame, TextTracking},
    thresholds::CORRECTED_SCORE,
    tracker::Tracker,
    visit::Visit,
};
use crate::Result;

/// The texts of a session, each followed for itself: an object of one text neither matches nor hides another text's,
/// and both may be one thing. Only the numbers of objects are unique over all of them.
#[derive(Debug)]
pub struct Texts<G> {
    sizes: MaskSizes,
    texts: Vec<TextTracking<G>>,
    ids: ObjectIds,
}

impl<G> Texts<G> {
    /// Without texts.
    pub fn new(sizes: MaskSizes) -> Self {
        Self {
            sizes,
            texts: Vec::new(),
            ids: ObjectIds::default(),
        }
    }

    /// Begins to follow a text, from the next frame on; returns its place.
    pub fn add(&mut self) -> usize {
        self.texts.push(TextTracking::new(self.sizes));
        self.texts.len() - 1
    }

    /// The number of the next object, for one that no text finds.
    pub fn next_id(&mut self) -> ObjectId {
        self.ids.next_id()
    }

    /// Follows all objects to a frame, with what the detector found there for each text.
    ///
    /// # Errors
    /// As [`TextTracking::step`].
    ///
    /// # Panics
    /// As there, and when there are not as many lists of detections as texts.
    pub fn step<T: Tracker<Group = G>>(
        &mut self,
        tracker: &mut T,
        visit: Visit,
        detections: &[Vec<Detection>],
    ) -> Result<Vec<TextFrame>> {
        assert_eq!(detections.len(), self.texts.len(), "detections for each text");
        let texts = self.texts.iter_mut().zip(detections);
        texts
            .map(|(text, detections)| text.step(tracker, &mut self.ids, visit, detections))
            .collect()
    }

    /// Stops following an object, and frees what is known of it; returns whether it was followed. Frames that are
    /// held back may show it still: see [`EmissionBuffer::hide`](super::EmissionBuffer::hide).
    ///
    /// # Errors
    /// When the tracker fails.
    pub fn remove<T: Tracker<Group = G>>(&mut self, tracker: &mut T, id: ObjectId) -> Result<bool> {
        for text in &mut self.texts {
            if text.remove(tracker, id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets a user correct an object, whose score is 1 from then on: `by` shows it to the tracker. Returns its text's
    /// place, and what `by` does; none where no text found it. Before the next [`step`](Self::step), what was shown is
    /// to be committed.
    ///
    /// # Errors
    /// As `by`.
    pub fn correct<R>(&mut self, id: ObjectId, by: impl FnOnce(&mut G) -> Result<R>) -> Result<Option<(usize, R)>> {
        let mut texts = self.texts.iter_mut().enumerate();
        let found = texts.find_map(|(place, text)| Some((place, text.object_mut(id)?)));
        let Some((place, (object, state))) = found else {
            return Ok(None);
        };
        let shown = by(state)?;
        object.score = CORRECTED_SCORE;
        Ok(Some((place, shown)))
    }

    /// What the tracker remembers of each group of objects.
    pub fn states_mut(&mut self) -> impl Iterator<Item = &mut G> {
        self.texts.iter_mut().flat_map(TextTracking::states_mut)
    }

    /// What the tracker remembers of each group.
    pub(crate) fn states(&self) -> impl Iterator<Item = &G> {
        self.texts.iter().flat_map(TextTracking::states)
    }

    /// The objects that are followed, by text and by group of those that are tracked together.
    pub fn groups(&self) -> impl Iterator<Item = (usize, Vec<ObjectId>)> {
        let texts = self.texts.iter().enumerate();
        texts.flat_map(|(place, text)| text.groups().map(move |group| (place, group)))
    }
}

#[cfg(test)]
mod tests {
    use std::{ops::Range, rc::Rc};

    use super::super::{
        Direction, Emission, EmissionBuffer, FrameResult, MaskPrompt, MemoryMask, Tracked, object::Object,
    };
    use super::*;

    const SIDE: usize = 16;
    const SIZES: MaskSizes = MaskSizes {
        low_res: SIDE,
        width: 32,
        height: 16,
    };

    /// Finds each object where it was found first, for ever.
    #[derive(Default)]
    struct Still {
        groups: Rc<()>,
        calls: usize,
    }

    struct Group {
        objects: Vec<(ObjectId, Vec<f32>)>,
        _counted: Rc<()>,
    }

    impl Tracker for Still {
        type Group = Group;

        fn new_group(&mut self) -> Group {
            Group {
                objects: Vec::new(),
                _counted: Rc::clone(&self.groups),
            }
        }

        fn propagate(&mut self, group: &mut Group, _: Visit) -> Result<Vec<Tracked>> {
            self.calls += 1;
            let tracked = |(_, logits): &(ObjectId, Vec<f32>)| Tracked {
                logits: logits.clone(),
                object_score: 5.0,
                iou: Some(0.9),
            };
            Ok(group.objects.iter().map(tracked).collect())
        }

        fn add_mask(&mut self, group: &mut Group, _: usize, prompt: &MaskPrompt<'_>) -> Result<()> {
            let logits = prompt.logits.to_vec();
            match group.objects.iter_mut().find(|(id, _)| *id == prompt.id) {
                Some((_, own)) => *own = logits,
                None => group.objects.push((prompt.id, logits)),
            }
            Ok(())
        }

        fn commit(&mut self, _: &mut Group, _: usize) -> Result<()> {
            Ok(())
        }

        fn encode_memory(&mut self, group: &mut Group, _: usize, masks: &[MemoryMask<'_>]) -> Result<()> {
            assert_eq!(group.objects.len(), masks.len());
            Ok(())
        }

        fn remove(&mut self, group: &mut Group, id: ObjectId) -> Result<()> {
            group.objects.retain(|(own, _)| *own != id);
            Ok(())
        }
    }

    /// Of some columns.
    fn detection(query: usize, columns: Range<usize>) -> Detection {
        let logit = |i: usize| if columns.contains(&(i % SIDE)) { 4.0 } else { -4.0 };
        Detection {
            query,
            score: 0.9,
            logits: (0..SIDE * SIDE).map(logit).collect(),
        }
    }

    fn visit(frame: usize) -> Visit {
        Visit {
            frame,
            direction: Direction::Forward,
        }
    }

    fn found(result: &FrameResult) -> Vec<(ObjectId, usize, u64)> {
        let objects = result.objects.iter();
        objects
            .map(|object| (object.id, object.text.unwrap(), object.mask.area()))
            .collect()
    }

    #[test]
    fn texts_share_the_numbers_of_objects_and_nothing_else() {
        let (mut tracker, mut texts) = (Still::default(), Texts::new(SIZES));
        let mut buffer = EmissionBuffer::new(Emission::AtOnce);
        assert_eq!((texts.add(), texts.add()), (0, 1));
        let both = || vec![detection(3, 0..4), detection(9, 8..12)];
        let frames = texts
            .step(&mut tracker, visit(0), &[both(), both()[..1].to_vec()])
            .unwrap();
        let result = buffer.push(0, frames).unwrap();
        assert_eq!(found(&result), [(0, 0, 128), (1, 0, 128), (2, 1, 128)]);
        // A third text finds what the others follow.
        assert_eq!(texts.add(), 2);
        let detections = [both(), both(), both()[..1].to_vec()];
        let frames = texts.step(&mut tracker, visit(1), &detections).unwrap();
        assert_eq!(frames[1].decisions.new_ids, [3]);
        let result = buffer.push(1, frames).unwrap();
        let ids_and_texts: Vec<_> = found(&result).into_iter().map(|(id, text, _)| (id, text)).collect();
        assert_eq!(ids_and_texts, [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2)]);
        assert!(result.objects.iter().all(|object| object.mask.area() == 128));
        let groups: Vec<_> = texts.groups().collect();
        assert_eq!(groups, [(0, vec![0, 1]), (1, vec![2]), (1, vec![3]), (2, vec![4])]);
    }

    #[test]
    fn who_is_removed_by_hand_is_freed_and_hidden() {
        let (mut tracker, mut texts) = (Still::default(), Texts::new(SIZES));
        let mut buffer = EmissionBuffer::new(Emission::Final);
        texts.add();
        let detections = || [vec![detection(0, 0..4), detection(1, 8..12)]];
        for frame in 0..3 {
            let frames = texts.step(&mut tracker, visit(frame), &detections()).unwrap();
            assert!(buffer.push(frame, frames).is_none());
        }
        assert!(texts.remove(&mut tracker, 0).unwrap());
        buffer.hide(0);
        assert!(!texts.remove(&mut tracker, 0).unwrap());
        assert!(buffer.finish().iter().all(|result| found(result) == [(1, 0, 128)]));
        assert_eq!((texts.groups().count(), Rc::strong_count(&tracker.groups)), (1, 2));
        // The thing is found again, as another object.
        let frames = texts.step(&mut tracker, visit(3), &detections()).unwrap();
        assert_eq!(frames[0].decisions.new_ids, [2]);
        for id in [1, 2] {
            assert!(texts.remove(&mut tracker, id).unwrap());
        }
        assert_eq!((texts.groups().count(), Rc::strong_count(&tracker.groups)), (0, 1));
        let calls = tracker.calls;
        texts.step(&mut tracker, visit(4), &[vec![]]).unwrap();
        assert_eq!(tracker.calls, calls, "a group without objects is not tracked");
    }

    #[test]
    fn who_is_corrected_has_the_highest_score_from_then_on() {
        let (mut tracker, mut texts) = (Still::default(), Texts::new(SIZES));
        texts.add();
        let detections = || [vec![detection(0, 0..4), detection(1, 8..12)]];
        let mut scores = |texts: &mut Texts<Group>, frame| {
            let [text] = &texts.step(&mut tracker, visit(frame), &detections()).unwrap()[..] else {
                panic!("one text")
            };
            text.outputs.iter().map(|output| output.score).collect::<Vec<_>>()
        };
        assert_eq!(scores(&mut texts, 0), [0.9, 0.9]);
        let moved = |group: &mut Group| {
            group.objects[1].1 = detection(0, 9..13).logits;
            Ok(group.objects[1].0)
        };
        assert_eq!(texts.correct(1, moved).unwrap(), Some((0, 1)));
        assert_eq!(scores(&mut texts, 1), [0.9, 1.0]);
        assert!(texts.correct(7, |_| Ok(())).unwrap().is_none());
        let failed = texts.correct(0, |_| Err::<(), _>(crate::Error::OtherModel));
        assert!(failed.is_err());
        assert_eq!(scores(&mut texts, 2), [0.9, 1.0], "what fails changes nothing");
    }

    #[test]
    fn with_an_object_goes_what_others_know_of_it() {
        let mut tracker = Still::default();
        let (mut text, mut ids) = (TextTracking::new(SIZES), ObjectIds::default());
        let mut step = |text: &mut TextTracking<Group>, tracker: &mut Still, frame, detections: &[Detection]| {
            text.step(tracker, &mut ids, visit(frame), detections)
                .unwrap()
                .decisions
        };
        step(&mut text, &mut tracker, 0, &[detection(0, 0..6)]);
        step(&mut text, &mut tracker, 1, &[detection(0, 5..12)]);
        let decisions = step(&mut text, &mut tracker, 2, &[detection(0, 2..9)]);
        assert_eq!(decisions.duplicates, [(0, 1, 1)]);
        assert_eq!(text.objects()[1].duplicates.known(), 1);
        assert!(text.remove(&mut tracker, 0).unwrap());
        assert_eq!(text.objects()[0].duplicates.known(), 0);
    }

    #[test]
    fn no_more_objects_are_followed_than_there_is_room_for() {
        let mut tracker = Still::default();
        let (mut text, mut ids) = (TextTracking::new(SIZES).with_max_objects(2), ObjectIds::default());
        let mut detections = vec![detection(0, 0..4), detection(1, 5..8), detection(2, 10..14)];
        detections[1].score = 0.95;
        let first = text.step(&mut tracker, &mut ids, visit(0), &detections).unwrap();
        assert_eq!((first.decisions.new, first.decisions.dropped), (vec![1, 0], 1));
        let next = text.step(&mut tracker, &mut ids, visit(1), &detections).unwrap();
        assert_eq!((next.decisions.new.len(), next.decisions.dropped), (0, 1));
        let mut buffer = EmissionBuffer::new(Emission::AtOnce);
        assert_eq!(buffer.push(1, vec![next]).unwrap().dropped, 1);
    }

    #[test]
    fn what_is_kept_does_not_grow_with_the_frames() {
        let (mut tracker, mut texts) = (Still::default(), Texts::new(SIZES));
        let mut buffer = EmissionBuffer::new(Emission::Final);
        texts.add();
        let (mut most, mut removed) = (0, 0);
        for frame in 0..2000 {
            // One thing that stays, and ghosts that are gone a frame later.
            let mut detections = vec![detection(0, 0..4)];
            if frame % 10 == 5 {
                detections.push(detection(1, 8..12));
            }
            let frames = texts.step(&mut tracker, visit(frame), &[detections]).unwrap();
            removed += frames[0].decisions.removed.len();
            let shown = buffer.push(frame, frames);
            assert!(
                shown.is_none_or(|result| found(&result) == [(0, 0, 128)]),
                "frame {frame}"
            );
            let objects: &[Object] = texts.texts[0].objects();
            most = most.max(objects.len() + Rc::strong_count(&tracker.groups) - 1);
        }
        assert_eq!(removed, 199, "the last ghost has three frames");
        assert_eq!(most, 4, "two objects in two groups");
    }
}
