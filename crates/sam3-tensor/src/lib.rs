//! Tensors in main memory or on a CUDA device, and the operations that transformers of images are made of.
//!
//! A [`Tensor`] is a list of elements of one type and the extents that give them their places; it is always contiguous.
//! The [`ops`] choose by themselves how they compute: by the CPU's widest vector unit, or by CUDA kernels, in the
//! precision that a layer was given.
//!
//! ```
//! use sam3_tensor::{Device, Tensor};
//!
//! # fn main() -> sam3_tensor::Result<()> {
//! let x = Tensor::from_vec(vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0], (2, 3), &Device::Cpu)?;
//! let bias = Tensor::from_vec(vec![10f32, 20.0, 30.0], 3, &Device::Cpu)?;
//! let sum = (&x + &bias)?;
//! assert_eq!(sum.dims(), [2, 3]);
//! assert_eq!(sum.t()?.to_vec::<f32>()?, [11.0, 14.0, 22.0, 25.0, 33.0, 36.0]);
//! # Ok(())
//! # }
//! ```

mod arrange;
mod device;
mod dtype;
mod elementwise;
mod error;
pub mod gpu;
mod launch;
mod open;
pub mod ops;
mod shape;
mod storage;
mod tensor;
mod weight;

pub use device::Device;
pub use dtype::{DType, Element};
pub use error::{Error, Result};
pub use open::open_gpu;
pub use shape::{Reshape, Shape};
pub use tensor::Tensor;
pub use weight::{Mapped, Stored, Weight};

/// Other ways to run what runs on an accelerator, for tests.
#[cfg(any(test, feature = "testing"))]
pub mod testing {
    pub use crate::{launch::emulated, ops::as_accelerator};
}
