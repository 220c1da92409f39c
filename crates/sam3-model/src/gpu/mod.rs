//! NVIDIA GPUs: opening one, its name, and how much of its memory was used.
//!
//! A build without the feature `cuda` has the same functions, in `disabled.rs`: who calls them needs no `cfg`.

#[cfg(not(feature = "cuda"))]
mod disabled;
#[cfg(driver_slots)]
mod driver;
#[cfg(feature = "cuda")]
mod enabled;

#[cfg(not(feature = "cuda"))]
use disabled as imp;
#[cfg(feature = "cuda")]
use enabled as imp;

use candle_core::{Device, DeviceLocation};

/// Why there is no GPU to run on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// The program has no CUDA in it.
    #[error("this sam3 was built without CUDA")]
    NotBuilt,
    /// The driver is not there, is too old for this build, or sees no GPU at all.
    #[error("no GPU answers: {0}")]
    Driver(String),
    /// There are GPUs, but not that one.
    #[error("there is no GPU {asked}: the driver finds {found}, counted from 0")]
    NoSuchGpu {
        /// Its number.
        asked: usize,
        /// How many there are.
        found: usize,
    },
    /// It is there and cannot run this program's kernels.
    #[error("GPU {index} does not run this sam3: {reason}")]
    Unusable {
        /// Its number.
        index: usize,
        /// The driver's words.
        reason: String,
    },
}

/// Memory of a GPU, in bytes. A Jetson's is the machine's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The most that tensors, weights among them, held at once since the device was opened.
    pub peak: u64,
    /// What is in use now, by every program: tensors, the memory kept for the next ones, the driver's own.
    pub in_use: u64,
    /// All of it.
    pub total: u64,
}

/// Opens GPU `index`, and runs a first kernel there, so that one which cannot is known before a model is loaded.
///
/// # Errors
/// When there is none, or it does not work; nothing panics for want of a driver.
pub fn open(index: usize) -> Result<Device, GpuError> {
    imp::open(index)
}

/// Does this build have CUDA in it?
pub const fn is_built() -> bool {
    cfg!(feature = "cuda")
}

/// The device as people and JSON name it: `cpu`, or `cuda:0 (Orin)`.
pub fn describe(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cpu => "cpu".to_owned(),
        DeviceLocation::Cuda { gpu_id } => {
            let name = imp::name(device).unwrap_or_else(|| "unknown".to_owned());
            format!("cuda:{gpu_id} ({name})")
        }
        DeviceLocation::Metal { gpu_id } => format!("metal:{gpu_id}"),
    }
}

/// What was used of the device's own memory; `None` for the CPU, and where the driver does not tell.
pub fn memory(device: &Device) -> Option<Memory> {
    imp::memory(device)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    #[test]
    fn a_machine_without_a_gpu_is_told_so() {
        assert_eq!(super::describe(&Device::Cpu), "cpu");
        assert_eq!(super::memory(&Device::Cpu), None);
        // With a GPU or without, there is no ten thousandth.
        let error = super::open(9999).unwrap_err();
        assert_eq!(error == super::GpuError::NotBuilt, !super::is_built(), "{error}");
    }
}
