//! Files: read any SAM 3 checkpoint, write a package of it, verify it, archive it.
//!
//! Nothing here knows how the model computes. Data flows one way:
//! [`checkpoint`] (bytes as they lie in the file) → [`layout`] (the official state dict)
//! → package plan → package.

pub mod checkpoint;
mod error;
pub mod layout;

pub use checkpoint::{Checkpoint, Container, Dtype, TensorInfo, TensorView};
pub use error::Error;
pub use layout::{Component, Layout, StateDict};

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
