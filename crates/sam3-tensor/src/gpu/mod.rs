//! NVIDIA GPUs: opening one, its name, and how much of its memory was used.
//!
//! A build without the feature `cuda` has the same functions, in `disabled.rs`: who calls them needs no `cfg`.

#[cfg(any(test, feature = "cuda"))]
mod code;
#[cfg(feature = "cuda")]
pub(crate) mod cublaslt;
#[cfg(not(feature = "cuda"))]
mod disabled;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(feature = "cuda")]
mod enabled;
#[cfg(feature = "cuda")]
mod library;
#[cfg(feature = "cuda")]
mod pinned;

#[cfg(not(feature = "cuda"))]
use disabled as imp;
#[cfg(feature = "cuda")]
use enabled as imp;
pub use imp::Gpu;
pub(crate) use imp::Memory;
#[cfg(feature = "cuda")]
pub(crate) use {driver::Handle, pinned::Pinned};

/// Why there is no GPU to run on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// The program has no CUDA in it.
    #[error("this program was built without CUDA")]
    NotBuilt,
    /// The driver is not there, is too old for this build, or sees no GPU at all.
    #[error("no GPU answers: {0}")]
    Driver(String),
    /// One of NVIDIA's libraries is missing.
    #[error("{library} is missing: {package}")]
    NoLibrary {
        /// The newest name that it has.
        library: &'static str,
        /// Who installs it.
        package: &'static str,
    },
    /// There are GPUs, but not that one.
    #[error("there is no GPU {asked}: the driver finds {found}, counted from 0")]
    NoSuchGpu {
        /// Its number.
        asked: usize,
        /// How many there are.
        found: usize,
    },
    /// It is there and cannot run this program's kernels.
    #[error("GPU {index} does not run this program: {reason}")]
    Unusable {
        /// Its number.
        index: usize,
        /// The driver's words.
        reason: String,
    },
}

/// Memory of a GPU, in bytes. A Jetson's is the machine's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// What was asked for and not yet given back: weights, other tensors, a library's workspace.
    pub held: u64,
    /// The most that was held at once since the device was opened.
    pub peak: u64,
    /// What the driver keeps for this program: `held`, and what was given back and waits for the next tensors.
    pub reserved: u64,
    /// What is in use now, by every program: `reserved`, the driver's own, kernels.
    pub in_use: u64,
    /// All of it.
    pub total: u64,
}

/// Opens GPU `index`; [`crate::open_gpu`] runs a first kernel there too.
pub(crate) fn open(index: usize) -> Result<Gpu, GpuError> {
    imp::open(index)
}

/// Does this build have CUDA in it?
pub const fn is_built() -> bool {
    cfg!(feature = "cuda")
}
