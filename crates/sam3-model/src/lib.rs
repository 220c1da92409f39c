//! The SAM 3 image model: an image and a text prompt in, instance masks out.
//!
//! Knows nothing of the command line, of archives or of the Hub. Data flows one way: package → [`Weights`]
//! → the stages under `model` → instances.

mod baked;
pub mod config;
mod error;
pub mod gpu;
pub mod image;
pub mod masks;
pub mod matching;
mod model;
mod ops;
mod segmenter;
pub mod tokenizer;
mod weights;

pub use baked::bake_prompts;
pub use candle_core::Device;
pub use config::Config;
pub use error::{Error, Result};
pub use matching::Comparison;
pub use model::{Detections, Progress, StageError, StageTimes, Trace, Watch};
pub use ops::{Compute, Rate, cpu_name, op_rates};
pub use segmenter::{Encoded, ExemplarBox, Instance, Options, Prompt, Segmenter};
pub use weights::{Weight, Weights};
