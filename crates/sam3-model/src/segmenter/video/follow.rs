//! Who is followed: the objects of texts, and those that were clicked.

use std::collections::BTreeMap;

use super::recording::Recording;
use crate::{
    error::{Result, VideoError},
    predictor::{Frame, InferenceState, OnFrame, Predictor},
    tracking::{Detection, FrameObject, MaskSizes, ObjectId, TextFrame, Texts, Visit, thresholds::CORRECTED_SCORE},
};

/// All objects of a session.
pub struct Following {
    predictor: Predictor,
    sizes: MaskSizes,
    /// Width and height of the pictures.
    picture: (u32, u32),
    texts: Texts<InferenceState>,
    /// How many texts were looked for on a frame.
    texts_seen: usize,
    /// Objects that were clicked, in groups that are followed together.
    clicked: Vec<InferenceState>,
    /// Whether these are followed already: who comes later is followed for itself.
    is_following: bool,
}

impl Following {
    pub fn new(predictor: Predictor, sizes: MaskSizes, picture: (u32, u32)) -> Self {
        Self {
            predictor,
            sizes,
            picture,
            texts: Texts::new(sizes),
            texts_seen: 0,
            clicked: Vec::new(),
            is_following: false,
        }
    }

    /// Width and height of the pictures.
    pub fn picture(&self) -> (u32, u32) {
        self.picture
    }

    /// What is remembered of all objects, in bytes of memory.
    pub fn bytes(&self) -> u64 {
        self.texts
            .states()
            .chain(&self.clicked)
            .map(InferenceState::bytes)
            .sum()
    }

    /// Whether an object was clicked.
    pub fn has_clicked(&self) -> bool {
        !self.clicked.is_empty()
    }

    /// All objects, by id.
    pub fn objects(&self) -> Vec<ObjectId> {
        let clicked = self.clicked.iter().flat_map(InferenceState::ids).copied();
        let mut ids: Vec<ObjectId> = clicked.chain(self.of_texts()).collect();
        ids.sort_unstable();
        ids
    }

    /// The objects that texts found.
    fn of_texts(&self) -> impl Iterator<Item = ObjectId> {
        self.texts.groups().flat_map(|(_, ids)| ids)
    }

    /// Shows an object that is followed on a frame, or a new one.
    ///
    /// # Errors
    /// When there is no such object, or a text's was not followed to the frame; and what `by` says.
    pub fn show(
        &mut self,
        object: Option<ObjectId>,
        frame: &Frame,
        by: impl FnOnce(OnFrame<'_>, MaskSizes, &mut InferenceState, ObjectId) -> Result<FrameObject>,
    ) -> Result<FrameObject> {
        let Some(id) = object else {
            let (id, place) = (self.texts.next_id(), self.group_of_new());
            let shown = by(self.predictor.on(frame), self.sizes, &mut self.clicked[place], id);
            if shown.is_err() {
                self.clicked[place].remove(id);
                self.forget_empty();
            }
            return shown;
        };
        let (on, sizes) = (self.predictor.on(frame), self.sizes);
        if let Some(place) = self.group_of(id) {
            return by(on, sizes, &mut self.clicked[place], id);
        }
        let frame = frame.index();
        let corrected = self.texts.correct(id, |state| {
            // Officially, too, who is corrected was seen there: the others of its group stay as they were.
            if !state.has(frame) {
                return Err(VideoError::OfText { id, frame }.into());
            }
            let shown = by(on, sizes, state, id)?;
            state.release_detections(frame);
            Ok(shown)
        })?;
        let (text, shown) = corrected.ok_or(VideoError::NoObject { id })?;
        Ok(FrameObject {
            text: Some(text),
            score: CORRECTED_SCORE,
            ..shown
        })
    }

    /// The place of the group that an object is in which was clicked.
    fn group_of(&self, id: ObjectId) -> Option<usize> {
        self.clicked.iter().position(|state| state.ids().contains(&id))
    }

    fn group_of_new(&mut self) -> usize {
        if self.clicked.is_empty() || self.is_following {
            self.clicked.push(self.predictor.new_state());
        }
        self.clicked.len() - 1
    }

    fn forget_empty(&mut self) {
        self.clicked.retain(|state| !state.ids().is_empty());
        self.is_following &= self.has_clicked();
    }

    /// Follows the objects of all texts to a frame.
    ///
    /// A session's first frame with texts is gone through twice, as officially when a prompt is added and when
    /// propagation begins on its frame.
    pub fn step_texts(
        &mut self,
        frame: &Frame,
        visit: Visit,
        detections: &[Vec<Detection>],
        low_res: &mut BTreeMap<ObjectId, Vec<f32>>,
    ) -> Result<Vec<TextFrame>> {
        let is_first = self.texts_seen == 0 && !detections.is_empty();
        while self.texts_seen < detections.len() {
            self.texts_seen = self.texts.add() + 1;
        }
        for state in self.texts.states_mut() {
            self.predictor.commit(state)?;
        }
        let mut tracker = Recording::new(self.predictor.on(frame), low_res);
        if is_first {
            self.texts.step(&mut tracker, visit, detections)?;
        }
        self.texts.step(&mut tracker, visit, detections)
    }

    /// Follows the objects that were clicked to a frame.
    pub fn track_clicked(
        &mut self,
        frame: &Frame,
        visit: Visit,
        low_res: &mut BTreeMap<ObjectId, Vec<f32>>,
    ) -> Result<Vec<FrameObject>> {
        let mut objects = Vec::new();
        for state in &mut self.clicked {
            self.predictor.commit(state)?;
            let tracked = self.predictor.on(frame).track(state, visit.direction)?;
            for (&id, tracked) in state.ids().iter().zip(tracked) {
                let mask = self.sizes.enlarged(&tracked.logits)?;
                objects.push(FrameObject::clicked(id, mask, tracked.object_score, tracked.iou));
                low_res.insert(id, tracked.logits);
            }
        }
        self.is_following = self.has_clicked();
        Ok(objects)
    }

    /// Forgets an object; `frame` is the one that was seen last.
    pub fn remove(&mut self, id: ObjectId, frame: Option<&Frame>) -> Result<bool> {
        if let Some(place) = self.group_of(id) {
            self.clicked[place].remove(id);
            self.forget_empty();
            return Ok(true);
        }
        match frame {
            Some(frame) => self.texts.remove(&mut self.predictor.on(frame), id),
            None => Ok(false),
        }
    }
}
