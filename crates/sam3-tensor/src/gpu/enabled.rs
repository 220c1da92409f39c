//! A build with CUDA: the driver is asked through cudarc, which opens its library when a GPU is first asked for. Where there
//! is no driver, the same program runs on the CPU.

use std::{ops::Range, sync::Arc};

use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, DevicePtr, DriverError,
    sys::{self, CUmemPool_attribute as Attribute, CUmemoryPool},
};

use super::{GpuError, Usage};
use crate::{Error, Result};

/// An open GPU, with a stream of its own that all threads share: what they ask of it is done in that order.
#[derive(Clone, Debug)]
pub struct Gpu(Arc<CudaStream>);

/// Memory of a GPU, freed in the order of its stream.
pub struct Memory(CudaSlice<u8>);

pub fn open(index: usize) -> Result<Gpu, GpuError> {
    // SAFETY: whoever may start this program chose what that library is, as with every other.
    if !unsafe { sys::is_culib_present() } {
        let reason = "libcuda.so.1, which the NVIDIA driver installs, is missing";
        return Err(GpuError::Driver(reason.to_owned()));
    }
    // SAFETY: the same.
    if !unsafe { cudarc::cublaslt::sys::is_culib_present() } {
        return Err(GpuError::NoLibrary("libcublasLt"));
    }
    // `device_count` alone does not initialise the driver.
    let found = cudarc::driver::result::init().and_then(|()| CudaContext::device_count());
    let found = found.map_err(|error| GpuError::Driver(reason(&error)))?;
    let found = usize::try_from(found).unwrap_or(0);
    if index >= found {
        return Err(GpuError::NoSuchGpu { asked: index, found });
    }
    prepare(index).map_err(|error| GpuError::Unusable {
        index,
        reason: error.to_string(),
    })
}

/// A device that keeps the memory it once had.
fn prepare(index: usize) -> Result<Gpu> {
    let context = CudaContext::new(index).map_err(failed)?;
    // SAFETY: all work of this device goes to its one stream, in order, whichever thread submits it: no tensor can be freed or
    // overwritten there before its last use. Two events for every tensor, of which a picture makes thousands, are thus for nothing.
    unsafe { context.disable_event_tracking() };
    let gpu = Gpu(context.new_stream().map_err(failed)?);
    if let Some(pool) = gpu.pool() {
        let threshold = u64::MAX;
        // SAFETY: this attribute is a u64, which the driver copies. Should it fail, memory goes back to the system at each copy to the
        // host, which is slower and no fault.
        let _ = unsafe {
            let threshold = (&raw const threshold).cast_mut().cast();
            sys::cuMemPoolSetAttribute(pool, Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, threshold)
        };
    }
    Ok(gpu)
}

/// The driver's own name of the error, and its sentence.
fn reason(error: &DriverError) -> String {
    let sentence = error.error_string().ok().and_then(|text| text.to_str().ok());
    match (error.0, sentence) {
        (code, Some(sentence)) => format!("{sentence} ({code:?})"),
        (code, None) => format!("{code:?}"),
    }
}

pub(crate) fn failed(error: DriverError) -> Error {
    match error.0 {
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::OutOfGpuMemory,
        _ => Error::Device(reason(&error)),
    }
}

impl Gpu {
    /// Is it the same, opened once?
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }

    /// Its number.
    pub fn index(&self) -> usize {
        self.0.context().ordinal()
    }

    /// The driver's name for it.
    pub fn name(&self) -> Option<String> {
        self.0.context().name().ok()
    }

    /// How much of its memory is used.
    pub fn usage(&self) -> Option<Usage> {
        let (free, total) = self.0.context().mem_get_info().ok()?;
        let mut peak = 0u64;
        // SAFETY: this attribute is a u64, and `peak` is one.
        let status = unsafe {
            let attribute = Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
            sys::cuMemPoolGetAttribute(self.pool()?, attribute, (&raw mut peak).cast())
        };
        (status == sys::CUresult::CUDA_SUCCESS).then_some(Usage {
            peak,
            in_use: (total - free) as u64,
            total: total as u64,
        })
    }

    /// Waits until everything that was asked of it is done.
    pub fn synchronize(&self) -> Result<()> {
        self.0.synchronize().map_err(failed)
    }

    /// The one stream of its work.
    pub(crate) fn stream(&self) -> &Arc<CudaStream> {
        &self.0
    }

    /// Memory of which nothing is known.
    pub(crate) fn alloc(&self, bytes: usize) -> Result<Memory> {
        // SAFETY: bytes are any; who reads them before something is written reads nothing of use. None at all cannot be had.
        unsafe { self.0.alloc(bytes.max(1)) }.map(Memory).map_err(failed)
    }

    /// Zeros.
    pub(crate) fn zeros(&self, bytes: usize) -> Result<Memory> {
        let mut memory = self.alloc(bytes)?;
        self.0.memset_zeros(&mut memory.0).map_err(failed)?;
        Ok(memory)
    }

    /// A copy of these.
    pub(crate) fn upload(&self, bytes: &[u8]) -> Result<Memory> {
        let mut memory = self.alloc(bytes.len())?;
        if !bytes.is_empty() {
            self.0.memcpy_htod(bytes, &mut memory.0).map_err(failed)?;
        }
        Ok(memory)
    }

    /// Where tensors' memory comes from, on devices that have such pools.
    fn pool(&self) -> Option<CUmemoryPool> {
        let context = self.0.context();
        if !context.has_async_alloc() {
            return None;
        }
        let mut pool = std::ptr::null_mut();
        // SAFETY: `pool` is written, and only on success; the device is that of a live context.
        let status = unsafe { sys::cuDeviceGetDefaultMemPool(&raw mut pool, context.cu_device()) };
        (status == sys::CUresult::CUDA_SUCCESS).then_some(pool)
    }
}

impl Memory {
    /// Copies some of its bytes to main memory.
    pub(crate) fn download(&self, bytes: Range<usize>, to: &mut [u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let stream = self.0.stream();
        stream.memcpy_dtoh(&self.0.slice(bytes), to).map_err(failed)
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> u64 {
        // The guard that comes with the address orders streams among each other; all work is on one, in order, so it may go at once.
        self.0.device_ptr(self.0.stream()).0
    }
}
