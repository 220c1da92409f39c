//! AVX2 with FMA.

use std::arch::x86_64::*;

use super::{
    Dot, DotOp, Element, Isa, Op,
    dot::{F32, WideInt8, tile},
};

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
/// The CPU has these features; as for the two below.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run<O: Op>(op: O) -> O::Out {
    op.run::<Avx2>()
}

/// # Safety
/// See [`run`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run_f32<O: DotOp<f32>>(op: O) -> O::Out {
    op.run::<Avx2F32>()
}

/// # Safety
/// See [`run`].
#[target_feature(enable = "avx2,fma")]
pub unsafe fn run_int8<O: DotOp<i8>>(op: O) -> O::Out {
    op.run::<Avx2Int8>()
}

/// `vfmadd231ps`.
#[derive(Clone, Copy)]
pub struct Avx2F32;

/// `vpmaddwd` and an addition, over codes widened to 16 bits: `vpmaddubsw` would saturate.
#[derive(Clone, Copy)]
pub struct Avx2Int8;

macro_rules! dot {
    ($name:ident, $element:ty, |$acc:ident, $a:ident, $b:ident| $dot:expr, |$sums:ident| $sum:expr) => {
        impl Dot for $name {
            type Isa = Avx2;
            type Value = <$element as Element>::Value;
            type Element = $element;
            type V = __m256i;
            const LANES: usize = 8;
            const NR: usize = 16;

            #[inline(always)]
            unsafe fn load(lanes: *const u32) -> __m256i {
                // SAFETY: the caller's promise.
                unsafe { _mm256_loadu_si256(lanes.cast()) }
            }
            #[inline(always)]
            unsafe fn dot($acc: __m256i, a: *const u32, $b: __m256i) -> __m256i {
                // SAFETY: the caller's promise.
                unsafe {
                    let $a = _mm256_set1_epi32(*a.cast());
                    $dot
                }
            }
            #[inline(always)]
            unsafe fn store($sums: __m256i, out: *mut f32) {
                // SAFETY: the caller's promise.
                unsafe { _mm256_storeu_ps(out, $sum) }
            }
            #[inline(always)]
            unsafe fn tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut f32) {
                // SAFETY: the caller's promise.
                unsafe { tile::<Self, 2>(start, a, b, depth, out) }
            }
            #[inline(always)]
            unsafe fn half_tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut f32) {
                // SAFETY: the caller's promise.
                unsafe { tile::<Self, 1>(start, a, b, depth, out) }
            }
        }
    };
}

dot!(
    Avx2F32,
    F32,
    |acc, a, b| _mm256_castps_si256(_mm256_fmadd_ps(
        _mm256_castsi256_ps(a),
        _mm256_castsi256_ps(b),
        _mm256_castsi256_ps(acc),
    )),
    |sums| _mm256_castsi256_ps(sums)
);
dot!(
    Avx2Int8,
    WideInt8,
    |acc, a, b| _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)),
    |sums| _mm256_cvtepi32_ps(sums)
);
