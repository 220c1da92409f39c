//! The values of tensors that live in main memory, and which tensors the fast ops of this crate take.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use crate::{DType, Device, Result, Tensor, storage::reserved};

/// Is this an f32 tensor in main memory, so that the fast ops take it? Any other goes to the twins for accelerators
/// (`device`).
pub fn is_host(x: &Tensor) -> bool {
    x.dtype() == DType::F32 && is_main_memory(x.device())
}

/// Do tensors of this device live in main memory?
pub fn is_main_memory(device: &Device) -> bool {
    device.is_cpu() && !is_forced()
}

#[cfg(any(test, feature = "testing"))]
std::thread_local! {
    static FORCED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `test` with main memory taken for an accelerator's, so that the path there is tested where there is none.
#[cfg(any(test, feature = "testing"))]
pub fn as_accelerator<T>(test: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            FORCED.set(false);
        }
    }
    FORCED.set(true);
    let _reset = Reset;
    test()
}

#[cfg(any(test, feature = "testing"))]
fn is_forced() -> bool {
    FORCED.get()
}

#[cfg(not(any(test, feature = "testing")))]
const fn is_forced() -> bool {
    false
}

/// A result of `len` values that `write` makes. They are not zeroed before: those of the image encoder's widest layer
/// are 64 MB.
///
/// # Safety
/// `write` writes every one, or gives an error.
///
/// # Errors
/// That of `write`; and when there is no room.
pub unsafe fn written(len: usize, write: impl FnOnce(&mut [MaybeUninit<f32>]) -> Result<()>) -> Result<Vec<f32>> {
    let mut values = reserved(len)?;
    write(&mut values.spare_capacity_mut()[..len])?;
    // SAFETY: the caller's promise.
    unsafe { values.set_len(len) };
    Ok(values)
}

/// Values that one task of [`in_blocks`] takes.
const BLOCK: usize = 1 << 14;

/// What `block` makes of an f32 tensor in main memory, one value of each: it gets some of the values, and where theirs
/// go, on all threads.
///
/// # Safety
/// `block` writes every one.
///
/// # Errors
/// When there is no room.
pub unsafe fn in_blocks(x: &Tensor, block: impl Fn(&[f32], &mut [MaybeUninit<f32>]) + Sync) -> Result<Tensor> {
    let values = x.values::<f32>()?;
    let write = |out: &mut [_]| {
        let blocks = out.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK));
        blocks.for_each(|(out, values)| block(values, out));
        Ok(())
    };
    // SAFETY: the blocks are all values, and the caller's promise.
    let out = unsafe { written(values.len(), write)? };
    Tensor::from_vec(out, x.dims(), x.device())
}

/// Room for values that are written before they are read.
pub fn room(len: usize) -> Result<Vec<MaybeUninit<f32>>> {
    let mut room = reserved(len)?;
    // SAFETY: what may be uninitialised is anything.
    unsafe { room.set_len(len) };
    Ok(room)
}

/// The values in a room.
///
/// # Safety
/// Every one was written.
pub unsafe fn values_in(room: &[MaybeUninit<f32>]) -> &[f32] {
    // SAFETY: the same layout, and initialised by the caller's promise.
    unsafe { std::slice::from_raw_parts(room.as_ptr().cast(), room.len()) }
}
