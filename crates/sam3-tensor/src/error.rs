//! What can go wrong in a tensor operation.

/// Why an operation gave no tensor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Main memory has no room for a buffer.
    #[error("out of memory: {bytes} bytes more were not to be had")]
    OutOfMemory {
        /// What was asked for.
        bytes: usize,
    },
    /// A GPU's memory has no room for a buffer.
    #[error("out of memory on the GPU")]
    OutOfGpuMemory,
    /// Shapes, element types or devices do not fit the operation.
    #[error("{0}")]
    Mismatch(String),
    /// The device failed; all that was asked of it since may be lost.
    #[error("{0}")]
    Device(String),
}

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Returns an [`Error::Mismatch`] with these words.
macro_rules! mismatch {
    ($($words:tt)*) => {
        return Err($crate::Error::Mismatch(format!($($words)*)))
    };
}
pub(crate) use mismatch;
