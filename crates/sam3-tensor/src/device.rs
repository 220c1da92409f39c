//! Where tensors are and operations run.

use std::fmt;

use crate::{
    Result,
    gpu::{Gpu, Usage},
    ops,
};

/// Main memory and the CPU, or a CUDA device with its own.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Device {
    /// Main memory.
    Cpu,
    /// An NVIDIA GPU, opened by [`open_gpu`](crate::open_gpu).
    Cuda(Gpu),
}

impl Device {
    /// Is it main memory?
    pub fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu)
    }

    /// Do the CPU's operations take tensors that are there?
    pub fn is_main_memory(&self) -> bool {
        ops::is_main_memory(self)
    }

    /// Is it a GPU whose memory is the machine's, as a Jetson's?
    pub fn is_integrated(&self) -> bool {
        match self {
            Self::Cpu => false,
            Self::Cuda(gpu) => gpu.is_integrated(),
        }
    }

    /// What was used of its own memory; `None` for the CPU, and where the driver does not tell.
    pub fn usage(&self) -> Option<Usage> {
        match self {
            Self::Cpu => None,
            Self::Cuda(gpu) => gpu.usage(),
        }
    }

    /// Waits until everything that was asked of it is done.
    ///
    /// # Errors
    /// What failed there since.
    pub fn synchronize(&self) -> Result<()> {
        match self {
            Self::Cpu => Ok(()),
            Self::Cuda(gpu) => gpu.synchronize(),
        }
    }
}

/// As people and JSON name it: `cpu`, or `cuda:0 (Orin)`.
impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(gpu) => write!(
                f,
                "cuda:{} ({})",
                gpu.index(),
                gpu.name().as_deref().unwrap_or("unknown")
            ),
        }
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Cpu, Self::Cpu) => true,
            (Self::Cuda(a), Self::Cuda(b)) => a.is(b),
            _ => false,
        }
    }
}
