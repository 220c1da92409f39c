//! Objects are shown on frames (official `add_new_points_or_box` and `add_new_mask`), and the frames become those that
//! they are followed from (`propagate_in_video_preflight`).

use sam3_tensor::{Device, Tensor, ops::interpolate};

use super::{
    OnFrame, Predictor,
    bank::{Record, Remembered},
    heads::Head,
    state::{InferenceState, Input, Prompted, Temporary, TemporaryMask},
};
use crate::{
    Result,
    masks::Mask,
    model::{Clicked, Point},
    tracking::{ObjectId, Tracked, thresholds::NO_MASK_LOGIT},
};

/// Points that are looked at, half of them the first ones and half the last.
const MAX_POINTS: usize = 16;
/// Logits that a prompt starts from are clamped to ± this.
const CLAMP: f32 = 32.0;
/// The logits of a mask that was given are ± this.
const GIVEN: f32 = 1024.0;
/// The score logit of an object that was given a mask with something inside; that of an empty one is the opposite.
const GIVEN_SCORE: f32 = 10.0;
/// A resized logit is 0, where a mask ends in the middle of a pixel, if it is smaller than this share of the largest.
const TIE: f32 = 1e-6;

impl OnFrame<'_> {
    /// Shows an object by points, a box's two corners before them, and returns what it looks like. It is found without
    /// memory, from the mask that it has on this frame, if it has one.
    ///
    /// Without `clear_old_points`, the points come behind those that it was shown by on this frame before.
    ///
    /// # Errors
    /// When the model's answer is no number, memory runs out or the device fails.
    ///
    /// # Panics
    /// When there is no point, or the object is new in a state that was committed.
    pub fn add_points_or_box(
        &self,
        state: &mut InferenceState,
        id: ObjectId,
        points: &[Point],
        clear_old_points: bool,
    ) -> Result<Tracked> {
        assert!(!points.is_empty(), "object {id} is shown by no point");
        let (predictor, frame) = (self.predictor, self.frame.index);
        state.enter(id);
        let mut all = match state.inputs.get(&(frame, id)) {
            Some(Input::Points(old)) if !clear_old_points => [old, points].concat(),
            _ => points.to_vec(),
        };
        if all.len() > MAX_POINTS {
            all.drain(MAX_POINTS / 2..all.len() - MAX_POINTS / 2);
        }
        let previous = state
            .previous(frame, id)
            .map(|logits| logits.clamp(-CLAMP, CLAMP))
            .transpose()?;
        let clicked = Clicked {
            points: &all,
            mask: previous.as_ref(),
        };
        let decoded = predictor.model.tracker().click(&self.frame.features, &clicked)?;
        let head = predictor.head(&decoded, all.len() <= 1)?;
        state.inputs.insert((frame, id), Input::Points(all));
        let Head {
            low_res,
            pointer,
            tracked,
        } = head;
        let temporary = Temporary {
            mask: TemporaryMask::LowRes(low_res),
            pointer,
            score: tracked.object_score,
            iou: tracked.iou.unwrap_or_default(),
        };
        self.prompted(state)?.objects.insert(id, temporary);
        Ok(tracked)
    }

    /// Shows an object by a mask, of any size. Where it overlaps masks that others were given on this frame since the
    /// last commit, it is cut out of them.
    ///
    /// # Errors
    /// As [`add_points_or_box`](Self::add_points_or_box).
    ///
    /// # Panics
    /// When the object is new in a state that was committed.
    pub fn add_mask_prompt(&self, state: &mut InferenceState, id: ObjectId, mask: &Mask) -> Result<()> {
        self.add_mask_input(state, id, mask, Input::Mask)
    }

    pub(super) fn add_mask_input(
        &self,
        state: &mut InferenceState,
        id: ObjectId,
        mask: &Mask,
        input: Input,
    ) -> Result<()> {
        let (predictor, frame) = (self.predictor, self.frame.index);
        state.enter(id);
        state.inputs.insert((frame, id), input);
        let (width, height) = predictor.options.video_size;
        let given = at_video_size(mask, (width, height));
        let is_empty = mask.area() == 0;
        let temporary = Temporary {
            pointer: match is_empty {
                true => predictor.model.no_pointer()?,
                false => self.pointer_of(mask)?,
            },
            score: if is_empty { -GIVEN_SCORE } else { GIVEN_SCORE },
            iou: 1.0,
            mask: TemporaryMask::Given(given.clone()),
        };
        let objects = &mut self.prompted(state)?.objects;
        for (_, other) in objects.iter_mut().filter(|(own, _)| **own != id) {
            if let TemporaryMask::Given(other) = &mut other.mask {
                other.subtract(&given);
            }
        }
        objects.insert(id, temporary);
        Ok(())
    }

    /// What an object is that has this mask.
    fn pointer_of(&self, mask: &Mask) -> Result<Tensor> {
        let (model, features) = (&self.predictor.model, &self.frame.features);
        let side = self.predictor.mask_input_side();
        let mask = features.f.new_tensor(mask.resized(side, side), (side, side))?;
        let decoded = model
            .tracker()
            .decode_unclicked(features, &features.f, Some(&model.downsample_mask(&mask)?))?;
        Ok(self.predictor.head(&decoded, false)?.pointer)
    }

    fn prompted<'a>(&self, state: &'a mut InferenceState) -> Result<&'a mut Prompted> {
        let pix_feat = self.pix_feat()?.clone();
        let objects = Default::default();
        let frame = state.temporary.entry(self.frame.index);
        Ok(frame.or_insert(Prompted { pix_feat, objects }))
    }
}

impl Predictor {
    /// Makes conditioning frames of those with prompts since the last commit, all objects together: who was shown
    /// nothing there enters as it is tracked there, or as absent.
    ///
    /// # Errors
    /// When memory runs out or the device fails.
    pub fn commit(&self, state: &mut InferenceState) -> Result<()> {
        for frame in state.uncommitted_frames() {
            self.commit_frame(state, frame, true)?;
        }
        Ok(())
    }

    /// The same of one frame; whether it `is_remembered` now, or before it is left.
    pub(super) fn commit_frame(&self, state: &mut InferenceState, frame: usize, is_remembered: bool) -> Result<()> {
        let Some(mut prompted) = state.temporary.remove(&frame) else {
            return Ok(());
        };
        state.is_committed = true;
        let mut objects = Vec::with_capacity(state.ids.len());
        for (place, id) in state.ids.iter().enumerate() {
            objects.push(match (prompted.objects.remove(id), state.remembered(frame, place)) {
                (Some(temporary), _) => self.committed(temporary, &prompted.pix_feat)?,
                (None, Some(remembered)) if remembered.low_res.is_some() => remembered.clone(),
                (None, _) => Remembered {
                    score: GIVEN_SCORE,
                    iou: 0.0,
                    pointer: self.model.no_pointer()?,
                    low_res: Some(self.no_object(&prompted.pix_feat)?),
                    memory: None,
                },
            });
        }
        if is_remembered {
            self.remember(&mut objects, &prompted.pix_feat)?;
        }
        state.bank.condition(frame, Record { objects });
        Ok(())
    }

    fn committed(&self, temporary: Temporary, like: &Tensor) -> Result<Remembered> {
        let low_res = match temporary.mask {
            TemporaryMask::LowRes(logits) => logits,
            TemporaryMask::Given(mask) => {
                let side = self.side();
                let shares = mask.resized(side, side).into_iter();
                let logits = shares.map(|share| GIVEN * (2.0 * share - 1.0)).collect::<Vec<f32>>();
                like.new_tensor(logits, (side, side))?
            }
        };
        Ok(Remembered {
            score: temporary.score,
            iou: temporary.iou,
            pointer: temporary.pointer,
            low_res: Some(low_res),
            memory: None,
        })
    }

    /// Encodes the masks of a frame with prompts: those of pixels, without what others have more of.
    fn remember(&self, objects: &mut [Remembered], pix_feat: &Tensor) -> Result<()> {
        let side = self.image_side();
        let high_res = |object: &Remembered| -> Result<Vec<f32>> {
            let low_res = object.low_res.as_ref().expect("who is committed has a mask");
            Ok(interpolate(&low_res.to_device(&Device::Cpu)?, (side, side))?.to_vec()?)
        };
        let mut best: Vec<(f32, usize)> = vec![(f32::NEG_INFINITY, 0); side * side];
        for (place, object) in objects.iter().enumerate() {
            for (best, logit) in best.iter_mut().zip(high_res(object)?) {
                if logit > best.0 {
                    *best = (logit, place);
                }
            }
        }
        for (place, object) in objects.iter_mut().enumerate() {
            let logits = high_res(object)?;
            let tie = TIE * logits.iter().fold(0.0, |most: f32, logit| most.max(logit.abs()));
            let is_inside = |(logit, best): (&f32, &(f32, usize))| *logit > tie && best.1 == place;
            let inside = logits.iter().zip(&best).map(is_inside);
            let mask: Vec<f32> = inside.map(|is| if is { 10.0 } else { NO_MASK_LOGIT }).collect();
            let mask = self.at_mask_input(&pix_feat.new_tensor(mask, (side, side))?)?;
            let memory = self.model.encode_memory(pix_feat, &mask, object.score > 0.0)?;
            object.memory = Some(self.stored(&memory)?);
        }
        Ok(())
    }

    /// A mask at the size of the memory encoder's.
    pub(super) fn at_mask_input(&self, mask: &Tensor) -> Result<Tensor> {
        let side = self.mask_input_side();
        Ok(interpolate(mask, (side, side))?)
    }
}

/// A mask at the video's size: what is more than half inside.
fn at_video_size(mask: &Mask, (width, height): (u32, u32)) -> Mask {
    if (mask.width(), mask.height()) == (width, height) {
        return mask.clone();
    }
    let shares = mask.resized(width as usize, height as usize);
    Mask::from_fn(width, height, |x, y| {
        shares[y as usize * width as usize + x as usize] > 0.5
    })
}
