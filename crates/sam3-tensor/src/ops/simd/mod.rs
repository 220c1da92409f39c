//! The CPU's vector units, chosen once at run time.
//!
//! An op is written once, over lanes. [`dispatch`] compiles it once for each [`Isa`] and runs the instance for the
//! widest one this CPU has, so that a binary built without flags uses them all.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dot;
mod level;
pub mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
pub use portable::Portable;

use dot::{Bf16, F32, WideInt8};
pub use dot::{COLUMNS, Dot, Element, MAX_MR, MAX_NR, Tile, ZEROS};
use level::Level;
#[cfg(test)]
pub use level::at_every_level;

/// An instruction set, as far as element-wise code needs to know it.
pub trait Isa: Copy + Send + Sync + 'static {
    /// For logs and `sam3 bench --ops`.
    const NAME: &'static str;
    /// `a × b + c`, fused where that is one instruction.
    fn fma(a: f32, b: f32, c: f32) -> f32;
}

/// Code to run under an instruction set; `run` must be `#[inline(always)]`, or it is compiled without.
pub trait Op {
    /// What it returns.
    type Out;
    /// Runs it.
    fn run<I: Isa>(self) -> Self::Out;
}

/// Code to run with a dot-product unit for values of type `V`; as [`Op`].
pub trait DotOp<V> {
    /// What it returns.
    type Out;
    /// Runs it.
    fn run<D: Dot<Value = V>>(self) -> Self::Out;
}

/// Runs `op` under the widest instruction set of this CPU.
pub fn dispatch<O: Op>(op: O) -> O::Out {
    match level::get() {
        Level::Portable => op.run::<portable::Portable>(),
        #[cfg(target_arch = "aarch64")]
        Level::Neon { .. } => op.run::<neon::Neon>(),
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::run(op) },
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 { .. } | Level::Amx => unsafe { avx512::run(op) },
        #[cfg(test)]
        Level::PortableSteps => op.run::<portable::Portable>(),
    }
}

/// Runs `op` with this CPU's f32 dot product.
pub fn dispatch_f32<O: DotOp<f32>>(op: O) -> O::Out {
    match level::get() {
        Level::Portable => op.run::<portable::PortableDot<F32>>(),
        #[cfg(target_arch = "aarch64")]
        Level::Neon { .. } => op.run::<neon::NeonF32>(),
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => unsafe { avx2::run_f32(op) },
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 { .. } | Level::Amx => unsafe { avx512::run_f32(op) },
        #[cfg(test)]
        Level::PortableSteps => op.run::<portable::PortableSteps<F32>>(),
    }
}

/// Runs `op` with this CPU's bf16 dot product, or on the f32 unit with values rounded to bf16; [`has_bf16`] tells
/// which.
pub fn dispatch_bf16<O: DotOp<f32>>(op: O) -> O::Out {
    match level::get() {
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 { bf16: true, .. } => unsafe { avx512::run_bf16(op) },
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "aarch64")]
        Level::Neon { bf16: true, .. } => unsafe { neon::run_bf16(op) },
        #[cfg(target_arch = "aarch64")]
        Level::Neon { bf16: false, .. } => op.run::<neon::NeonWideBf16>(),
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 | Level::Avx512 { .. } => unsafe { avx2::run_bf16(op) },
        // SAFETY: `detect` found the features, and AMX was granted.
        #[cfg(target_arch = "x86_64")]
        Level::Amx => unsafe { amx::run_bf16(op) },
        Level::Portable => op.run::<portable::PortableDot<Bf16>>(),
        #[cfg(test)]
        Level::PortableSteps => op.run::<portable::PortableSteps<Bf16>>(),
    }
}

/// Runs `op` with this CPU's int8 dot product.
pub fn dispatch_int8<O: DotOp<i8>>(op: O) -> O::Out {
    match level::get() {
        Level::Portable => op.run::<portable::PortableDot<WideInt8>>(),
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "aarch64")]
        Level::Neon { dotprod: true, .. } => unsafe { neon::run_int8(op) },
        #[cfg(target_arch = "aarch64")]
        Level::Neon { dotprod: false, .. } => op.run::<portable::PortableDot<WideInt8>>(),
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 { vnni: true, .. } => unsafe { avx512::run_int8(op) },
        // SAFETY: `detect` found the features.
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 | Level::Avx512 { .. } => unsafe { avx2::run_int8(op) },
        // SAFETY: `detect` found the features, and AMX was granted.
        #[cfg(target_arch = "x86_64")]
        Level::Amx => unsafe { amx::run_int8(op) },
        #[cfg(test)]
        Level::PortableSteps => op.run::<portable::PortableSteps<WideInt8>>(),
    }
}

/// Does this CPU multiply bf16 faster than f32?
pub fn has_bf16() -> bool {
    match level::get() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 { bf16, .. } => bf16 && !level::is_intel(),
        #[cfg(target_arch = "x86_64")]
        Level::Amx => true,
        #[cfg(target_arch = "aarch64")]
        Level::Neon { bf16, .. } => bf16,
        _ => false,
    }
}

/// Asks for the cache lines of `len` values that will be read or written soon; the address need not be valid.
#[inline(always)]
pub fn prefetch(values: *const f32, len: usize) {
    // They may begin anywhere in their first line: the last value then lies in one more.
    for at in (0..len).step_by(16).chain(len.checked_sub(1)) {
        prefetch_line(values.wrapping_add(at).cast());
    }
}

/// Asks for one cache line.
#[inline(always)]
pub fn prefetch_line(lane: *const u32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it has no effect that a program could see, whatever the address; SSE is part of every x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(lane.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = lane;
}

/// Asks for the cache lines of lanes that will be read later, into L2.
#[inline(always)]
pub fn prefetch_l2(lanes: &[u32]) {
    #[cfg(target_arch = "x86_64")]
    for line in lanes.chunks(16) {
        // SAFETY: as above.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = lanes;
}

/// The instruction set in use, for people.
pub fn name() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if level::get() == Level::Amx {
        return "AVX-512 and AMX";
    }
    struct Name;
    impl Op for Name {
        type Out = &'static str;
        #[inline(always)]
        fn run<I: Isa>(self) -> &'static str {
            I::NAME
        }
    }
    dispatch(Name)
}
