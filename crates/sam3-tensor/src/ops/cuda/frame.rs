//! The bytes of a picture on their way to a GPU, through memory that the GPU reads by itself.

use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaContext, HostSlice, PinnedHostSlice, result, sys::CUdevice_attribute as Attribute};

use crate::{
    DType, Device, Result,
    gpu::{Gpu, failed},
    launch::{self, Address, Launch},
};

/// Page-locked memory, kept for the next picture: to lock it takes longer than to fill it.
static BUFFERS: Mutex<Vec<(Arc<CudaContext>, PinnedHostSlice<u8>)>> = Mutex::new(Vec::new());

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
    pub fn of(gpu: &Gpu) -> Result<Self> {
        let context = gpu.stream().context();
        let integrated = context
            .attribute(Attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED)
            .map_err(failed)?;
        Ok(if integrated == 0 { Self::Copy } else { Self::InPlace })
    }
}

/// Gives `launch_on` the address of `bytes` on `device`, where kernels that it launches may read them.
pub fn with_bytes_on<T>(gpu: &Gpu, bytes: &[u8], way: Way, launch_on: impl FnOnce(Address) -> Result<T>) -> Result<T> {
    let stream = gpu.stream();
    let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    buffers.retain(|(context, buffer)| context != stream.context() || buffer.len() >= bytes.len());
    let index = match buffers.iter().position(|(context, _)| context == stream.context()) {
        Some(index) => index,
        None => {
            // SAFETY: it is written below before anything reads it. Not read by the CPU, so it need not pass through its caches.
            let buffer = unsafe { stream.context().alloc_pinned(bytes.len()).map_err(failed)? };
            buffers.push((stream.context().clone(), buffer));
            buffers.len() - 1
        }
    };
    let buffer = &mut buffers[index].1;
    // Waits until the picture before has been read.
    buffer.as_mut_slice().map_err(failed)?[..bytes.len()].copy_from_slice(bytes);
    // SAFETY: the slice lives as long as the guard, which marks in the stream that what was submitted until then has been read.
    let (pinned, guard) = unsafe { buffer.stream_synced_slice(stream) };
    let result = match way {
        Way::InPlace => launch_on(pinned.as_ptr() as Address),
        Way::Copy => {
            let place = Device::Cuda(gpu.clone());
            let copy = launch::uninitialised(bytes.len(), DType::U8, &place)?;
            let address = Launch::on(&place).output(&copy)?;
            // SAFETY: as many bytes as the tensor has; it is read and freed in the order of this stream only.
            unsafe { result::memcpy_htod_async(address, &pinned[..bytes.len()], stream.cu_stream()).map_err(failed)? };
            launch_on(address)
        }
    };
    drop(guard);
    result
}
