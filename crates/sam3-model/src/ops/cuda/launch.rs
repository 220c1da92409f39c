//! Kernels launched: on a GPU, or in tests, from the same source, on the CPU.

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Shape, Tensor, bail};

/// A file of `kernels/` as `build.rs` compiled it.
#[derive(Clone, Copy)]
pub struct Module {
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "nothing loads it"))]
    name: &'static str,
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "nothing loads it"))]
    image: &'static [u8],
}

/// The [`Module`] of a file's name.
macro_rules! module {
    ($name:literal) => {{
        #[cfg(feature = "cuda")]
        const IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".fatbin"));
        #[cfg(not(feature = "cuda"))]
        const IMAGE: &[u8] = &[];
        $crate::ops::cuda::launch::Module::new($name, IMAGE)
    }};
}
pub(super) use module;

impl Module {
    pub const fn new(name: &'static str, image: &'static [u8]) -> Self {
        Self { name, image }
    }
}

/// A kernel's argument: a `repr(C)` struct, field by field the one of its source.
///
/// # Safety
/// Fields are numbers, addresses from [`Launch`], 0 for a null pointer, or structs of such; its size is a multiple of 8.
pub unsafe trait Args: Copy {}

/// Where memory is, for a kernel.
pub type Address = u64;

/// Whether kernels run for tensors of this device; the plain twins do for others.
pub fn runs_on(device: &Device) -> bool {
    match device {
        Device::Cpu => emulating(),
        Device::Cuda(_) => true,
        Device::Metal(_) => false,
    }
}

#[cfg(not(test))]
fn emulating() -> bool {
    false
}
#[cfg(test)]
use super::emulation::emulating;

/// One launch being put together: its tensors stay borrowed until it is under way.
pub struct Launch<'a> {
    device: &'a Device,
    /// What the kernel may read and write, for the emulation: address, bytes, whether it writes.
    buffers: Vec<(Address, usize, bool)>,
    tensors: std::marker::PhantomData<&'a Tensor>,
}

impl<'a> Launch<'a> {
    /// A launch on a device for which [`runs_on`] holds.
    pub fn on(device: &'a Device) -> Self {
        Self {
            device,
            buffers: Vec::new(),
            tensors: std::marker::PhantomData,
        }
    }

    /// A contiguous tensor of type `dtype` that the kernel reads.
    pub fn input(&mut self, x: &'a Tensor, dtype: DType) -> Result<Address> {
        if x.dtype() != dtype || !x.is_contiguous() || !x.device().same_device(self.device) {
            bail!(
                "a kernel on {:?} wants contiguous {dtype:?}, not {:?} {:?} of {:?} with strides {:?}",
                self.device.location(),
                x.dtype(),
                x.dims(),
                x.device().location(),
                x.stride()
            );
        }
        let (storage, layout) = x.storage_and_layout();
        let start = match &*storage {
            candle_core::Storage::Cpu(storage) => cpu_address(storage),
            #[cfg(feature = "cuda")]
            candle_core::Storage::Cuda(storage) => on_gpu::address(storage)?,
            _ => bail!("a kernel on a device that runs none"),
        };
        let size = dtype.size_in_bytes();
        let address = start + (layout.start_offset() * size) as u64;
        self.buffers.push((address, x.elem_count() * size, false));
        Ok(address)
    }

    /// The same where there is one; a null pointer where not.
    pub fn optional(&mut self, x: Option<&'a Tensor>, dtype: DType) -> Result<Address> {
        x.map_or(Ok(0), |x| self.input(x, dtype))
    }

    /// A tensor fresh from [`uninitialised`] that the kernel writes, all of it.
    pub fn output(&mut self, x: &'a Tensor) -> Result<Address> {
        let address = self.input(x, x.dtype())?;
        if let Some((_, _, written)) = self.buffers.last_mut() {
            *written = true;
        }
        Ok(address)
    }

    /// Runs a kernel: `blocks` of so many `threads` each.
    ///
    /// # Safety
    /// `args` is what the kernel takes, made with this launch, and with this grid the kernel stays within the tensors.
    pub unsafe fn run<A: Args>(
        self,
        module: Module,
        kernel: &str,
        blocks: [usize; 3],
        threads: usize,
        args: A,
    ) -> Result<()> {
        const MOST: [usize; 3] = [i32::MAX as usize, u16::MAX as usize, u16::MAX as usize];
        if blocks.contains(&0) {
            return Ok(());
        }
        if blocks.iter().zip(MOST).any(|(blocks, most)| *blocks > most) {
            bail!("{kernel}: {blocks:?} blocks are more than a GPU takes");
        }
        let blocks = blocks.map(|blocks| blocks as u32);
        match self.device {
            #[cfg(feature = "cuda")]
            // SAFETY: the caller's.
            Device::Cuda(device) => unsafe { on_gpu::run(device, module, kernel, blocks, threads as u32, args) },
            #[cfg(test)]
            Device::Cpu => {
                super::emulation::run(kernel, &args, &self.buffers, blocks, threads as u32);
                Ok(())
            }
            device => {
                let _ = (module, blocks, threads, args);
                bail!("{kernel} for tensors of {:?}", device.location())
            }
        }
    }
}

/// Whether `count` values at each of these addresses may be moved as one.
pub fn aligned(addresses: &[(Address, DType)], count: usize) -> bool {
    let is_aligned =
        |&(address, dtype): &(Address, DType)| address.is_multiple_of((count * dtype.size_in_bytes()) as u64);
    addresses.iter().all(is_aligned)
}

/// A tensor for a kernel to write.
pub fn uninitialised(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    // SAFETY: kernels write all of it before it is read; on a CPU, where only tests come, it is filled below.
    let x = unsafe { Tensor::empty(shape, dtype, device)? };
    if device.is_cpu() {
        x.inplace_op1(&Poison)?;
    }
    Ok(x)
}

/// All bits set: NaN, so that what a kernel leaves out shows.
struct Poison;

impl InplaceOp1 for Poison {
    fn name(&self) -> &'static str {
        "poison"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        match storage {
            CpuStorage::U8(values) => values.fill(u8::MAX),
            CpuStorage::I32(values) => values.fill(-1),
            CpuStorage::F32(values) => values.fill(f32::from_bits(u32::MAX)),
            CpuStorage::F16(values) => values.fill(half::f16::from_bits(u16::MAX)),
            CpuStorage::BF16(values) => values.fill(half::bf16::from_bits(u16::MAX)),
            _ => bail!("kernels write u8, i32, f32, f16 and bf16"),
        }
        Ok(())
    }
}

fn cpu_address(storage: &CpuStorage) -> Address {
    let start = match storage {
        CpuStorage::U8(values) => values.as_ptr().cast::<u8>(),
        CpuStorage::I32(values) => values.as_ptr().cast(),
        CpuStorage::F32(values) => values.as_ptr().cast(),
        CpuStorage::F16(values) => values.as_ptr().cast(),
        CpuStorage::BF16(values) => values.as_ptr().cast(),
        _ => std::ptr::null(),
    };
    start as Address
}

#[cfg(feature = "cuda")]
mod on_gpu {
    use std::sync::{Arc, Mutex, PoisonError};

    use candle_core::{
        CudaDevice, CudaStorage, Result, bail,
        cuda_backend::{
            CudaStorageSlice as Slice, DeviceId, WrapErr,
            cudarc::{
                driver::{CudaModule, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg},
                nvrtc::Ptx,
            },
        },
    };

    use super::{Address, Args, Module};

    /// Where a tensor's memory begins.
    pub fn address(storage: &CudaStorage) -> Result<Address> {
        let stream = storage.device.cuda_stream();
        // The guards that come with the addresses order streams among each other. All of a candle device's work is on one stream, in
        // order, allocation and release included, so they may go at once.
        Ok(match &storage.slice {
            Slice::U8(slice) => slice.device_ptr(&stream).0,
            Slice::I32(slice) => slice.device_ptr(&stream).0,
            Slice::F32(slice) => slice.device_ptr(&stream).0,
            Slice::F16(slice) => slice.device_ptr(&stream).0,
            Slice::BF16(slice) => slice.device_ptr(&stream).0,
            _ => bail!("kernels take u8, i32, f32, f16 and bf16"),
        })
    }

    /// A module on a device, where it stays.
    fn loaded(device: &CudaDevice, module: Module) -> Result<Arc<CudaModule>> {
        static LOADED: Mutex<Vec<(DeviceId, &str, Arc<CudaModule>)>> = Mutex::new(Vec::new());
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |(id, name, _): &&(DeviceId, &str, _)| *id == device.id() && *name == module.name;
        if let Some((_, _, found)) = loaded.iter().find(is_it) {
            return Ok(found.clone());
        }
        let stream = device.cuda_stream();
        let fresh = stream
            .context()
            .load_module(Ptx::from_binary(module.image.to_vec()))
            .w()?;
        loaded.push((device.id(), module.name, fresh.clone()));
        Ok(fresh)
    }

    /// An argument struct as cudarc wants it.
    #[repr(transparent)]
    #[derive(Clone, Copy)]
    struct Passed<A>(A);

    // SAFETY: `Args` promises plain numbers and device addresses.
    unsafe impl<A: Args> DeviceRepr for Passed<A> {}

    /// See [`super::Launch::run`].
    pub unsafe fn run<A: Args>(
        device: &CudaDevice,
        module: Module,
        kernel: &str,
        blocks: [u32; 3],
        threads: u32,
        args: A,
    ) -> Result<()> {
        let (function, stream) = (loaded(device, module)?.load_function(kernel).w()?, device.cuda_stream());
        let (args, mut launch) = (Passed(args), stream.launch_builder(&function));
        launch.arg(&args);
        let config = LaunchConfig {
            grid_dim: blocks.into(),
            block_dim: (threads, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: the caller's.
        unsafe { launch.launch(config) }.w()?;
        Ok(())
    }
}
