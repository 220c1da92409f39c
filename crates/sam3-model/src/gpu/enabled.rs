//! A build with CUDA: the driver is asked through cudarc, which candle brings.

use candle_core::{
    Device, Tensor,
    cuda_backend::{CudaDevice, cudarc::driver},
};
use driver::{
    CudaContext, DriverError,
    sys::{self, CUmemPool_attribute as Attribute, CUmemoryPool},
};

use super::{GpuError, Memory};

pub fn open(index: usize) -> Result<Device, GpuError> {
    #[cfg(driver_slots)]
    super::driver::load();
    let no_driver = |error: DriverError| GpuError::Driver(reason(&error));
    let found = CudaContext::device_count().map_err(no_driver)?;
    let found = usize::try_from(found).unwrap_or(0);
    if index >= found {
        return Err(GpuError::NoSuchGpu { asked: index, found });
    }
    prepare(index).map_err(|error| GpuError::Unusable {
        index,
        reason: error.to_string(),
    })
}

/// A device with a stream of its own, shared by all threads, that keeps the memory it once had.
fn prepare(index: usize) -> candle_core::Result<Device> {
    let device = Device::new_cuda_with_stream(index)?;
    let cuda = device.as_cuda_device()?;
    // SAFETY: all work of this device goes to its one stream, in order, whichever thread submits it: no tensor can be freed or
    // overwritten there before its last use. Two events for every tensor, of which a picture makes thousands, are thus for nothing.
    unsafe { cuda.disable_event_tracking() };
    if let Some(pool) = pool(cuda) {
        let threshold = u64::MAX;
        // SAFETY: this attribute is a u64, which the driver copies. Should it fail, memory goes back to the system at each copy to the
        // host, which is slower and no fault.
        let _ = unsafe {
            let threshold = (&raw const threshold).cast_mut().cast();
            sys::cuMemPoolSetAttribute(pool, Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, threshold)
        };
    }
    let two = (Tensor::new(1f32, &device)? + 1.0)?.to_scalar::<f32>()?;
    if two != 2.0 {
        candle_core::bail!("1 + 1 = {two} there");
    }
    Ok(device)
}

/// The driver's own name of the error, and its sentence.
fn reason(error: &DriverError) -> String {
    let sentence = error.error_string().ok().and_then(|text| text.to_str().ok());
    match (error.0, sentence) {
        (sys::CUresult::CUDA_ERROR_STUB_LIBRARY, _) => {
            "libcuda.so.1, which the NVIDIA driver installs, is missing".to_owned()
        }
        (code, Some(sentence)) => format!("{sentence} ({code:?})"),
        (code, None) => format!("{code:?}"),
    }
}

pub fn name(device: &Device) -> Option<String> {
    device.as_cuda_device().ok()?.cuda_stream().context().name().ok()
}

pub fn memory(device: &Device) -> Option<Memory> {
    let cuda = device.as_cuda_device().ok()?;
    let (free, total) = cuda.cuda_stream().context().mem_get_info().ok()?;
    let mut peak = 0u64;
    // SAFETY: this attribute is a u64, and `peak` is one.
    let status = unsafe {
        let attribute = Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        sys::cuMemPoolGetAttribute(pool(cuda)?, attribute, (&raw mut peak).cast())
    };
    (status == sys::CUresult::CUDA_SUCCESS).then_some(Memory {
        peak,
        in_use: (total - free) as u64,
        total: total as u64,
    })
}

/// Where tensors' memory comes from, on devices that have such pools.
fn pool(cuda: &CudaDevice) -> Option<CUmemoryPool> {
    let stream = cuda.cuda_stream();
    let context = stream.context();
    if !context.has_async_alloc() {
        return None;
    }
    let mut pool = std::ptr::null_mut();
    // SAFETY: `pool` is written, and only on success; the device is that of a live context.
    let status = unsafe { sys::cuDeviceGetDefaultMemPool(&raw mut pool, context.cu_device()) };
    (status == sys::CUresult::CUDA_SUCCESS).then_some(pool)
}
