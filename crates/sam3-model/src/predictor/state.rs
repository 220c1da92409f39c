//! What is remembered of objects that are followed together (official `inference_state`).

use std::collections::BTreeMap;

use sam3_tensor::Tensor;

use super::bank::{Bank, Remembered};
use crate::{
    masks::Mask,
    model::Point,
    segmenter::bytes_of,
    tracking::{ObjectId, Visit},
};

/// Objects that are followed together, with all that is remembered of them.
#[derive(Default)]
pub struct InferenceState {
    /// In the order in which they came.
    pub(super) ids: Vec<ObjectId>,
    pub(super) bank: Bank,
    /// What was shown of objects, by frame and object.
    pub(super) inputs: BTreeMap<(usize, ObjectId), Input>,
    /// What was made of that since the last commit, by frame.
    pub(super) temporary: BTreeMap<usize, Prompted>,
    pub(super) is_committed: bool,
    /// What the last walk's last step returned, until the frame is remembered.
    pub(super) visited: Option<Visited>,
}

/// How an object was shown on a frame.
#[derive(Clone)]
pub(super) enum Input {
    /// A box's corners are points.
    Points(Vec<Point>),
    Mask,
    /// By the mask of a detection.
    Detection,
}

/// A frame on which objects were shown.
pub(super) struct Prompted {
    /// See [`Frame`](super::Frame).
    pub pix_feat: Tensor,
    pub objects: BTreeMap<ObjectId, Temporary>,
}

/// What was made of a prompt.
pub(super) struct Temporary {
    pub mask: TemporaryMask,
    pub pointer: Tensor,
    pub score: f32,
    pub iou: f32,
}

pub(super) enum TemporaryMask {
    /// Logits that the model made, `[side, side]`.
    LowRes(Tensor),
    /// A mask that was given, at the video's size.
    Given(Mask),
}

impl TemporaryMask {
    fn bytes(&self) -> u64 {
        match self {
            Self::LowRes(logits) => bytes_of(logits),
            Self::Given(mask) => mask.bytes(),
        }
    }
}

/// The masks of a step, as they were returned.
pub(super) struct Visited {
    pub visit: Visit,
    pub low_res: Vec<Tensor>,
}

/// What an object looks like on a frame: for the tests, which compare it with the official code's.
#[cfg(test)]
#[derive(Clone, Debug)]
pub enum Shown {
    /// Logits, `[side, side]`: the mask is where they are above 0 at the video's size.
    Logits(Vec<f32>),
    /// The mask that was given, at the video's size.
    Mask(Mask),
    /// It has none there.
    Nothing,
}

impl InferenceState {
    /// The objects, in the order in which they came.
    pub fn ids(&self) -> &[ObjectId] {
        &self.ids
    }

    /// What all that takes of memory.
    pub fn bytes(&self) -> u64 {
        let prompted = self.temporary.values().flat_map(|prompted| {
            let objects = prompted.objects.values();
            let of_objects = objects.map(|object| bytes_of(&object.pointer) + object.mask.bytes());
            of_objects.chain([bytes_of(&prompted.pix_feat)])
        });
        let visited = self.visited.iter().flat_map(|visited| &visited.low_res);
        self.bank.tensors().chain(visited).map(bytes_of).sum::<u64>() + prompted.sum::<u64>()
    }

    /// The frames that objects are followed from, in the order in which they became that.
    #[cfg(test)]
    pub fn conditioning_frames(&self) -> Vec<usize> {
        self.bank.cond_frames()
    }

    /// The frames with prompts since the last commit.
    pub fn uncommitted_frames(&self) -> Vec<usize> {
        self.temporary.keys().copied().collect()
    }

    /// The mask that an object was given on a frame since the last commit, at the video's size.
    pub fn given_mask(&self, frame: usize, id: ObjectId) -> Option<&Mask> {
        match &self.temporary.get(&frame)?.objects.get(&id)?.mask {
            TemporaryMask::Given(mask) => Some(mask),
            TemporaryMask::LowRes(_) => None,
        }
    }

    /// What all objects look like on a frame, in their order, prompts since the last commit included.
    ///
    /// # Errors
    /// When the device fails.
    #[cfg(test)]
    pub fn shown(&self, frame: usize) -> crate::Result<Vec<Shown>> {
        let prompted = self.temporary.get(&frame);
        let shown = |(place, id): (usize, &ObjectId)| {
            let temporary = prompted.and_then(|prompted| prompted.objects.get(id));
            let low_res = match temporary.map(|temporary| &temporary.mask) {
                Some(TemporaryMask::Given(mask)) => return Ok(Shown::Mask(mask.clone())),
                Some(TemporaryMask::LowRes(logits)) => Some(logits),
                None => self.remembered(frame, place).and_then(|own| own.low_res.as_ref()),
            };
            Ok(match low_res {
                Some(logits) => Shown::Logits(logits.to_vec()?),
                None => Shown::Nothing,
            })
        };
        self.ids.iter().enumerate().map(shown).collect()
    }

    /// Forgets an object. A frame on which no other object was shown is no longer a conditioning frame.
    pub fn remove(&mut self, id: ObjectId) {
        let Some(place) = self.ids.iter().position(|own| *own == id) else {
            return;
        };
        let shown_on: Vec<usize> = self.inputs.keys().filter(|key| key.1 == id).map(|key| key.0).collect();
        self.ids.remove(place);
        self.inputs.retain(|key, _| key.1 != id);
        self.temporary.retain(|_, prompted| {
            prompted.objects.remove(&id);
            !prompted.objects.is_empty()
        });
        self.visited = None;
        for (_, _, record) in self.bank.records_mut() {
            record.objects.remove(place);
        }
        if self.ids.is_empty() {
            *self = Self::default();
            return;
        }
        for frame in shown_on {
            if !self.inputs.keys().any(|key| key.0 == frame) {
                self.bank.release(frame);
            }
        }
    }

    /// Whether objects were followed to a frame, or shown there.
    pub fn has(&self, frame: usize) -> bool {
        self.bank.get(frame).is_some()
    }

    /// Takes detections within 16 frames of a frame, on which a user corrects an object, for tracked masks: what was
    /// found from a frame is then no longer found by it as by a prompt.
    pub fn release_detections(&mut self, frame: usize) {
        const NEAR: usize = 16;
        let of_user = |on: usize| {
            let mut inputs = self.inputs.range((on, ObjectId::MIN)..=(on, ObjectId::MAX));
            inputs.any(|(_, input)| !matches!(input, Input::Detection))
        };
        let near = self.bank.cond_frames().into_iter();
        let released: Vec<usize> = near
            .filter(|&on| on != frame && on.abs_diff(frame) <= NEAR && !of_user(on))
            .collect();
        released.into_iter().for_each(|on| self.bank.release(on));
    }

    /// Makes room for an object that is shown.
    ///
    /// # Panics
    /// When it is a new one, and others are followed already.
    pub(super) fn enter(&mut self, id: ObjectId) {
        if !self.ids.contains(&id) {
            assert!(
                !self.is_committed,
                "object {id} comes too late: it needs a state of its own"
            );
            self.ids.push(id);
        }
    }

    /// What is remembered of the object at `place` on a frame.
    pub(super) fn remembered(&self, frame: usize, place: usize) -> Option<&Remembered> {
        self.bank.get(frame)?.objects.get(place)
    }

    /// The logits that an object has on a frame, for a prompt to start from. A mask that was given has none until it is
    /// committed.
    pub(super) fn previous(&self, frame: usize, id: ObjectId) -> Option<&Tensor> {
        let temporary = self
            .temporary
            .get(&frame)
            .and_then(|prompted| prompted.objects.get(&id));
        match temporary.map(|temporary| &temporary.mask) {
            Some(TemporaryMask::LowRes(logits)) => Some(logits),
            Some(TemporaryMask::Given(_)) => None,
            None => {
                let place = self.ids.iter().position(|own| *own == id)?;
                self.remembered(frame, place)?.low_res.as_ref()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sam3_tensor::{DType, Device};

    use super::*;
    use crate::predictor::bank::Record;

    /// Objects 4 and 7: the first shown on frame 0, the second on frame 2.
    fn state() -> InferenceState {
        let object = |score: f32| Remembered {
            score,
            iou: 0.9,
            pointer: Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap(),
            low_res: None,
            memory: None,
        };
        let record = |scores: [f32; 2]| Record {
            objects: scores.map(object).into(),
        };
        let mut state = InferenceState::default();
        [4, 7].into_iter().for_each(|id| state.enter(id));
        state.bank.condition(0, record([5.0, 10.0]));
        state.bank.condition(2, record([5.0, 5.0]));
        state.bank.track(1, record([5.0, -5.0]));
        state.inputs.insert((0, 4), Input::Mask);
        state.inputs.insert((2, 7), Input::Mask);
        state.is_committed = true;
        state
    }

    #[test]
    fn who_is_removed_takes_its_prompts_along() {
        let mut state = state();
        let half = state.bank.get(1).unwrap().eff();
        state.remove(7);
        assert_eq!(state.ids(), [4]);
        assert_eq!(state.conditioning_frames(), [0]);
        // Without the one that was not there, the frame is twice as good.
        assert!((state.bank.get(1).unwrap().eff() - 2.0 * half).abs() < 1e-6);
        assert_eq!(state.bank.get(2).unwrap().objects.len(), 1);
        state.remove(9);
        assert_eq!(state.ids(), [4]);
        state.remove(4);
        assert!(state.ids().is_empty() && state.bank.get(0).is_none() && state.inputs.is_empty());
    }

    #[test]
    fn a_correction_takes_detections_near_it_for_tracked_masks() {
        let of = |inputs: &[(usize, ObjectId, Input)], corrected: usize| {
            let mut state = state();
            for frame in [20, 40] {
                let record = state.bank.cond(0).unwrap().clone();
                state.bank.condition(frame, record);
            }
            state.inputs = inputs
                .iter()
                .map(|(frame, id, input)| ((*frame, *id), input.clone()))
                .collect();
            state.release_detections(corrected);
            state.conditioning_frames()
        };
        use Input::{Detection, Mask};
        let all = [
            (0, 4, Detection),
            (2, 7, Detection),
            (20, 4, Detection),
            (40, 4, Detection),
        ];
        assert_eq!(of(&all, 18), [0, 40], "frame 0 is 18 frames away");
        assert_eq!(of(&all, 16), [40], "16 frames are near");
        assert_eq!(of(&all, 2), [2, 20, 40], "the frame itself stays");
        // Who shows an object on a frame keeps the frame for its group.
        let shown = [
            (0, 4, Detection),
            (2, 4, Detection),
            (2, 7, Mask),
            (20, 4, Detection),
            (40, 4, Detection),
        ];
        assert_eq!(of(&shown, 10), [2, 40]);
    }

    #[test]
    #[should_panic(expected = "object 9 comes too late")]
    fn nobody_enters_once_the_others_are_followed() {
        state().enter(9);
    }
}
