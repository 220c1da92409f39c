//! Files: read any SAM 3 checkpoint, write a package of it, verify it, archive it.
//!
//! Nothing here knows how the model computes. Data flows one way:
//! [`checkpoint`] (bytes as they lie in the file) → [`layout`] (the official state dict)
//! → [`package`] (planned, cast, hashed, written) → [`archive`] (one `.tar.gz` to carry).

pub mod archive;
pub mod checkpoint;
mod copy;
mod drive;
mod error;
mod hub;
pub mod layout;
pub mod package;
mod positioned;
mod precision;
mod progress;
mod regular;
mod staged;

pub use checkpoint::{Checkpoint, Container, Dtype, TensorInfo, TensorView};
pub use copy::{Copied, copy};
pub use error::Error;
pub use hub::Hub;
pub use layout::{Component, Layout, StateDict, is_unused_for_images};
pub use precision::{Precision, QuantisationError, int8_scale};
pub use progress::Progress;
pub use staged::{Staged, discard_staged};

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
