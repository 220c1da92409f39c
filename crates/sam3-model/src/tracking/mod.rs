//! Tracking by text: which objects of a video a text means, decided frame by frame, without the networks.
//!
//! On each frame [`TextTracking::step`] is given what the detector found and asks a [`Tracker`] where the objects are
//! that it follows. It decides which detections are new objects, which objects are none and go, whose masks are
//! remembered and how, in the official order of operations (`Sam3VideoBase`, text prompts):
//!
//! 1. `detection` drops what was found twice (mask NMS);
//! 2. tracks are propagated, and their masks freed of holes and sprinkles by `cleaning`;
//! 3. `association` tells which detection is which track;
//! 4. `hot_start` counts unmatched tracks and `duplicates`, and tells who is removed;
//! 5. every sixteenth frame, confident detections recondition their tracks;
//! 6. `occlusion` suppresses tracks that others hide;
//! 7. `shrink` tells who is remembered as absent, and the frame is remembered;
//! 8. masks are made for the `output`, and new objects begin, as one group.
//!
//! [`EmissionBuffer`] then holds frames back until it is certain which objects stay, as officially, or does not.
//!
//! Masks are decided about in main memory, as bits. All here holds for one text; the [`Texts`] of one session share the
//! numbers of their objects and the buffer, and nothing else. It is public because any [`Tracker`] can be asked.

mod absences;
mod association;
mod binary_mask;
mod cleaning;
mod decisions;
mod detection;
mod duplicates;
mod emission;
mod hot_start;
mod object;
mod occlusion;
mod output;
#[cfg(test)]
mod replay;
mod shrink;
mod text;
mod texts;
pub mod thresholds;
mod tracker;
mod visit;

pub use absences::Absences;
#[cfg(test)]
pub(crate) use cleaning::clean;
pub use decisions::Decisions;
pub use detection::{Detection, video_score};
pub use emission::{Emission, EmissionBuffer, FrameResult};
pub use object::{ObjectId, ObjectIds};
pub use output::{FrameObject, Output};
pub use text::{MaskSizes, TextFrame, TextTracking};
pub use texts::Texts;
pub use tracker::{MaskPrompt, MemoryLogits, MemoryMask, Tracked, Tracker};
pub use visit::{Direction, Visit};
