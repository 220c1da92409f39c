//! Files: read any SAM 3 checkpoint, write a package of it, verify it, archive it.
//!
//! Nothing here knows how the model computes. Data flows one way:
//! [`checkpoint`] (bytes as they lie in the file) → [`layout`] (the official state dict)
//! → [`package`] (planned, cast, hashed, written, and put into an [`archive`] to carry) → [`unpack()`].

#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

#[cfg(not(unix))]
compile_error!("sam3 is for Linux; on Windows, build and run it in WSL 2, which is one");

pub mod archive;
pub mod checkpoint;
mod copy;
mod digest;
mod drive;
mod error;
mod file_id;
#[cfg(feature = "hub")]
mod hub;
pub mod layout;
mod mapped;
mod naming;
pub mod package;
mod precision;
mod progress;
mod regular;
mod staged;
mod unpack;

pub use checkpoint::{Checkpoint, Container, Dtype, TensorInfo, TensorView};
pub use copy::{Copied, copy};
pub use digest::sha256;
pub use error::{Error, HubFault, is_wrong_path};
pub use file_id::FileId;
#[cfg(feature = "hub")]
pub use hub::Hub;
pub use layout::{Component, Layout, StateDict, Tasks, is_unused_for_images};
pub use mapped::mapped_file;
pub use precision::{Precision, QuantisationError, int8_scale};
pub use progress::Progress;
pub use staged::{Staged, discard_staged, remove_old};
pub use unpack::{Contents, Unpacked, contents, unpack, verify};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
