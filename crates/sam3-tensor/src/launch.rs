//! Kernels launched: on a GPU, or in tests, from the same source, on the CPU.

#[cfg(any(test, feature = "testing"))]
mod emulation;

#[cfg(any(test, feature = "testing"))]
pub use emulation::emulated;

use crate::{DType, Device, Result, Shape, Tensor, error::mismatch};

/// A file of `kernels/` as `build.rs` compiled it.
#[derive(Clone, Copy)]
pub struct Module {
    /// The file's name.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "nothing loads it"))]
    pub name: &'static str,
    /// For each card that it was compiled for.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "nothing loads it"))]
    pub images: &'static [Image],
}

/// Kernels for cards of a compute capability, 87 for 8.7.
#[cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "there are none but in tests"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// Machine code.
    Code(u32, &'static [u8]),
    /// PTX, of which the driver makes machine code for later cards; it ends with a zero.
    Ptx(u32, &'static [u8]),
}

/// The [`Module`] of a file's name.
macro_rules! module {
    ($name:literal) => {{
        use $crate::launch::{Image, Module};
        #[cfg(feature = "cuda")]
        const IMAGES: &[Image] = include!(concat!(env!("OUT_DIR"), "/", $name, ".rs"));
        #[cfg(not(feature = "cuda"))]
        const IMAGES: &[Image] = &[];
        Module {
            name: $name,
            images: IMAGES,
        }
    }};
}
pub(crate) use module;

/// A kernel's argument: a `repr(C)` struct, field by field the one of its source.
///
/// # Safety
/// Fields are numbers, addresses from [`Launch`], 0 for a null pointer, or structs of such; its size is a multiple of
/// 8.
pub unsafe trait Args: Copy {}

/// Where memory is, for a kernel.
pub type Address = u64;

/// Whether kernels run for tensors of this device; the plain twins do for others.
pub fn runs_on(device: &Device) -> bool {
    match device {
        Device::Cpu => emulating(),
        Device::Cuda(_) => true,
    }
}

#[cfg(not(any(test, feature = "testing")))]
fn emulating() -> bool {
    false
}
#[cfg(any(test, feature = "testing"))]
use emulation::emulating;

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

    /// A tensor of type `dtype` that the kernel reads.
    pub fn input(&mut self, x: &'a Tensor, dtype: DType) -> Result<Address> {
        if x.dtype() != dtype || x.device() != self.device {
            mismatch!("a kernel on {:?} wants {dtype:?}, not {x:?}", self.device);
        }
        let address = x.address();
        self.buffers
            .push((address, x.elem_count() * dtype.size_in_bytes(), false));
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
            mismatch!("{kernel}: {blocks:?} blocks are more than a GPU takes");
        }
        let blocks = blocks.map(|blocks| blocks as u32);
        #[allow(
            unreachable_patterns,
            reason = "with CUDA, and kernels on the CPU, there are no other devices"
        )]
        match self.device {
            #[cfg(feature = "cuda")]
            // SAFETY: the caller's.
            Device::Cuda(gpu) => unsafe {
                gpu.launch(module, kernel, blocks, threads as u32, (&raw const args).cast())
            },
            #[cfg(any(test, feature = "testing"))]
            Device::Cpu => {
                emulation::run(kernel, &args, &self.buffers, blocks, threads as u32);
                Ok(())
            }
            device => {
                let _ = (module, blocks, threads, args);
                mismatch!("{kernel} for tensors of {device:?}")
            }
        }
    }
}

/// Axes that kernels take of tensors that they read in strides.
pub const MOST_AXES: usize = 6;

/// Extents or strides as those kernels take them: aligned at the last axis, and `rest` for the axes that are missing.
pub fn axes(of: &[usize], rest: u32) -> [u32; MOST_AXES] {
    let mut axes = [rest; MOST_AXES];
    for (axis, of) in axes[MOST_AXES - of.len()..].iter_mut().zip(of) {
        *axis = *of as u32;
    }
    axes
}

/// The names that kernels have for element types.
pub fn type_name(dtype: DType) -> Result<&'static str> {
    match dtype {
        DType::F32 => Ok("f32"),
        DType::F16 => Ok("f16"),
        DType::BF16 => Ok("bf16"),
        DType::U8 | DType::I32 => mismatch!("kernels compute f32, f16 and bf16, not {dtype:?}"),
    }
}

/// Whether `count` values at each of these addresses may be moved as one.
pub fn aligned(addresses: &[(Address, DType)], count: usize) -> bool {
    let is_aligned =
        |&(address, dtype): &(Address, DType)| address.is_multiple_of((count * dtype.size_in_bytes()) as u64);
    addresses.iter().all(is_aligned)
}

/// A tensor for a kernel to write.
pub fn uninitialised(shape: impl Shape, dtype: DType, device: &Device) -> Result<Tensor> {
    let x = Tensor::uninitialised(shape, dtype, device)?;
    #[cfg(any(test, feature = "testing"))]
    if device.is_cpu() {
        return emulation::poisoned(x);
    }
    Ok(x)
}
