//! What can go wrong between a checkpoint and its masks, by who must act.

use std::path::PathBuf;

use crate::{config::VitConfig, tiling::TilingError};

/// An error that names the file, the tensor or the prompt at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The checkpoint could not be read.
    #[error(transparent)]
    Package(#[from] sam3_package::Error),
    /// The checkpoint is readable, but is not a whole SAM 3 image model.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The file at fault.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// The picture could not be read or written.
    #[error(transparent)]
    Image(#[from] crate::image::ImageError),
    /// The prompt asks for something that cannot be.
    #[error("{0}")]
    Prompt(String),
    /// The prompt is none of those that a package without a text encoder knows.
    #[error("{0}")]
    NotBaked(String),
    /// There is no such GPU, or none at all.
    #[error(transparent)]
    Gpu(#[from] sam3_tensor::gpu::GpuError),
    /// The device cannot compute in the precision that was asked for.
    #[error("{0}")]
    Precision(String),
    /// The model takes no pictures of that size.
    #[error(
        "image size {found}: expected the model's own {}, or a multiple of {} from {} to {}",
        vit.image_size,
        vit.patch_size,
        vit.image_sizes().next().unwrap_or(vit.image_size),
        vit.image_sizes().last().unwrap_or(vit.image_size)
    )]
    ImageSize {
        /// Pixels in a side, as they were asked for.
        found: usize,
        /// The trunk, which tells its [`image_sizes`](VitConfig::image_sizes).
        vit: Box<VitConfig>,
    },
    /// The picture cannot be cut into such tiles.
    #[error(transparent)]
    Tiling(#[from] TilingError),
    /// The image was encoded by another model than the one that is asked about it.
    #[error("the image was encoded by another model; encode it with the one that looks at it")]
    OtherModel,
    /// The clicks ask for something that cannot be.
    #[error(transparent)]
    Clicks(#[from] ClickError),
    /// The checkpoint segments by text, and has nothing that clicks could be given to.
    #[error("{}: no clicks: {reason}", path.display())]
    NoClickHead {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: NoClickHead,
    },
    /// The package takes clicks, and has nothing that texts and example boxes could be given to.
    #[error("{}: no texts: it was packaged for clicks alone, without text encoder and detector", path.display())]
    NoDetector {
        /// The file.
        path: PathBuf,
    },
    /// The checkpoint has nothing that objects could be followed by.
    #[error("{}: no video: {reason}", path.display())]
    NoTracker {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: NoTracker,
    },
    /// A video is not as it was said to be, or cannot be followed as asked.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// Who watched the call ended it.
    #[error("stopped behind layer {done} of {of} of the {stage}")]
    Stopped {
        /// The stage's name.
        stage: &'static str,
        /// Its layers that were there.
        done: usize,
        /// The layers that it has.
        of: usize,
    },
    /// The system starts no threads.
    #[error("no threads can be started: {0}")]
    Threads(String),
    /// A part of the model's answer is an infinity or NaN.
    #[error("{0}")]
    NotFinite(String),
    /// A file of raw outputs could not be written.
    #[error("{0}")]
    Output(String),
    /// A tensor operation failed: out of memory, or a device was lost.
    #[error("computing: {0}")]
    Compute(#[from] sam3_tensor::Error),
}

/// What cannot be in the clicks of one object.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ClickError {
    /// There is neither point, box nor mask.
    #[error("nothing is clicked: give a point, a box or a mask of the object")]
    Nothing,
    /// A coordinate or a logit is an infinity or NaN.
    #[error("expected numbers in clicks and masks, found {found}")]
    NotFinite {
        /// The first one.
        found: f32,
    },
    /// Logits that are no square.
    #[error("the logits of a mask: expected {side} x {side}, found {found}")]
    MaskLength {
        /// Pixels in a side.
        side: usize,
        /// Logits that there are.
        found: usize,
    },
    /// A mask of another resolution than the model makes.
    #[error(
        "the logits of a mask: expected {expected} x {expected} of this model and image size, found {found} x {found}"
    )]
    MaskSide {
        /// Pixels in a side of the model's masks.
        expected: usize,
        /// Those of the one that was given.
        found: usize,
    },
    /// The image was encoded by a segmenter that was opened without clicks.
    #[error("the image was encoded for texts alone: open the model without Options::without_clicks")]
    NotKept,
}

/// Why a checkpoint takes no clicks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoClickHead {
    /// Its tracker, of which the click head is a part, was left out.
    #[error("it has no tracker, which clicks go to")]
    LeftOut,
    /// It is SAM 3.1's.
    #[error("it is SAM 3.1, whose neck and decoder for clicks are others (interactive_convs) and are not supported")]
    Sam31,
}

/// Why a checkpoint follows nothing through a video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoTracker {
    /// It was left out.
    #[error("it has no tracker, which follows objects")]
    LeftOut,
    /// It is SAM 3.1's.
    #[error("it is SAM 3.1, whose tracker of several objects at once (multiplex) is another and is not supported")]
    Sam31,
}

/// What cannot be in a video.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// A picture is not as large as those before it.
    #[error("frame {frame}: expected {} x {} pixels, as frames before it have, found {} x {}",
        expected.0, expected.1, found.0, found.1)]
    Size {
        /// The frame.
        frame: usize,
        /// Width and height of the first picture.
        expected: (u32, u32),
        /// Those of this one.
        found: (u32, u32),
    },
    /// There was no picture yet.
    #[error("there is no frame yet: push one, or look at one")]
    NoFrame,
    /// A walk backward has passed frame 0.
    #[error("there is no frame before the first")]
    Start,
    /// What would be needed was let go of.
    #[error("frame {frame} lies behind, and what it needs was let go of: VideoOptions::retention keeps it")]
    Behind {
        /// The frame.
        frame: usize,
    },
    /// There is no such object, or no more.
    #[error("there is no object {id}")]
    NoObject {
        /// The number that was asked for.
        id: u32,
    },
    /// A click on what a text found, on a frame that it was not followed to.
    #[error(
        "object {id} was found by a text, and was not followed to frame {frame}: push the frame before it is clicked"
    )]
    OfText {
        /// The object.
        id: u32,
        /// The frame of the click.
        frame: usize,
    },
}

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
