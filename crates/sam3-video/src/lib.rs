//! Frames out of video files, cameras and streams, and into files.
//!
//! [`Y4m`], [`Mjpeg`] and [`Raw`] read frames from a file or a pipe. [`Decoded`] has `ffmpeg` or GStreamer read
//! everything else, in a process that never outlives this one. [`Ahead`] reads while earlier frames are worked on.
//! [`Live`] keeps the latest frame of a source that does not wait, and counts those that were left out; [`LiveSource`]
//! opens it again when it went away.
//!
//! [`Encoder`] has one of the two programs make a video of pictures.

mod ahead;
mod child;
mod decoder;
mod encoder;
mod error;
mod format;
mod live;
mod live_source;
mod mjpeg;
mod paced;
mod raw;
mod uri;
mod y4m;
mod yuv;

pub use ahead::Ahead;
pub use child::{Decoded, Switch};
pub use decoder::{Decoder, Program, Wanted};
pub use encoder::{Coder, Container, Encoder, Film};
pub use error::VideoError;
pub use format::{Format, Frames, Rate};
pub use live::{Caught, Live};
pub use live_source::{LiveSource, Owner};
pub use mjpeg::Mjpeg;
pub use raw::{Pixels, Raw};
pub use uri::{Codec, Uri, UriError};
pub use y4m::{MAGIC as Y4M_MAGIC, Y4m};
pub use yuv::{Layout, Range};
