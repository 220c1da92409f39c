//! The SAM 3 image model: an image and a text prompt, or clicks, in; masks out.
//!
//! Knows nothing of the command line, of archives or of the Hub. Data flows one way: package → [`Weights`]
//! → the stages under `model` → instances.

mod baked;
pub mod config;
mod error;
pub mod image;
mod input_size;
pub mod masks;
pub mod matching;
mod model;
mod precision;
mod predictor;
pub mod report;
mod segmenter;
#[cfg(test)]
mod testing;
pub mod tiling;
pub mod tokenizer;
pub mod tracking;
mod weights;

pub use baked::bake_prompts;
pub use config::Config;
pub use error::{ClickError, Error, NoClickHead, NoTracker, Result, VideoError};
pub use matching::Comparison;
pub use model::{Detections, Progress, StageError, StageTimes, Trace, Watch};
pub use precision::auto_compute;
pub use predictor::{MemoryDtype, Retention};
pub use sam3_tensor::{
    Device, Error as TensorError, gpu, open_gpu,
    ops::{Compute, Rate, cpu_name, op_rates},
};
pub use segmenter::{
    ClickedMask, ClickedObject, Clicks, Encoded, Everything, ExemplarBox, Instance, LowResMask, Options, Prompt,
    SavedLogits, Segment, Segmenter, Session, VideoOptions,
};
pub use tiling::{Tiles, Tiling};
pub use weights::Weights;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
