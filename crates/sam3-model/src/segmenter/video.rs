//! Objects followed through a video: a session takes frames, clicks and texts, and gives back where the objects are.

mod follow;
mod frame;
mod options;
mod prompts;
mod recording;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use options::VideoOptions;

use self::{follow::Following, frame::Seen};
use super::{LowResMask, Segmenter};
use crate::{
    error::{Error, NoClickHead, NoTracker, Result, VideoError},
    image::Image,
    model::{Observer, TextFeatures, Watch, Watcher},
    predictor::Retention,
    tracking::{Detection, Direction, EmissionBuffer, FrameResult, ObjectId, Visit},
};

/// Follows objects through one video: those that are clicked, and those that texts mean.
///
/// Frames are [pushed](Self::push) in the order of a walk, which is forward from frame 0 unless [`walk`](Self::walk)
/// says otherwise. Clicks are on the frame that was pushed or [looked at](Self::look) last:
///
/// ```no_run
/// use sam3_model::{Clicks, Device, Segmenter, VideoOptions, image::Image};
///
/// # fn main() -> sam3_model::Result<()> {
/// # let frames: Vec<Image> = vec![];
/// let segmenter = Segmenter::open("sam3_fp16.pth", &Device::Cpu)?;
/// let mut session = segmenter.video(VideoOptions::new().frames(frames.len()))?;
/// session.look(0, &frames[0])?;
/// session.click(None, &Clicks::new().point([412.0, 133.0]))?;
/// for frame in &frames {
///     for result in session.push(frame)? {
///         println!("{}: {} objects", result.frame, result.objects.len());
///     }
/// }
/// # Ok(())
/// # }
/// ```
///
/// No frame is encoded twice, and memory does not grow with their number (see [`VideoOptions::retention`]). A session
/// with a text resizes frames as pictures are resized, for its clicks too; one without, as the official tracker does
/// (Pillow's bicubic filter), and so is a frame that was clicked on before there was a text.
///
/// # Beside the official code
///
/// The order of operations is the official one. What looks unintended there is followed, too:
///
/// - the oldest of the frames that an object was found on gives no pointer, a pointer's distance in time is its rank,
///   and frame 0 is not remembered on a walk forward unless a prompt is on it;
/// - objects that are followed together spoil frames for each other, by the mean of how well they are found;
/// - an object's pointer is that of clear objects, where of several clicks another mask was taken;
/// - who is shown nothing on a frame with prompts of others enters it as surely there, without a mask;
/// - what [`tracking`](crate::tracking) decides about texts.
///
/// Three things differ. Objects may be clicked when others are followed already: each of these is followed for itself,
/// where all that were clicked before the first push of one share their conditioning frames. Frames are forgotten when
/// nothing needs them. And where clicks correct what a text found, the frames before are not followed again. Slips of
/// the official code around the model are not followed: films that are not divided by 255, bf16 that is switched on for
/// a whole process, boxes that a list breaks. What has no effect there (`clear_non_cond_mem`, keep-alive,
/// `no_mem_pos_enc`) is not here.
pub struct Session {
    model: Segmenter,
    options: VideoOptions,
    /// What the texts became, by their places.
    texts: Vec<TextFeatures>,
    /// Once there is a picture.
    following: Option<Following>,
    walk: Walk,
    /// The frame that was pushed or looked at last.
    seen: Option<Seen>,
    buffer: EmissionBuffer,
    /// The logits on the frame that was pushed last.
    low_res: BTreeMap<ObjectId, Vec<f32>>,
}

/// How the frames are walked through.
struct Walk {
    direction: Direction,
    /// The number of the next frame; none before frame 0.
    next: Option<usize>,
    /// Whether a frame was pushed.
    has_begun: bool,
}

impl Walk {
    /// On to the next frame.
    fn advance(&mut self) {
        self.next = self.next.and_then(|frame| match self.direction {
            Direction::Forward => Some(frame + 1),
            Direction::Backward => frame.checked_sub(1),
        });
    }

    /// Whether the walk has passed a frame.
    fn is_behind(&self, frame: usize) -> bool {
        self.next.is_none_or(|next| match self.direction {
            Direction::Forward => frame < next,
            Direction::Backward => frame > next,
        })
    }
}

impl Segmenter {
    /// Begins to follow objects through a video. Sessions share the model, and nothing else.
    ///
    /// # Errors
    /// When the checkpoint has no tracker, or only a part of it.
    pub fn video(&self, options: VideoOptions) -> Result<Session> {
        self.run(|| self.video_tracker()).map_err(|error| match error {
            Error::NoClickHead { path, reason } => Error::NoTracker {
                path,
                reason: match reason {
                    NoClickHead::Sam31 => NoTracker::Sam31,
                    NoClickHead::LeftOut => NoTracker::LeftOut,
                },
            },
            error => error,
        })?;
        Ok(Session {
            model: self.clone(),
            texts: Vec::new(),
            following: None,
            walk: Walk {
                direction: Direction::Forward,
                next: Some(0),
                has_begun: false,
            },
            seen: None,
            buffer: EmissionBuffer::new(options.emission),
            low_res: BTreeMap::new(),
            options,
        })
    }
}

impl Session {
    /// Follows all objects to the next frame of the walk, and returns the frames that are final with it: this one,
    /// where no text holds it back.
    ///
    /// The first frame of a session with texts is gone through twice, as officially: objects are found on it, and then
    /// followed to it.
    ///
    /// # Errors
    /// When the picture is not as large as those before it, or the walk has passed frame 0: another push may then
    /// follow. When memory runs out, the device fails or the model's answer is no number: the session is then to be
    /// dropped.
    pub fn push(&mut self, image: &Image) -> Result<Vec<FrameResult>> {
        let model = self.model.clone();
        model.run(|| self.visit(image, &mut ()))
    }

    /// [`push`](Self::push), watched while the picture is encoded.
    ///
    /// # Errors
    /// As there, and [`Error::Stopped`]: the frame was not followed to, the session stays as it was, and
    /// [`finish`](Self::finish) returns what is held back.
    pub fn push_watched(&mut self, image: &Image, watch: &mut Watch<'_>) -> Result<Vec<FrameResult>> {
        let model = self.model.clone();
        model.run(|| self.visit(image, &mut Watcher(watch)))
    }

    /// Leaves the next frame of the walk out: its picture is not known.
    pub fn skip(&mut self) {
        self.walk.advance();
    }

    /// Ends a walk, and returns the frames that were held back. Another may follow.
    pub fn finish(&mut self) -> Vec<FrameResult> {
        self.buffer.finish()
    }

    /// Begins a walk at a frame: the next push is of it.
    ///
    /// # Errors
    /// When a walk was begun before, and [`VideoOptions::retention`] does not keep what this one needs.
    pub fn walk(&mut self, frame: usize, direction: Direction) -> Result<()> {
        let is_kept = match self.options.retention {
            Retention::All => true,
            Retention::ThisWalk => false,
            Retention::ThenBackwardFrom(from) => from == frame && direction == Direction::Backward,
        };
        if self.walk.has_begun && !is_kept {
            return Err(VideoError::Behind { frame }.into());
        }
        self.walk.direction = direction;
        self.walk.next = Some(frame);
        Ok(())
    }

    /// Stops following an object and frees what is known of it; returns whether it was followed. No frame that comes
    /// out from now on shows it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn remove(&mut self, id: ObjectId) -> Result<bool> {
        self.buffer.hide(id);
        self.low_res.remove(&id);
        match (&mut self.following, self.seen.as_ref().and_then(Seen::frame)) {
            (Some(following), frame) => following.remove(id, frame),
            (None, _) => Ok(false),
        }
    }

    /// The objects that are followed, by id.
    pub fn objects(&self) -> Vec<ObjectId> {
        self.following.as_ref().map_or(Vec::new(), Following::objects)
    }

    /// What it holds beside the model, in bytes of main memory or a GPU's: it grows with the objects, and with
    /// [`VideoOptions::retention`] with the frames.
    pub fn bytes(&self) -> u64 {
        let low_res: u64 = self.low_res.values().map(|logits| size_of_val(&**logits) as u64).sum();
        let seen = self.seen.as_ref().map_or(0, Seen::bytes);
        low_res + seen + self.buffer.bytes() + self.following.as_ref().map_or(0, Following::bytes)
    }

    /// The mask logits of all objects on the frame that was pushed last, by id: as they are tracked, before they are
    /// cleaned or suppressed, and where a text found an object there, the detection's.
    ///
    /// # Errors
    /// When one is no number.
    pub fn low_res_masks(&self) -> Result<Vec<(ObjectId, LowResMask)>> {
        let side = self.model.mask_side();
        let mask = |(&id, logits): (&ObjectId, &Vec<f32>)| Ok((id, LowResMask::new(side, logits.clone())?));
        self.low_res.iter().map(mask).collect()
    }

    fn visit(&mut self, image: &Image, observer: &mut dyn Observer) -> Result<Vec<FrameResult>> {
        let Some(frame) = self.walk.next else {
            return Err(VideoError::Start.into());
        };
        let before = self.see(frame, image, !self.texts.is_empty())?;
        let visit = Visit {
            frame,
            direction: self.walk.direction,
        };
        let has_clicked = self.following.as_ref().is_some_and(Following::has_clicked);
        let mut detections = None;
        if has_clicked || !self.texts.is_empty() {
            let found = self.look_through(observer);
            detections = Some(self.or_back(before, found)?);
        }
        self.low_res.clear();
        let (mut texts, mut clicked) = (Vec::new(), Vec::new());
        if let Some(detections) = detections {
            let (seen, following) = (self.seen.as_mut(), self.following.as_mut());
            let (seen, following) = seen.zip(following).expect("there is a picture");
            seen.let_go();
            let frame = seen.frame().expect("it was just encoded");
            texts = following.step_texts(frame, visit, &detections, &mut self.low_res)?;
            clicked = following.track_clicked(frame, visit, &mut self.low_res)?;
        }
        self.walk.has_begun = true;
        self.walk.advance();
        Ok(self.buffer.push_with(frame, texts, clicked).into_iter().collect())
    }

    /// Encodes the frame that was seen last, and returns what the detector finds on it of each text.
    fn look_through(&mut self, observer: &mut dyn Observer) -> Result<Vec<Vec<Detection>>> {
        let seen = self.seen.as_mut().expect("it was just seen");
        seen.encode(&self.model, !self.texts.is_empty(), observer)?;
        seen.detections(&self.model, &self.texts, observer)
    }
}
