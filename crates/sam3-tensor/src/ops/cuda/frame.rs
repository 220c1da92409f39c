//! The bytes of a picture on their way to a GPU, through memory that the GPU reads by itself.

use std::sync::{Mutex, PoisonError};

use crate::{
    DType, Device, Result,
    gpu::{Gpu, Pinned},
    launch::{self, Address, Launch},
};

/// Page-locked memory, kept for the next picture: to lock it takes longer than to fill it.
static BUFFERS: Mutex<Vec<Pinned>> = Mutex::new(Vec::new());

/// How a GPU gets at page-locked memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It copies it to its own, while the program goes on.
    Copy,
    /// It has no memory of its own: kernels read it where it is.
    InPlace,
}

impl Way {
    /// What suits a device: a Jetson shares the machine's memory.
    pub fn of(gpu: &Gpu) -> Self {
        match gpu.is_integrated() {
            false => Self::Copy,
            true => Self::InPlace,
        }
    }
}

/// Gives `launch_on` the address of `bytes` on `device`, where kernels that it launches may read them.
pub fn with_bytes_on<T>(gpu: &Gpu, bytes: &[u8], way: Way, launch_on: impl FnOnce(Address) -> Result<T>) -> Result<T> {
    let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    buffers.retain(|buffer| !buffer.gpu().is(gpu) || buffer.len() >= bytes.len());
    let index = match buffers.iter().position(|buffer| buffer.gpu().is(gpu)) {
        Some(index) => index,
        None => {
            buffers.push(Pinned::new(gpu, bytes.len())?);
            buffers.len() - 1
        }
    };
    let pinned = &mut buffers[index];
    let from = pinned.fill(bytes)?;
    let result = match way {
        Way::InPlace => launch_on(from),
        Way::Copy => {
            let place = Device::Cuda(gpu.clone());
            let copy = launch::uninitialised(bytes.len(), DType::U8, &place)?;
            let address = Launch::on(&place).output(&copy)?;
            // SAFETY: as many bytes as both have, which are neither written nor freed before the stream has passed
            // this.
            unsafe { gpu.copy_to_device(address, from as *const _, bytes.len())? };
            launch_on(address)
        }
    };
    pinned.submitted()?;
    result
}
