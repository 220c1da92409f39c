//! The values of tensors that live in main memory, and which tensors the fast ops of this crate take.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Device, Result, Storage, Tensor};
use rayon::iter::{IndexedParallelIterator, repeat_n};

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

/// Room for a result, zeroed by all threads: that of the image encoder's widest layer is 64 MB.
pub fn zeros(len: usize) -> Vec<f32> {
    /// By one thread. Not as arrays: each of rayon's splits would hold several on its stack, and one that waits takes up others.
    const TOGETHER: usize = 1 << 16;
    let mut values = Vec::new();
    repeat_n(0f32, len).with_min_len(TOGETHER).collect_into_vec(&mut values);
    values
}

#[cfg(test)]
mod tests {
    #[test]
    fn zeros_need_little_stack() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(8).stack_size(64 << 10);
        let values = pool.build().unwrap().install(|| super::zeros((5 << 20) + 1));
        assert_eq!(values.len(), (5 << 20) + 1);
        assert!(values.iter().all(|value| *value == 0.0));
    }
}
