//! The values of tensors that live in main memory, and which tensors the fast ops of this crate take.

use std::{
    mem::MaybeUninit,
    ops::{Deref, Range},
};

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor};

/// The values of a contiguous f32 tensor, borrowed.
pub struct Values<S> {
    storage: S,
    range: Range<usize>,
}

/// Is this an f32 tensor in main memory, so that the fast ops take it? Any other goes to the twins for accelerators (`device`).
pub fn is_host(x: &Tensor) -> bool {
    x.dtype() == DType::F32 && is_main_memory(x.device())
}

/// Do tensors of this device live in main memory?
pub fn is_main_memory(device: &Device) -> bool {
    device.is_cpu() && !is_forced()
}

#[cfg(test)]
std::thread_local! {
    static FORCED: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs `test` with main memory taken for an accelerator's, so that the path there is tested where there is none.
#[cfg(test)]
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

#[cfg(test)]
fn is_forced() -> bool {
    FORCED.get()
}

#[cfg(not(test))]
const fn is_forced() -> bool {
    false
}

/// Borrows the values of a contiguous tensor for which [`is_host`] holds.
pub fn values(x: &Tensor) -> Result<Values<impl Deref<Target = Storage>>> {
    let (storage, layout) = x.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a strided tensor where a contiguous one is needed");
    };
    Ok(Values {
        storage,
        range: start..end,
    })
}

impl<S: Deref<Target = Storage>> Deref for Values<S> {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => unreachable!("is_host was asked first"),
        }
    }
}

/// A result of `len` values that `write` makes. They are not zeroed before: those of the image encoder's widest layer are 64 MB.
///
/// # Safety
/// `write` writes every one.
pub unsafe fn written(len: usize, write: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut values = Vec::with_capacity(len);
    write(&mut values.spare_capacity_mut()[..len]);
    // SAFETY: the caller's promise.
    unsafe { values.set_len(len) };
    values
}

/// Room for values that are written before they are read.
pub fn room(len: usize) -> Box<[MaybeUninit<f32>]> {
    Box::new_uninit_slice(len)
}

/// The values in a room.
///
/// # Safety
/// Every one was written.
pub unsafe fn values_in(room: &[MaybeUninit<f32>]) -> &[f32] {
    // SAFETY: the same layout, and initialised by the caller's promise.
    unsafe { std::slice::from_raw_parts(room.as_ptr().cast(), room.len()) }
}
