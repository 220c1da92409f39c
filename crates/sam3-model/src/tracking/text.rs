//! Following what one text means: the order of operations on a frame.

use sam3_tensor::ops::logistic;

use super::{
    association::{associate, limit_new},
    binary_mask::BinaryMask,
    cleaning::clean,
    decisions::Decisions,
    detection::{Detection, Kept, non_maximum_suppression},
    hot_start::{HotStart, hot_start, is_tentative},
    object::{Object, ObjectId, ObjectIds},
    occlusion::suppress_recently_occluded,
    output::Output,
    shrink::shrink,
    thresholds::{HIGH_CONF_THRESH, MAX_NUM_OBJECTS, RECONDITION_EVERY_NTH_FRAME},
    tracker::{MaskPrompt, MemoryLogits, MemoryMask, Tracked, Tracker},
    visit::Visit,
};
use crate::{Result, masks::Mask};

/// The objects that one text means, and what is remembered to decide about them.
///
/// `G` is what a [`Tracker`] remembers of a group. All else is bounded by the number of objects that are followed,
/// whatever the number of frames: what is known of an object that is removed is freed.
#[derive(Debug)]
pub struct TextTracking<G> {
    sizes: MaskSizes,
    max_objects: usize,
    groups: Vec<Group<G>>,
    /// All groups' objects, one group behind the other.
    objects: Vec<Object>,
}

/// The sizes of masks, which stay the same through a video.
#[derive(Clone, Copy, Debug)]
pub struct MaskSizes {
    /// Logits in a side of a low-resolution mask.
    pub low_res: usize,
    /// Pixels in a row of the video.
    pub width: u32,
    /// Rows of the video.
    pub height: u32,
}

/// What one text says of a frame.
#[derive(Clone, Debug, Default)]
pub struct TextFrame {
    /// The objects that have a mask and are not removed.
    pub outputs: Vec<Output>,
    /// Number of objects that are followed on.
    pub tracked: usize,
    /// How they came about.
    pub decisions: Decisions,
}

#[derive(Debug)]
struct Group<G> {
    state: G,
    /// Number of its objects.
    len: usize,
}

/// The objects as they are tracked on a frame, in their order.
#[derive(Default)]
struct Tracks {
    /// With clean masks.
    tracked: Vec<Tracked>,
    /// Where these are above 0.
    masks: Vec<BinaryMask>,
    /// Whether they differ from what the tracker returned.
    is_cleaned: Vec<bool>,
}

impl<G> TextTracking<G> {
    /// Without objects.
    pub fn new(sizes: MaskSizes) -> Self {
        Self {
            sizes,
            max_objects: MAX_NUM_OBJECTS,
            groups: Vec::new(),
            objects: Vec::new(),
        }
    }

    /// To follow no more than so many objects at once: where there is no room the best detections become objects, and
    /// no object goes for them.
    #[must_use]
    pub fn with_max_objects(self, max_objects: usize) -> Self {
        Self { max_objects, ..self }
    }

    /// The objects that are followed, in groups of those that are tracked together.
    pub fn groups(&self) -> impl Iterator<Item = Vec<ObjectId>> {
        let mut objects = self.objects.iter().map(|object| object.id);
        self.groups
            .iter()
            .map(move |group| objects.by_ref().take(group.len).collect())
    }

    /// An object, with what the tracker remembers of its group.
    pub(super) fn object_mut(&mut self, id: ObjectId) -> Option<(&mut Object, &mut G)> {
        let place = self.objects.iter().position(|object| object.id == id)?;
        let group = self.group_of(place);
        Some((&mut self.objects[place], &mut self.groups[group].state))
    }

    /// What the tracker remembers of each group, for prompts of a user to be committed.
    pub fn states_mut(&mut self) -> impl Iterator<Item = &mut G> {
        self.groups.iter_mut().map(|group| &mut group.state)
    }

    /// What the tracker remembers of each group.
    pub(crate) fn states(&self) -> impl Iterator<Item = &G> {
        self.groups.iter().map(|group| &group.state)
    }

    /// All that is remembered of the objects beside what the tracker does.
    #[cfg(test)]
    pub(super) fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Follows the objects to a frame, with what the detector found there for the text.
    ///
    /// Detections with a score of at most [`SCORE_THRESHOLD_DETECTION`](super::thresholds::SCORE_THRESHOLD_DETECTION)
    /// may be left out: their masks are not looked at. A box without a text finds objects on its own frame: on other
    /// frames there are officially no detections for it, and so its objects do not pass their hot start.
    ///
    /// # Errors
    /// When the tracker fails, or there is no room for a mask. The state is then to be dropped: a part of the frame
    /// is done.
    ///
    /// # Panics
    /// When a mask has not as many logits as its size says, or the tracker returns not as many tracks as there are
    /// objects.
    pub fn step<T: Tracker<Group = G>>(
        &mut self,
        tracker: &mut T,
        ids: &mut ObjectIds,
        visit: Visit,
        detections: &[Detection],
    ) -> Result<TextFrame> {
        let detections = non_maximum_suppression(detections, self.sizes.low_res);
        let tracks = self.propagate(tracker, visit)?;
        let mut association = associate(&detections, &tracks.masks);
        let room = self.max_objects.saturating_sub(self.objects.len());
        let dropped = limit_new(&mut association.new, &detections, room);
        // Only told here: who is removed is tracked and remembered on this frame as the others are.
        let HotStart { is_removed, duplicates } = hot_start(&mut self.objects, &association, visit);
        let high = self.recondition(tracker, visit, &association.high, &tracks, &detections)?;
        let is_suppressed = suppress_recently_occluded(&mut self.objects, &tracks.masks, visit);
        self.encode_memory(tracker, visit.frame, &tracks, &is_suppressed)?;

        let new: Vec<&Kept<'_>> = association.new.iter().map(|&index| &detections[index]).collect();
        let decisions = Decisions {
            kept: detections.iter().map(|detection| detection.query).collect(),
            cleaned: self.where_true(&tracks.is_cleaned),
            reconditioned: high,
            suppressed: self.where_true(&is_suppressed),
            new_ids: new.iter().map(|_| ids.next_id()).collect(),
            removed: self.where_true(&is_removed),
            duplicates,
            dropped,
            ..Decisions::of(&self.objects, association)
        };
        let is_hidden: Vec<bool> = is_removed.iter().zip(&is_suppressed).map(|(a, b)| *a || *b).collect();
        let mut outputs = self.outputs(&tracks, &is_hidden, visit)?;
        outputs.extend(self.new_outputs(&new, &decisions.new_ids, visit)?);
        self.add_group(tracker, visit.frame, &new, &decisions.new_ids)?;
        for &id in &decisions.removed {
            self.remove(tracker, id)?;
        }
        Ok(TextFrame {
            outputs,
            tracked: self.objects.len(),
            decisions,
        })
    }

    /// Stops following an object, and frees what is known of it; returns whether it was followed.
    ///
    /// # Errors
    /// When the tracker fails.
    pub fn remove<T: Tracker<Group = G>>(&mut self, tracker: &mut T, id: ObjectId) -> Result<bool> {
        let Some(place) = self.objects.iter().position(|object| object.id == id) else {
            return Ok(false);
        };
        let group = self.group_of(place);
        tracker.remove(&mut self.groups[group].state, id)?;
        self.groups[group].len -= 1;
        if self.groups[group].len == 0 {
            self.groups.remove(group);
        }
        self.objects.remove(place);
        self.objects.iter_mut().for_each(|object| object.duplicates.forget(id));
        Ok(true)
    }

    /// The ids of the objects for which `is` holds.
    fn where_true(&self, is: &[bool]) -> Vec<ObjectId> {
        let objects = self.objects.iter().zip(is);
        objects.filter(|(_, is)| **is).map(|(object, _)| object.id).collect()
    }

    /// The group that the object at `place` is in.
    fn group_of(&self, place: usize) -> usize {
        let mut end = 0;
        let is_behind = |group: &Group<G>| {
            end += group.len;
            place < end
        };
        self.groups
            .iter()
            .position(is_behind)
            .expect("every object is in a group")
    }

    fn propagate<T: Tracker<Group = G>>(&mut self, tracker: &mut T, visit: Visit) -> Result<Tracks> {
        let mut tracks = Tracks::default();
        for group in &mut self.groups {
            let tracked = tracker.propagate(&mut group.state, visit)?;
            assert_eq!(tracked.len(), group.len, "one track for each object of a group");
            for mut tracked in tracked {
                let (mask, is_cleaned) = clean(&mut tracked.logits, self.sizes.low_res);
                tracks.tracked.push(tracked);
                tracks.masks.push(mask);
                tracks.is_cleaned.push(is_cleaned);
            }
        }
        Ok(tracks)
    }

    /// Every few frames, gives tracks the masks of the detections that they nearly equal, one after the other;
    /// returns to whom.
    ///
    /// Three things look unintended here, and are official. The threshold of a probability is compared with the
    /// track's logit, where it means a probability of 0.69. The frame becomes a conditioning frame of the whole group.
    /// And of what the detection's mask brings only the pointer stays, as [`encode_memory`](Self::encode_memory)
    /// replaces the memory by the track's mask.
    fn recondition<T: Tracker<Group = G>>(
        &mut self,
        tracker: &mut T,
        visit: Visit,
        high: &[(usize, usize)],
        tracks: &Tracks,
        detections: &[Kept<'_>],
    ) -> Result<Vec<ObjectId>> {
        let mut reconditioned = Vec::new();
        if !visit.frame.is_multiple_of(RECONDITION_EVERY_NTH_FRAME) {
            return Ok(reconditioned);
        }
        for &(track, detection) in high {
            if tracks.tracked[track].object_score > HIGH_CONF_THRESH {
                let id = self.objects[track].id;
                let group = self.group_of(track);
                let state = &mut self.groups[group].state;
                tracker.add_mask(state, visit.frame, &detections[detection].prompt(id))?;
                tracker.commit(state, visit.frame)?;
                reconditioned.push(id);
            }
        }
        Ok(reconditioned)
    }

    fn encode_memory<T: Tracker<Group = G>>(
        &mut self,
        tracker: &mut T,
        frame: usize,
        tracks: &Tracks,
        is_suppressed: &[bool],
    ) -> Result<()> {
        let tracked = tracks.tracked.iter().zip(is_suppressed);
        let logits: Vec<Option<&[f32]>> = tracked
            .map(|(tracked, is_suppressed)| (!is_suppressed).then_some(&tracked.logits[..]))
            .collect();
        let shrunk = shrink(&logits, self.sizes.low_res)?;
        let mask = |track: usize| MemoryMask {
            id: self.objects[track].id,
            logits: match logits[track] {
                None => MemoryLogits::Suppressed,
                Some(logits) if tracks.is_cleaned[track] => MemoryLogits::Cleaned(logits),
                Some(_) => MemoryLogits::AsTracked,
            },
            is_capped: shrunk[track].is_capped,
            is_present: shrunk[track].is_present,
        };
        let masks: Vec<MemoryMask<'_>> = (0..shrunk.len()).map(mask).collect();
        let mut rest = masks.as_slice();
        for group in &mut self.groups {
            let (own, others) = rest.split_at(group.len);
            tracker.encode_memory(&mut group.state, frame, own)?;
            rest = others;
        }
        Ok(())
    }

    /// What is shown of the tracks: not the detections' masks, also where they were reconditioned.
    fn outputs(&self, tracks: &Tracks, is_hidden: &[bool], visit: Visit) -> Result<Vec<Output>> {
        let is_shown = |track: &usize| !is_hidden[*track] && !tracks.masks[*track].is_empty();
        let output = |track: usize| {
            let (object, tracked) = (&self.objects[track], &tracks.tracked[track]);
            Ok(Output {
                id: object.id,
                score: object.score,
                frame_score: logistic(tracked.object_score),
                object_score: Some(tracked.object_score),
                iou: tracked.iou,
                mask: self.sizes.enlarged(&tracked.logits)?,
                is_tentative: is_tentative(object.first_frame, visit),
            })
        };
        (0..self.objects.len()).filter(is_shown).map(output).collect()
    }

    /// What is shown of new objects: the detections' masks, cleaned.
    fn new_outputs(&self, new: &[&Kept<'_>], ids: &[ObjectId], visit: Visit) -> Result<Vec<Output>> {
        let output = |(detection, &id): (&&Kept<'_>, &ObjectId)| {
            let mut logits = detection.logits.to_vec();
            clean(&mut logits, self.sizes.low_res);
            Ok(Output {
                id,
                score: detection.score,
                frame_score: detection.score,
                object_score: None,
                iou: None,
                mask: self.sizes.enlarged(&logits)?,
                is_tentative: is_tentative(visit.frame, visit),
            })
        };
        new.iter().zip(ids).map(output).collect()
    }

    /// Begins to follow new objects, as one group. Their mask prompts are the detections' own, not cleaned.
    fn add_group<T: Tracker<Group = G>>(
        &mut self,
        tracker: &mut T,
        frame: usize,
        new: &[&Kept<'_>],
        ids: &[ObjectId],
    ) -> Result<()> {
        if new.is_empty() {
            return Ok(());
        }
        let mut state = tracker.new_group();
        for (detection, &id) in new.iter().zip(ids) {
            tracker.add_mask(&mut state, frame, &detection.prompt(id))?;
            self.objects.push(Object::new(id, detection.score, frame));
        }
        tracker.commit(&mut state, frame)?;
        self.groups.push(Group { state, len: new.len() });
        Ok(())
    }
}

impl MaskSizes {
    /// The mask of low-resolution logits, at the size of the video.
    pub(crate) fn enlarged(&self, logits: &[f32]) -> Result<Mask> {
        Mask::from_logits(logits, (self.low_res, self.low_res), (self.height, self.width))
    }
}

impl Kept<'_> {
    /// Its mask as a prompt for an object.
    fn prompt(&self, id: ObjectId) -> MaskPrompt<'_> {
        MaskPrompt {
            id,
            query: self.query,
            logits: self.logits,
        }
    }
}
