//! NEON.

use std::arch::aarch64::*;

use super::{Dot, DotOp, F32, Isa, Op, tile};

/// Advanced SIMD, which every AArch64 Linux has.
#[derive(Clone, Copy)]
pub struct Neon;

impl Isa for Neon {
    const NAME: &'static str = "NEON";
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// # Safety
/// The CPU has these features; as for the one below.
#[target_feature(enable = "neon")]
pub unsafe fn run<O: Op>(op: O) -> O::Out {
    op.run::<Neon>()
}

/// # Safety
/// See [`run`].
#[target_feature(enable = "neon")]
pub unsafe fn run_f32<O: DotOp>(op: O) -> O::Out {
    op.run::<NeonF32>()
}

/// `fmla`.
#[derive(Clone, Copy)]
pub struct NeonF32;

impl Dot for NeonF32 {
    type Isa = Neon;
    type Element = F32;
    type V = float32x4_t;
    const LANES: usize = 4;
    const NR: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vdupq_n_f32(0.0) }
    }
    #[inline(always)]
    unsafe fn load(lanes: *const u32) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vld1q_f32(lanes.cast()) }
    }
    #[inline(always)]
    unsafe fn dot(acc: float32x4_t, a: *const u32, b: float32x4_t) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vfmaq_f32(acc, vld1q_dup_f32(a.cast()), b) }
    }
    #[inline(always)]
    unsafe fn store(sums: float32x4_t, out: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { vst1q_f32(out, sums) }
    }
    #[inline(always)]
    unsafe fn tile(a: *const u32, b: *const u32, depth: usize, out: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { tile::<Self, 4>(a, b, depth, out) }
    }
}
