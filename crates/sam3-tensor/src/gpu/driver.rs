//! The CUDA driver, `libcuda.so.1`: the few of its functions that are called here, under their names in `cuda.h`.

use std::{
    ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_void},
    ptr,
    sync::OnceLock,
};

use super::{
    GpuError,
    library::{Wanted, functions},
};
use crate::{Error, Result};

/// What every function returns: 0 is success.
type CUresult = c_int;
/// A device's handle.
pub type CUdevice = c_int;
/// A context, a stream, a module, a function or a memory pool.
pub type Handle = *mut c_void;
/// An address of a device's memory.
pub type CUdeviceptr = u64;

const CUDA_ERROR_OUT_OF_MEMORY: CUresult = 2;

/// Attributes of a device (`CUdevice_attribute`).
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum DeviceAttribute {
    /// Its memory is the machine's.
    Integrated = 18,
    /// The first digit of its compute capability.
    CapabilityMajor = 75,
    /// The second.
    CapabilityMinor = 76,
    /// It has pools of memory.
    MemoryPoolsSupported = 115,
}

/// Attributes of a memory pool (`CUmemPool_attribute`), all of them u64.
#[derive(Clone, Copy)]
#[repr(i32)]
pub enum PoolAttribute {
    /// Bytes that stay with the pool when they are free.
    ReleaseThreshold = 4,
    /// Bytes that it has of the system now.
    ReservedMemCurrent = 5,
}

/// `CU_STREAM_NON_BLOCKING`: work that does not wait for the default stream's.
pub const NON_BLOCKING: c_uint = 1;

/// `CU_MEMHOSTALLOC_WRITECOMBINED`: memory that the CPU writes and does not read.
pub const WRITE_COMBINED: c_uint = 4;
/// `CU_EVENT_DISABLE_TIMING`.
pub const DISABLE_TIMING: c_uint = 2;

const LIBRARY: Wanted = Wanted {
    names: &["libcuda.so.1"],
    // A Jetson's, where JetPack has it beside the other files of the driver.
    folders: &["/usr/lib/aarch64-linux-gnu/nvidia", "/usr/lib/aarch64-linux-gnu/tegra"],
    package: "the NVIDIA driver installs it, and on a Jetson JetPack's nvidia-l4t-cuda",
};

functions! {
    /// The functions.
    pub struct Driver -> CUresult {
        fn cuInit(c_uint);
        fn cuGetErrorName(CUresult, *mut *const c_char);
        fn cuGetErrorString(CUresult, *mut *const c_char);
        fn cuDeviceGetCount(*mut c_int);
        fn cuDeviceGet(*mut CUdevice, c_int);
        fn cuDeviceGetName(*mut c_char, c_int, CUdevice);
        fn cuDeviceGetAttribute(*mut c_int, DeviceAttribute, CUdevice);
        fn cuDeviceGetDefaultMemPool(*mut Handle, CUdevice);
        fn cuDevicePrimaryCtxRetain(*mut Handle, CUdevice);
        fn cuCtxSetCurrent(Handle);
        fn cuStreamCreate(*mut Handle, c_uint);
        fn cuStreamSynchronize(Handle);
        fn cuMemPoolSetAttribute(Handle, PoolAttribute, *mut c_void);
        fn cuMemPoolGetAttribute(Handle, PoolAttribute, *mut c_void);
        fn cuMemGetInfo_v2(*mut usize, *mut usize);
        fn cuMemAllocAsync(*mut CUdeviceptr, usize, Handle);
        fn cuMemFreeAsync(CUdeviceptr, Handle);
        fn cuMemAlloc_v2(*mut CUdeviceptr, usize);
        fn cuMemFree_v2(CUdeviceptr);
        fn cuMemsetD8Async(CUdeviceptr, c_uchar, usize, Handle);
        fn cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
        fn cuMemFreeHost(*mut c_void);
        fn cuEventCreate(*mut Handle, c_uint);
        fn cuEventRecord(Handle, Handle);
        fn cuEventSynchronize(Handle);
        fn cuEventDestroy_v2(Handle);
        fn cuMemcpyHtoDAsync_v2(CUdeviceptr, *const c_void, usize, Handle);
        fn cuMemcpyDtoHAsync_v2(*mut c_void, CUdeviceptr, usize, Handle);
        fn cuModuleLoadData(*mut Handle, *const c_void);
        fn cuModuleGetFunction(*mut Handle, Handle, *const c_char);
        fn cuLaunchKernel(
            Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void, *mut *mut c_void,
        );
    }
}

impl Driver {
    /// The driver, opened and initialised once.
    ///
    /// # Errors
    /// When it is not there, is too old, or sees no GPU.
    pub fn get() -> Result<&'static Self, GpuError> {
        static DRIVER: OnceLock<Result<Driver, GpuError>> = OnceLock::new();
        let driver = DRIVER.get_or_init(|| {
            let driver = Self::of(LIBRARY.open()?).map_err(GpuError::Driver)?;
            // SAFETY: no flags are defined.
            let status = unsafe { (driver.cuInit)(0) };
            match driver.reason(status) {
                None => Ok(driver),
                Some(reason) => Err(GpuError::Driver(reason)),
            }
        });
        driver.as_ref().map_err(GpuError::clone)
    }

    /// An error unless a function returned success.
    pub fn check(&self, status: CUresult) -> Result<()> {
        match self.reason(status) {
            None => Ok(()),
            Some(_) if status == CUDA_ERROR_OUT_OF_MEMORY => Err(Error::OutOfGpuMemory),
            Some(reason) => Err(Error::Device(reason)),
        }
    }

    /// The driver's own sentence on an error, and its name of it.
    pub fn reason(&self, status: CUresult) -> Option<String> {
        if status == 0 {
            return None;
        }
        let text = |of: unsafe extern "C" fn(CUresult, *mut *const c_char) -> CUresult| {
            let mut text = ptr::null();
            // SAFETY: what is written is null, or a string of the driver's that stays.
            unsafe {
                of(status, &raw mut text);
                (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        };
        Some(match (text(self.cuGetErrorString), text(self.cuGetErrorName)) {
            (Some(sentence), Some(name)) => format!("{sentence} ({name})"),
            _ => format!("CUDA error {status}"),
        })
    }
}
