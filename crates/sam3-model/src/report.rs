//! What was found in an image, as the JSON that `sam3 segment`, `sam3 click`, `sam3 track` and `sam3 serve` give.

mod clicked;
mod followed;
mod instance;
mod loaded;
mod segmented;
mod tiled;

use std::path::Path;

pub use clicked::{ClickTimings, Clicked, ClickedRecord, ClicksRecord, ObjectRecord, PointRecord};
pub use followed::{FollowedRecord, FrameRecord, FrameTiming, LiveTiming, SeenRecord, State};
pub use instance::{BoxRecord, InstanceRecord};
pub use loaded::{Loaded, ModelRecord};
pub use segmented::{Found, FoundRecord, How, PromptRecord, Refined, Segmented, Timings, find, text_of};
use serde::{Serialize, Serializer};
pub use tiled::{TilingRecord, find_in_tiles};

/// The program and its version, which every result names first.
pub const GENERATOR: &str = concat!("sam3 ", env!("CARGO_PKG_VERSION"));

/// The image's place in the JSON.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ImageRecord<'a> {
    /// `-` for one that came without a name.
    #[serde(serialize_with = "plain")]
    pub file: &'a Path,
    /// Of the file's bytes.
    pub sha256: &'a str,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// A path as JSON has it, which has Unicode only.
fn plain<S: Serializer>(path: impl AsRef<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.as_ref().display())
}
