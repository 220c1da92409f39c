//! AVX-512, with its bf16 dot product where the CPU has it.

use std::arch::x86_64::*;

use super::{Bf16, Dot, DotOp, F32, Isa, Op, tile};

/// F, BW, DQ and VL.
#[derive(Clone, Copy)]
pub struct Avx512;

impl Isa for Avx512 {
    const NAME: &'static str = "AVX-512";
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// # Safety
/// The CPU has these features; as for the two below.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub unsafe fn run<O: Op>(op: O) -> O::Out {
    op.run::<Avx512>()
}

/// # Safety
/// See [`run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub unsafe fn run_f32<O: DotOp>(op: O) -> O::Out {
    op.run::<Avx512F32>()
}

/// # Safety
/// See [`run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub unsafe fn run_bf16<O: DotOp>(op: O) -> O::Out {
    op.run::<Avx512Bf16>()
}

/// `vfmadd231ps`.
#[derive(Clone, Copy)]
pub struct Avx512F32;

/// `vdpbf16ps`: twice the products of the f32 unit.
#[derive(Clone, Copy)]
pub struct Avx512Bf16;

macro_rules! dot {
    ($name:ident, $element:ty, |$acc:ident, $a:ident, $b:ident| $dot:expr) => {
        impl Dot for $name {
            type Isa = Avx512;
            type Element = $element;
            type V = __m512;
            const LANES: usize = 16;
            const NR: usize = 64;

            #[inline(always)]
            unsafe fn zero() -> __m512 {
                // SAFETY: the caller's promise.
                unsafe { _mm512_setzero_ps() }
            }
            #[inline(always)]
            unsafe fn load(lanes: *const u32) -> __m512 {
                // SAFETY: the caller's promise.
                unsafe { _mm512_loadu_ps(lanes.cast()) }
            }
            #[inline(always)]
            unsafe fn dot($acc: __m512, a: *const u32, $b: __m512) -> __m512 {
                // SAFETY: the caller's promise.
                unsafe {
                    let $a = _mm512_set1_ps(*a.cast());
                    $dot
                }
            }
            #[inline(always)]
            unsafe fn store(sums: __m512, out: *mut f32) {
                // SAFETY: the caller's promise.
                unsafe { _mm512_storeu_ps(out, sums) }
            }
            #[inline(always)]
            unsafe fn tile(a: *const u32, b: *const u32, depth: usize, out: *mut f32) {
                // SAFETY: the caller's promise.
                unsafe { tile::<Self, 4>(a, b, depth, out) }
            }
        }
    };
}

dot!(Avx512F32, F32, |acc, a, b| _mm512_fmadd_ps(a, b, acc));
dot!(Avx512Bf16, Bf16, |acc, a, b| {
    let bf16 = |lanes: __m512| std::mem::transmute::<__m512, __m512bh>(lanes);
    _mm512_dpbf16_ps(acc, bf16(a), bf16(b))
});
