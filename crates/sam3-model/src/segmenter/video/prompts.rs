//! What a session is asked to follow: clicks, masks, texts.

use super::{Session, follow::Following, frame::Seen};
use crate::{
    error::{Result, VideoError},
    image::Image,
    masks::Mask,
    model::{Observer, Watch, Watcher},
    predictor::{InferenceState, OnFrame, Predictor, PredictorOptions, Retention},
    segmenter::{Clicks, LowResMask, Prompt},
    tracking::{FrameObject, MaskSizes, ObjectId},
};

impl Session {
    /// Looks at a frame that clicks are to be on, ahead of the walk or where it is. Its push does not encode it again.
    ///
    /// # Errors
    /// When the picture is not as large as those before it; when the walk has passed the frame, and
    /// [`VideoOptions::retention`] keeps nothing that is behind; when memory runs out or the device fails.
    ///
    /// [`VideoOptions::retention`]: super::VideoOptions::retention
    pub fn look(&mut self, frame: usize, image: &Image) -> Result<()> {
        let model = self.model.clone();
        model.run(|| self.look_observed(frame, image, &mut ()))
    }

    /// [`look`](Self::look), watched.
    ///
    /// # Errors
    /// As there, and [`Error::Stopped`](crate::Error::Stopped).
    pub fn look_watched(&mut self, frame: usize, image: &Image, watch: &mut Watch<'_>) -> Result<()> {
        let model = self.model.clone();
        model.run(|| self.look_observed(frame, image, &mut Watcher(watch)))
    }

    /// Shows an object by clicks on the frame that was pushed or looked at last, and returns what it looks like there:
    /// a new object, or one that is followed.
    ///
    /// Where the object has a mask on that frame, of tracking or of an earlier click, the model starts from it, and
    /// never from its memory. Earlier clicks on the same frame are replaced: give all of them again. One point takes
    /// the best of three masks, more points or a box take one, whatever [`Clicks::multimask`] says. Of more than 16
    /// points the first eight and the last eight count. A mask among the clicks is shown first, as by
    /// [`mask`](Self::mask).
    ///
    /// With the next push the frame becomes a conditioning frame, which all others are found by.
    ///
    /// An object that a text found is corrected where it was followed to: on the frame that was pushed last. Its score
    /// is 1 from the next frame on, and detections that it was found by within 16 frames count as tracked masks, as
    /// officially. It stays the text's: what is decided about its objects is decided about it. Frames that are held
    /// back come out as they were.
    ///
    /// # Errors
    /// When there is no frame yet, no such object, or it is a text's and was not followed to this frame; when the
    /// clicks show nothing or hold what is no number; when memory runs out, the device fails or the model's answer is
    /// no number.
    pub fn click(&mut self, object: Option<ObjectId>, clicks: &Clicks) -> Result<FrameObject> {
        clicks.check()?;
        let model = self.model.clone();
        model.run(|| {
            let mut object = object;
            if let Some(mask) = &clicks.mask {
                let shown = self.show_mask(object, &inside(mask))?;
                object = Some(shown.id);
                if clicks.points.is_empty() && clicks.bounding_box.is_none() {
                    return Ok(shown);
                }
            }
            self.show(object, |frame, sizes, state, id| {
                let points = clicks.places((sizes.width, sizes.height), model.image_size());
                let tracked = frame.add_points_or_box(state, id, &points, true)?;
                let mask = sizes.enlarged(&tracked.logits)?;
                Ok(FrameObject::clicked(id, mask, tracked.object_score, tracked.iou))
            })
        })
    }

    /// Shows an object by its mask, of any size, on the frame that was pushed or looked at last: a new object, or one
    /// that is followed, as [`click`](Self::click). Where it overlaps masks that others were shown by there since the
    /// last push, it is cut out of them.
    ///
    /// # Errors
    /// As [`click`](Self::click).
    pub fn mask(&mut self, object: Option<ObjectId>, mask: &Mask) -> Result<FrameObject> {
        let model = self.model.clone();
        model.run(|| self.show_mask(object, mask))
    }

    /// Follows all that a text means, from the next push on; returns the text's place, which objects name. Texts do not
    /// see each other's objects.
    ///
    /// # Errors
    /// As [`Segmenter::encode_text`](crate::Segmenter::encode_text); and where the package is for clicks alone.
    pub fn text(&mut self, text: &str) -> Result<usize> {
        let model = self.model.clone();
        self.texts
            .push(model.run(|| model.text_features(&Prompt::text(text), &mut ()))?);
        Ok(self.texts.len() - 1)
    }

    fn look_observed(&mut self, frame: usize, image: &Image, observer: &mut dyn Observer) -> Result<()> {
        let is_last = self.seen.as_ref().is_some_and(|seen| seen.index() == frame);
        if self.options.retention != Retention::All && self.walk.has_begun && !is_last && self.walk.is_behind(frame) {
            return Err(VideoError::Behind { frame }.into());
        }
        let before = self.see(frame, image, false)?;
        let seen = self.seen.as_mut().expect("it was just seen");
        let encoded = seen.encode(&self.model, !self.texts.is_empty(), observer);
        self.or_back(before, encoded)
    }

    /// Makes a frame the one that was seen last; `for_texts`, if it is to be looked through for them. Returns what was
    /// before, if this is another one, or is to be encoded again.
    pub(super) fn see(&mut self, frame: usize, image: &Image, for_texts: bool) -> Result<Option<Before>> {
        let found = (image.width(), image.height());
        let is_first = self.following.is_none();
        match &self.following {
            Some(following) if following.picture() != found => {
                let expected = following.picture();
                return Err(VideoError::Size { frame, expected, found }.into());
            }
            Some(_) => {}
            None => self.following = Some(self.begin(self.options.size.unwrap_or(found), found)?),
        }
        let serves = |seen: &Seen| seen.index() == frame && seen.serves(for_texts);
        if self.seen.as_ref().is_some_and(serves) {
            return Ok(None);
        }
        let mut seen = self.seen.replace(Seen::new(frame, image.clone()));
        // What only its push would need is large, and can be had again.
        seen.iter_mut().for_each(Seen::let_go);
        Ok(Some(Before { seen, is_first }))
    }

    /// Goes back to the frame that was seen before, where something failed on a new one: the picture that comes in its
    /// place may be another one, and until then the one before can be clicked.
    pub(super) fn or_back<T>(&mut self, before: Option<Before>, result: Result<T>) -> Result<T> {
        if let (Some(before), Err(_)) = (before, &result) {
            self.seen = before.seen;
            if before.is_first {
                self.following = None;
            }
        }
        result
    }

    fn begin(&self, (width, height): (u32, u32), picture: (u32, u32)) -> Result<Following> {
        let low_res = self.model.mask_side();
        let options = PredictorOptions {
            grid: low_res / 4,
            video_size: (width, height),
            frames: self.options.frames,
            memory: self.options.memory,
            retention: self.options.retention,
        };
        let predictor = Predictor::new(self.model.video_tracker()?, options)?;
        let sizes = MaskSizes { low_res, width, height };
        Ok(Following::new(predictor, sizes, picture))
    }

    fn show_mask(&mut self, object: Option<ObjectId>, mask: &Mask) -> Result<FrameObject> {
        let index = self.seen.as_ref().map_or(0, Seen::index);
        self.show(object, |frame, _, state, id| {
            frame.add_mask_prompt(state, id, mask)?;
            let mask = state
                .given_mask(index, id)
                .expect("it was just shown by a mask")
                .clone();
            // As the tracker takes what it is given.
            let object_score = if mask.area() > 0 { 10.0 } else { -10.0 };
            Ok(FrameObject::clicked(id, mask, object_score, Some(1.0)))
        })
    }

    /// Shows an object on the frame that was seen last.
    fn show(
        &mut self,
        object: Option<ObjectId>,
        by: impl FnOnce(OnFrame<'_>, MaskSizes, &mut InferenceState, ObjectId) -> Result<FrameObject>,
    ) -> Result<FrameObject> {
        let (Some(seen), Some(following)) = (&mut self.seen, &mut self.following) else {
            return Err(VideoError::NoFrame.into());
        };
        seen.encode(&self.model, !self.texts.is_empty(), &mut ())?;
        let frame = seen.frame().expect("it was just encoded");
        following.show(object, frame, by)
    }
}

/// What a session saw before a new frame.
pub(super) struct Before {
    seen: Option<Seen>,
    /// Whether there was no picture yet, so that the next may have another size.
    is_first: bool,
}

/// Where logits are above 0.
fn inside(mask: &LowResMask) -> Mask {
    let side = mask.side();
    let is_inside = |x: u32, y: u32| mask.values()[y as usize * side + x as usize] > 0.0;
    Mask::from_fn(side as u32, side as u32, is_inside)
}
