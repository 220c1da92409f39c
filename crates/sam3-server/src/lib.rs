//! SAM 3 over HTTP: one model, many clients.
//!
//! One thread owns the model; requests wait for it in a bounded queue, and leave it when their client goes away.
//! Streams that whoever starts it names are looked at between requests. Nothing that a client names is read from disk or
//! fetched. Knows nothing of flags and of files: the program that
//! starts it loads the model.

mod access;
mod body;
mod cache;
mod failure;
mod listen;
mod memory;
mod metrics;
mod model;
mod queue;
mod request;
mod routes;
mod settings;
mod streams;
mod videos;

pub use access::{Access, Token, WeakToken};
pub use listen::{RunError, Stop, run};
pub use model::{Model, Opened};
#[doc(hidden)]
pub use request::fuzz_body;
pub use routes::{OPENAPI, app};
pub use settings::{Limits, Settings};
pub use streams::{NoName, StreamSource};
