//! A build with CUDA: the driver's library is opened when a GPU is first asked for. Where there is no driver, the same
//! program runs on the CPU.

use std::{
    cell::Cell,
    ffi::{CStr, CString, c_int, c_uint, c_void},
    fmt,
    ops::Range,
    ptr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    GpuError, Usage, code,
    cublaslt::CublasLt,
    driver::{CUdevice, CUdeviceptr, DeviceAttribute, Driver, Handle, NON_BLOCKING, PoolAttribute},
};
use crate::{Error, Result, launch::Module};

/// An open GPU, with a stream of its own that all threads share: what they ask of it is done in that order.
#[derive(Clone)]
pub struct Gpu(Arc<Opened>);

struct Opened {
    driver: &'static Driver,
    index: usize,
    device: CUdevice,
    /// 87 for 8.7.
    capability: u32,
    context: Handle,
    stream: Handle,
    /// Where tensors' memory comes from, on devices that have such pools.
    pool: Option<Handle>,
    /// Those that were used so far, by name.
    modules: Mutex<Vec<(&'static str, Handle)>>,
    /// Bytes of all [`Memory`], in the order in which it is asked for and given back, which is the stream's.
    held: AtomicU64,
    /// The most of them.
    peak: AtomicU64,
}

// SAFETY: the driver's handles may be used by any thread where the context is current, and `Opened::driver` sees to
// that.
unsafe impl Send for Opened {}
// SAFETY: the same; what is asked of a stream by several threads at once is done in some order.
unsafe impl Sync for Opened {}

/// Memory of a GPU, freed in the order of its stream.
pub struct Memory {
    gpu: Gpu,
    address: CUdeviceptr,
    bytes: u64,
}

pub fn open(index: usize) -> Result<Gpu, GpuError> {
    let driver = Driver::get()?;
    CublasLt::get()?;
    let mut found = 0;
    // SAFETY: a count is written.
    let status = unsafe { (driver.cuDeviceGetCount)(&raw mut found) };
    if let Some(reason) = driver.reason(status) {
        return Err(GpuError::Driver(reason));
    }
    let found = usize::try_from(found).unwrap_or(0);
    if index >= found {
        return Err(GpuError::NoSuchGpu { asked: index, found });
    }
    let opened = Opened::new(driver, index).map_err(|error| GpuError::Unusable {
        index,
        reason: error.to_string(),
    });
    Ok(Gpu(Arc::new(opened?)))
}

impl Opened {
    /// A device that keeps the memory it once had.
    fn new(driver: &'static Driver, index: usize) -> Result<Self> {
        let (mut device, mut context, mut stream) = (0, ptr::null_mut(), ptr::null_mut());
        // SAFETY: handles are written, each of which the next call takes.
        unsafe {
            driver.check((driver.cuDeviceGet)(&raw mut device, index as c_int))?;
            driver.check((driver.cuDevicePrimaryCtxRetain)(&raw mut context, device))?;
            driver.check((driver.cuCtxSetCurrent)(context))?;
            CURRENT.set(context);
            driver.check((driver.cuStreamCreate)(&raw mut stream, NON_BLOCKING))?;
        }
        Ok(Self {
            driver,
            index,
            device,
            capability: capability(driver, device),
            context,
            stream,
            pool: pool(driver, device),
            modules: Mutex::default(),
            held: AtomicU64::default(),
            peak: AtomicU64::default(),
        })
    }

    /// The driver, with this device's context current in this thread.
    fn driver(&self) -> Result<&'static Driver> {
        if CURRENT.get() != self.context {
            // SAFETY: the context lives as long as the program.
            let status = unsafe { (self.driver.cuCtxSetCurrent)(self.context) };
            self.driver.check(status)?;
            CURRENT.set(self.context);
        }
        Ok(self.driver)
    }

    /// A kernel of a module, which is loaded when one of its kernels is first wanted, and stays.
    fn function(&self, module: Module, kernel: &str) -> Result<Handle> {
        let driver = self.driver()?;
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let module = match modules.iter().find(|(loaded, _)| *loaded == module.name) {
            Some((_, loaded)) => *loaded,
            None => {
                let Some(code) = code::best(module.images, self.capability) else {
                    let (major, minor) = (self.capability / 10, self.capability % 10);
                    return Err(Error::Device(format!(
                        "this program has no kernels for compute capability {major}.{minor}"
                    )));
                };
                let mut loaded = ptr::null_mut();
                // SAFETY: machine code tells its own length, and PTX ends with a zero.
                driver.check(unsafe { (driver.cuModuleLoadData)(&raw mut loaded, code.as_ptr().cast()) })?;
                modules.push((module.name, loaded));
                loaded
            }
        };
        let kernel = CString::new(kernel).expect("kernels' names have no zeros");
        let mut function = ptr::null_mut();
        // SAFETY: the module is loaded, the name ends with a zero.
        driver.check(unsafe { (driver.cuModuleGetFunction)(&raw mut function, module, kernel.as_ptr()) })?;
        Ok(function)
    }
}

thread_local! {
    /// The context that is current in this thread.
    static CURRENT: Cell<Handle> = const { Cell::new(ptr::null_mut()) };
}

/// 0 where the driver does not tell.
fn capability(driver: &Driver, device: CUdevice) -> u32 {
    let attribute = |attribute| {
        let mut value = 0;
        // SAFETY: a number is written.
        unsafe { (driver.cuDeviceGetAttribute)(&raw mut value, attribute, device) };
        u32::try_from(value).unwrap_or(0)
    };
    10 * attribute(DeviceAttribute::CapabilityMajor) + attribute(DeviceAttribute::CapabilityMinor)
}

/// The device's own pool, told to keep what is freed: memory that goes back to the system at each copy to the host is
/// slower to have.
fn pool(driver: &Driver, device: CUdevice) -> Option<Handle> {
    let (mut has_pools, mut pool, mut all) = (0, ptr::null_mut(), u64::MAX);
    // SAFETY: a number and a handle are written; the last attribute is a u64, which the driver copies.
    unsafe {
        let status = (driver.cuDeviceGetAttribute)(&raw mut has_pools, DeviceAttribute::MemoryPoolsSupported, device);
        if status != 0 || has_pools == 0 || (driver.cuDeviceGetDefaultMemPool)(&raw mut pool, device) != 0 {
            return None;
        }
        (driver.cuMemPoolSetAttribute)(pool, PoolAttribute::ReleaseThreshold, (&raw mut all).cast());
    }
    Some(pool)
}

impl Gpu {
    /// Is it the same, opened once?
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Its number.
    pub fn index(&self) -> usize {
        self.0.index
    }

    /// The driver's name for it.
    pub fn name(&self) -> Option<String> {
        let mut name = [0; 256];
        // SAFETY: so many bytes are written at most, the last a zero.
        let status = unsafe { (self.0.driver.cuDeviceGetName)(name.as_mut_ptr(), name.len() as c_int, self.0.device) };
        // SAFETY: the driver wrote a string.
        (status == 0).then(|| unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned())
    }

    /// How much of its memory is used.
    pub fn usage(&self) -> Option<Usage> {
        let driver = self.0.driver().ok()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: numbers of these types are written.
        let status = unsafe { (driver.cuMemGetInfo_v2)(&raw mut free, &raw mut total) };
        let held = self.0.held.load(Relaxed);
        let mut reserved = held;
        if let Some(pool) = self.0.pool {
            let value = (&raw mut reserved).cast();
            // SAFETY: a u64 is written.
            unsafe { (driver.cuMemPoolGetAttribute)(pool, PoolAttribute::ReservedMemCurrent, value) };
        }
        (status == 0).then_some(Usage {
            held,
            peak: self.0.peak.load(Relaxed),
            reserved,
            in_use: (total - free) as u64,
            total: total as u64,
        })
    }

    /// Waits until everything that was asked of it is done.
    pub fn synchronize(&self) -> Result<()> {
        let driver = self.0.driver()?;
        // SAFETY: the stream lives as long as the program.
        driver.check(unsafe { (driver.cuStreamSynchronize)(self.0.stream) })
    }

    /// The driver, with this device's context current in this thread.
    pub(super) fn driver(&self) -> Result<&'static Driver> {
        self.0.driver()
    }

    /// The stream of its work, for libraries that put theirs there; its context is made current.
    pub(crate) fn stream(&self) -> Result<Handle> {
        self.0.driver().map(|_| self.0.stream)
    }

    /// Memory of which nothing is known.
    pub(crate) fn alloc(&self, bytes: usize) -> Result<Memory> {
        let driver = self.0.driver()?;
        let mut address = 0;
        // None at all cannot be had.
        let bytes = bytes.max(1);
        // SAFETY: an address is written.
        driver.check(unsafe {
            match self.0.pool {
                Some(_) => (driver.cuMemAllocAsync)(&raw mut address, bytes, self.0.stream),
                None => (driver.cuMemAlloc_v2)(&raw mut address, bytes),
            }
        })?;
        let bytes = bytes as u64;
        let held = self.0.held.fetch_add(bytes, Relaxed) + bytes;
        self.0.peak.fetch_max(held, Relaxed);
        Ok(Memory {
            gpu: self.clone(),
            address,
            bytes,
        })
    }

    /// Zeros.
    pub(crate) fn zeros(&self, bytes: usize) -> Result<Memory> {
        let (memory, driver) = (self.alloc(bytes)?, self.0.driver()?);
        // SAFETY: so many bytes were had.
        driver.check(unsafe { (driver.cuMemsetD8Async)(memory.address, 0, bytes, self.0.stream) })?;
        Ok(memory)
    }

    /// A copy of these.
    pub(crate) fn upload(&self, bytes: &[u8]) -> Result<Memory> {
        let memory = self.alloc(bytes.len())?;
        if !bytes.is_empty() {
            // SAFETY: so many bytes were had. Memory of the system's, as this is, was read when the call returns.
            unsafe { self.copy_to_device(memory.address, bytes.as_ptr().cast(), bytes.len())? };
        }
        Ok(memory)
    }

    /// Copies bytes of main memory, in the order of the stream: at once, but for page-locked memory.
    ///
    /// # Safety
    /// Both have so many bytes, and page-locked ones stay as they are until the stream has passed this.
    pub(crate) unsafe fn copy_to_device(&self, to: CUdeviceptr, from: *const c_void, len: usize) -> Result<()> {
        let driver = self.0.driver()?;
        // SAFETY: the caller's.
        driver.check(unsafe { (driver.cuMemcpyHtoDAsync_v2)(to, from, len, self.0.stream) })
    }

    /// Its compute capability: 87 for 8.7.
    pub(crate) fn capability(&self) -> u32 {
        self.0.capability
    }

    /// Is its memory the machine's?
    pub(crate) fn is_integrated(&self) -> bool {
        let mut integrated = 0;
        // SAFETY: a number is written.
        unsafe {
            (self.0.driver.cuDeviceGetAttribute)(&raw mut integrated, DeviceAttribute::Integrated, self.0.device)
        };
        integrated != 0
    }

    /// Runs a kernel.
    ///
    /// # Safety
    /// `args` is the one struct that the kernel takes; with this grid it stays within memory that lives until the work
    /// is done.
    pub(crate) unsafe fn launch(
        &self,
        module: Module,
        kernel: &str,
        [x, y, z]: [c_uint; 3],
        threads: c_uint,
        args: *const c_void,
    ) -> Result<()> {
        let function = self.0.function(module, kernel)?;
        let (driver, stream) = (self.0.driver()?, self.0.stream);
        let mut arguments = [args.cast_mut()];
        // SAFETY: the caller's; the driver copies the arguments.
        driver.check(unsafe {
            let arguments = arguments.as_mut_ptr();
            (driver.cuLaunchKernel)(function, x, y, z, threads, 1, 1, 0, stream, arguments, ptr::null_mut())
        })
    }
}

impl Memory {
    /// Copies some of its bytes to main memory.
    pub(crate) fn download(&self, bytes: Range<usize>, to: &mut [u8]) -> Result<()> {
        assert_eq!(bytes.len(), to.len(), "bytes to copy");
        if bytes.is_empty() {
            return Ok(());
        }
        let (driver, from) = (self.gpu.0.driver()?, self.address + bytes.start as u64);
        // SAFETY: the caller asks for bytes that are there; `to` has room for them, and is waited for.
        driver.check(unsafe {
            (driver.cuMemcpyDtoHAsync_v2)(to.as_mut_ptr().cast(), from, to.len(), self.gpu.0.stream)
        })?;
        self.gpu.synchronize()
    }

    /// Where it begins.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.gpu.0.held.fetch_sub(self.bytes, Relaxed);
        // An error here is one that the device had before, and whoever waits for it is told.
        let Ok(driver) = self.gpu.0.driver() else { return };
        // SAFETY: all work of this device goes to its one stream, in order, whichever thread submits it: nothing is
        // freed there before its last use.
        unsafe {
            match self.gpu.0.pool {
                Some(_) => (driver.cuMemFreeAsync)(self.address, self.gpu.0.stream),
                None => (driver.cuMemFree_v2)(self.address),
            }
        };
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gpu").field(&self.0.index).finish()
    }
}
