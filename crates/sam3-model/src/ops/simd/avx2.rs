//! AVX2 with FMA.

use std::arch::x86_64::*;

use super::{Dot, DotOp, F32, Isa, Op, tile};

/// AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Avx2;

impl Isa for Avx2 {
    const NAME: &'static str = "AVX2";
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// # Safety
/// The CPU has these features; as for the one below.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run<O: Op>(op: O) -> O::Out {
    op.run::<Avx2>()
}

/// # Safety
/// See [`run`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run_f32<O: DotOp>(op: O) -> O::Out {
    op.run::<Avx2F32>()
}

/// `vfmadd231ps`.
#[derive(Clone, Copy)]
pub struct Avx2F32;

impl Dot for Avx2F32 {
    type Isa = Avx2;
    type Element = F32;
    type V = __m256;
    const LANES: usize = 8;
    const NR: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn load(lanes: *const u32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(lanes.cast()) }
    }
    #[inline(always)]
    unsafe fn dot(acc: __m256, a: *const u32, b: __m256) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_fmadd_ps(_mm256_set1_ps(*a.cast()), b, acc) }
    }
    #[inline(always)]
    unsafe fn store(sums: __m256, out: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(out, sums) }
    }
    #[inline(always)]
    unsafe fn tile(a: *const u32, b: *const u32, depth: usize, out: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { tile::<Self, 2>(a, b, depth, out) }
    }
}
