//! Objects followed through a video by what is remembered of them (official `sam3_tracking_predictor.py`): shown by
//! clicks, boxes and masks, or found by a text.
//!
//! A [`Predictor`] is the model and what one session says of its video; an [`InferenceState`] is what is remembered of
//! objects that are followed together. They share their conditioning frames and the choice of their memories, so
//! officially no object may enter once they are followed: one that comes later gets a state of its own.
//!
//! Frame by frame, with the [`Frame`] that the caller makes once of the features of a picture:
//!
//! - **by clicks**: [`OnFrame::add_points_or_box`] and [`OnFrame::add_mask_prompt`] on any frames, each with that
//!   frame's own features; [`Predictor::commit`] makes conditioning frames of them, for each state before it is
//!   followed on; then [`OnFrame::track`] for each state, once a frame, in the order of the walk;
//! - **by text**: `texts.step(&mut predictor.on(&frame), visit, &detections)`, with a [`Texts`](crate::tracking::Texts)
//!   of [`InferenceState`]s: [`OnFrame`] is the [`Tracker`](crate::tracking::Tracker) that it asks.
//!
//! What is kept of the frames behind is [`Retention`]'s to say.

mod bank;
mod by_text;
#[cfg(test)]
mod goldens;
mod heads;
mod prompts;
mod retention;
mod state;
mod track;

use std::sync::{Arc, OnceLock};

use sam3_tensor::{DType, Tensor};

pub use retention::Retention;
pub use state::InferenceState;
#[cfg(test)]
pub use state::Shown;

use crate::{
    Result,
    model::{FrameStart, MemoryTables, TrackerFeatures, VideoTracker, once},
    segmenter::bytes_of,
};

/// What masks to remember are stored in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryDtype {
    /// As they were computed.
    F32,
    /// As the official code stores them: half of the memory.
    #[default]
    Bf16,
}

/// What a session says of its video.
#[derive(Clone, Copy, Debug)]
pub struct PredictorOptions {
    /// Tokens in a side of the map that the model makes of a frame; 72.
    pub grid: usize,
    /// Pixels in a row of the video, and its rows: mask prompts are cut there.
    pub video_size: (u32, u32),
    /// The number of frames, if it is known: fewer than 16 place pointers otherwise in time.
    pub frames: Option<usize>,
    pub memory: MemoryDtype,
    pub retention: Retention,
}

/// The model, ready for one video.
pub struct Predictor {
    model: Arc<VideoTracker>,
    tables: MemoryTables,
    options: PredictorOptions,
}

/// A frame of the video, as all objects see it.
pub struct Frame {
    index: usize,
    features: Arc<TrackerFeatures>,
    /// What the memory encoder adds masks to.
    pix_feat: OnceLock<Tensor>,
    /// How far memory attention gets without a memory.
    start: OnceLock<FrameStart>,
}

/// What can be asked on one frame.
#[derive(Clone, Copy)]
pub struct OnFrame<'a> {
    predictor: &'a Predictor,
    frame: &'a Frame,
}

impl Predictor {
    /// # Errors
    /// When the device has no room for the tables of this grid.
    pub fn new(model: Arc<VideoTracker>, options: PredictorOptions) -> Result<Self> {
        Ok(Self {
            tables: model.tables(options.grid)?,
            model,
            options,
        })
    }

    /// A state without objects.
    pub fn new_state(&self) -> InferenceState {
        InferenceState::default()
    }

    /// What can be asked on a frame.
    pub fn on<'a>(&'a self, frame: &'a Frame) -> OnFrame<'a> {
        OnFrame { predictor: self, frame }
    }

    /// Pixels in a side of a low-resolution mask; 288.
    fn side(&self) -> usize {
        4 * self.options.grid
    }

    /// Pixels in a side of the memory encoder's masks; 1152.
    fn mask_input_side(&self) -> usize {
        16 * self.options.grid
    }

    /// Pixels in a side of what the model sees; 1008.
    fn image_side(&self) -> usize {
        self.model.patch_size() * self.options.grid
    }

    /// A memory, as it is stored.
    fn stored(&self, memory: &Tensor) -> Result<Tensor> {
        Ok(memory.to_dtype(match self.options.memory {
            MemoryDtype::F32 => DType::F32,
            MemoryDtype::Bf16 => DType::BF16,
        })?)
    }
}

impl Frame {
    /// Frame `index` of the video, from 0, of which the tracker's neck made `features`.
    pub fn new(index: usize, features: Arc<TrackerFeatures>) -> Self {
        Self {
            index,
            features,
            pix_feat: OnceLock::new(),
            start: OnceLock::new(),
        }
    }

    /// Its number.
    pub fn index(&self) -> usize {
        self.index
    }

    /// What it holds, in bytes of memory.
    pub fn bytes(&self) -> u64 {
        let start = self.start.get().into_iter().flat_map(FrameStart::tensors);
        let made = self.pix_feat.get().into_iter().chain(start);
        self.features.tensors().chain(made).map(bytes_of).sum()
    }
}

impl OnFrame<'_> {
    fn pix_feat(&self) -> Result<&Tensor> {
        let Predictor { model, .. } = self.predictor;
        once(&self.frame.pix_feat, || Ok(model.pix_feat(&self.frame.features)?))
    }

    fn start(&self) -> Result<&FrameStart> {
        let Predictor { model, tables, .. } = self.predictor;
        once(&self.frame.start, || Ok(model.start(&self.frame.features, tables)?))
    }
}
