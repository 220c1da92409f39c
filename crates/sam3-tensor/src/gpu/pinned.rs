//! Page-locked memory of the machine's, which a GPU reads by itself while the program goes on.

use std::{ffi::c_void, ptr};

use super::{
    driver::{DISABLE_TIMING, Handle, WRITE_COMBINED},
    enabled::Gpu,
};
use crate::Result;

/// Some of it, for one GPU.
pub struct Pinned {
    gpu: Gpu,
    start: *mut c_void,
    len: usize,
    /// Passed in the GPU's stream when what was submitted with these bytes has read them.
    read: Handle,
}

// SAFETY: whoever has it has it alone; the driver's calls are made in any thread.
unsafe impl Send for Pinned {}

impl Pinned {
    /// `len` bytes, of which nothing is known.
    ///
    /// # Errors
    /// When the system locks no more, or the device fails.
    pub fn new(gpu: &Gpu, len: usize) -> Result<Self> {
        let driver = gpu.driver()?;
        let (mut start, mut read) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: an address and a handle are written. The CPU only writes this memory, so it need not pass through its
        // caches.
        unsafe {
            driver.check((driver.cuEventCreate)(&raw mut read, DISABLE_TIMING))?;
            let status = (driver.cuMemHostAlloc)(&raw mut start, len.max(1), WRITE_COMBINED);
            if status != 0 {
                (driver.cuEventDestroy_v2)(read);
            }
            driver.check(status)?;
        }
        Ok(Self {
            gpu: gpu.clone(),
            start,
            len,
            read,
        })
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whose it is.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Writes its first bytes, when what was submitted before has read them. Returns where they are, for the GPU as for
    /// the CPU.
    ///
    /// # Errors
    /// When the device failed.
    pub fn fill(&mut self, bytes: &[u8]) -> Result<u64> {
        assert!(bytes.len() <= self.len, "bytes to copy");
        let driver = self.gpu.driver()?;
        // SAFETY: the event lives; nobody reads or writes these bytes after it, and there are enough of them.
        unsafe {
            driver.check((driver.cuEventSynchronize)(self.read))?;
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.cast(), bytes.len());
        }
        Ok(self.start as u64)
    }

    /// Marks in the stream that all that reads these bytes has been submitted.
    ///
    /// # Errors
    /// When the device failed.
    pub fn submitted(&self) -> Result<()> {
        let driver = self.gpu.driver()?;
        // SAFETY: event and stream live.
        driver.check(unsafe { (driver.cuEventRecord)(self.read, self.gpu.stream()?) })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let Ok(driver) = self.gpu.driver() else { return };
        // SAFETY: nothing reads these bytes any more when the event has passed, or when the device has failed.
        unsafe {
            (driver.cuEventSynchronize)(self.read);
            (driver.cuEventDestroy_v2)(self.read);
            (driver.cuMemFreeHost)(self.start);
        }
    }
}
