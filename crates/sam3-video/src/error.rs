//! Why there are no more frames.

use std::{collections::TryReserveError, io, time::Duration};

use sam3_model::image::ImageError;

use crate::Program;

/// Why there are no more frames.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// What stands before the frames is not what is read: what was expected and what was found.
    #[error("{0}")]
    Header(String),
    /// Of a frame some bytes are there.
    #[error("cut off in its last frame: expected {expected} bytes, found {found}")]
    Cut {
        /// Bytes of a whole frame.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A Y4M whose next frame does not begin as one.
    #[error("expected the word FRAME before a frame, found other bytes: it is damaged")]
    NoFrame,
    /// An MJPEG whose next frame is no JPEG.
    #[error("expected a JPEG, found other bytes: it is damaged")]
    NoJpeg,
    /// There is no room for a frame.
    #[error(transparent)]
    Memory(#[from] TryReserveError),
    /// A frame is no picture.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// No program is here that could decode it.
    #[error("neither ffmpeg nor gst-launch-1.0 is on PATH")]
    NoDecoder,
    /// The program that would decode it is not here.
    #[error("{} is not on PATH", .0.command())]
    NotInstalled(Program),
    /// The program that was asked for does not read such a source.
    #[error("{} does not read csi://", .0.command())]
    NotRead(Program),
    /// The program that decodes it ended with an error.
    #[error("{} ended: {reason}", program.command())]
    Decoder {
        /// Which.
        program: Program,
        /// Its last words, or its exit status.
        reason: String,
    },
    /// The program that would make a video codes neither H.264 nor MPEG-4.
    #[error("{} has no encoder of H.264 or MPEG-4", .0.command())]
    NoCodec(Program),
    /// The program that makes a video ended with an error.
    #[error("{} ended: {reason}", program.command())]
    Encoder {
        /// Which.
        program: Program,
        /// Its last words, or its exit status.
        reason: String,
    },
    /// A source sent nothing for so long.
    #[error("no frame came for {} s", .0.as_secs_f64())]
    Stalled(Duration),
    /// A source that sends as long as it is there sends no more.
    #[error("it sends no more")]
    Gone,
    /// The frames' size changed.
    #[error("the size of its frames changed from {0} x {1} to {2} x {3}")]
    Resized(u32, u32, u32, u32),
}
