//! AVX2 with FMA.

use std::arch::x86_64::*;

use super::{
    Dot, DotOp, Element, Isa, Op,
    dot::{Blocking, ByLane, F32, WideBf16, WideInt8, tile},
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
/// The CPU has these features; as for the three below.
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
pub unsafe fn run_bf16<O: DotOp<f32>>(op: O) -> O::Out {
    op.run::<Avx2Bf16>()
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

/// `vfmadd231ps` of values rounded to bf16: their products and sums as the bf16 unit of others has them.
#[derive(Clone, Copy)]
pub struct Avx2Bf16;

/// `vpmaddwd` and an addition, over codes widened to 16 bits: `vpmaddubsw` would saturate.
#[derive(Clone, Copy)]
pub struct Avx2Int8;

macro_rules! dot {
    ($name:ident, $element:ty, steps $steps:expr, |$acc:ident, $a:ident, $b:ident| $dot:expr, $add:ident) => {
        impl ByLane for $name {
            const STEPS: usize = $steps;

            #[inline(always)]
            unsafe fn dot($acc: __m256i, a: *const u32, $b: __m256i) -> __m256i {
                // SAFETY: the caller's promise.
                unsafe {
                    let $a = _mm256_set1_epi32(*a.cast());
                    $dot
                }
            }
        }

        impl Blocking for $name {
            const MR: usize = 6;
            const NR: usize = 16;
            const DEPTH_BLOCK: usize = DEPTH;
            const DEPTH_CHUNK: usize = CHUNK;
            const BLOCK_LANES: usize = DEPTH * ROWS;
        }

        impl Dot for $name {
            type Isa = Avx2;
            type Value = <$element as Element>::Value;
            type Element = $element;
            type V = __m256i;
            const LANES: usize = 8;

            #[inline(always)]
            unsafe fn load(lanes: *const u32) -> __m256i {
                // SAFETY: the caller's promise.
                unsafe { _mm256_loadu_si256(lanes.cast()) }
            }
            #[inline(always)]
            unsafe fn add(a: __m256i, b: __m256i) -> __m256i {
                // SAFETY: the caller's promise.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn store(sums: __m256i, out: *mut u32) {
                // SAFETY: the caller's promise.
                unsafe { _mm256_storeu_si256(out.cast(), sums) }
            }
            #[inline(always)]
            unsafe fn tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32) {
                // SAFETY: the caller's promise.
                unsafe { tile::<Self, 6, 2>(start, a, b, depth, out) }
            }
            #[inline(always)]
            unsafe fn half_tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32) {
                // SAFETY: the caller's promise.
                unsafe { tile::<Self, 6, 1>(start, a, b, depth, out) }
            }
            #[inline(always)]
            unsafe fn transpose(rows: *const u32, stride: usize, width: usize, lanes: usize, out: *mut u32) {
                // SAFETY: the caller's promise.
                unsafe { transpose_from(0, rows, stride, width, lanes, out) }
            }
        }
    };
}

/// A quarter of the depth of SAM 3's MLP, and rows of a block at that depth. They are more than 512 KB of L2, but are
/// read in order: the MLP took 760 ms so, 801 with 96 rows, which fit, and 837 when each chunk went to the output
/// (medians of five, two Zen 3 cores, noisy).
const DEPTH: usize = 1184;
const ROWS: usize = 144;
/// With this depth, a panel of 16 columns takes half of 32 KB of L1.
const CHUNK: usize = 256;

/// A step is 12 FMAs and 8 loads; where two threads share the core, the instructions for counting and jumping cost time
/// as well. On two Zen 3 cores of a shared host the tile went from 140 to 157 GFLOP/s, linear layers by 3 to 17 %. int8
/// did not gain.
const FLOAT_STEPS: usize = 4;

dot!(
    Avx2F32,
    F32,
    steps FLOAT_STEPS,
    |acc, a, b| fma(acc, a, b),
    add_floats
);
dot!(
    Avx2Bf16,
    WideBf16,
    steps FLOAT_STEPS,
    |acc, a, b| fma(acc, a, b),
    add_floats
);
dot!(
    Avx2Int8,
    WideInt8,
    steps 1,
    |acc, a, b| _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)),
    _mm256_add_epi32
);

/// # Safety
/// The CPU has AVX.
#[inline(always)]
unsafe fn add_floats(a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_castps_si256(_mm256_add_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b))) }
}

/// # Safety
/// The CPU has FMA.
#[inline(always)]
unsafe fn fma(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let (acc, a, b) = (_mm256_castsi256_ps(acc), _mm256_castsi256_ps(a), _mm256_castsi256_ps(b));
        _mm256_castps_si256(_mm256_fmadd_ps(a, b, acc))
    }
}

/// [`Dot::transpose`] of the rows from one on, in squares of 8, or of the rows of a tile.
///
/// # Safety
/// As there.
#[inline(always)]
pub unsafe fn transpose_from(first: usize, rows: *const u32, stride: usize, width: usize, lanes: usize, out: *mut u32) {
    const SIDE: usize = 8;
    let whole = lanes / SIDE * SIDE;
    let mut c = first;
    // SAFETY: the caller's promise; every offset is inside `width` rows of `lanes`.
    unsafe {
        while c < width {
            let side = match width - c {
                SIDE.. => SIDE,
                rest @ (4 | 6) => rest,
                _ => 1,
            };
            if side > 1 {
                for l in (0..whole).step_by(SIDE) {
                    let (from, to) = (rows.add(c * stride + l), out.add(l * width + c));
                    match side {
                        SIDE => square::<SIDE>(from, stride, to, width),
                        6 => square::<6>(from, stride, to, width),
                        _ => square::<4>(from, stride, to, width),
                    }
                }
            }
            for c in c..c + side {
                for l in if side > 1 { whole } else { 0 }..lanes {
                    *out.add(l * width + c) = *rows.add(c * stride + l);
                }
            }
            c += side;
        }
    }
}

/// `ROWS` rows of 8, `stride` apart, to 8 rows of `ROWS`; `ROWS` is 4, 6 or 8.
///
/// # Safety
/// They are readable, and writable, there; the CPU has AVX2.
#[inline(always)]
unsafe fn square<const ROWS: usize>(rows: *const u32, stride: usize, out: *mut u32, out_stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        // No closures here: they would be functions of their own, compiled without this instruction set.
        let mut row = [_mm256_setzero_ps(); 8];
        for (i, row) in row.iter_mut().take(ROWS).enumerate() {
            *row = _mm256_loadu_ps(rows.add(i * stride).cast());
        }
        let mut twos = row;
        for i in (0..8).step_by(2) {
            twos[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
            twos[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
        }
        // `fours[4 g + c]` holds column c of each half, of the rows 4 g to 4 g + 3.
        let mut fours = twos;
        for i in (0..8).step_by(4) {
            fours[i] = _mm256_shuffle_ps::<0x44>(twos[i], twos[i + 2]);
            fours[i + 1] = _mm256_shuffle_ps::<0xee>(twos[i], twos[i + 2]);
            fours[i + 2] = _mm256_shuffle_ps::<0x44>(twos[i + 1], twos[i + 3]);
            fours[i + 3] = _mm256_shuffle_ps::<0xee>(twos[i + 1], twos[i + 3]);
        }
        for column in 0..4 {
            let (first, last) = (fours[column], fours[4 + column]);
            let halves = [
                _mm256_permute2f128_ps::<0x20>(first, last),
                _mm256_permute2f128_ps::<0x31>(first, last),
            ];
            for (half, lanes) in halves.into_iter().enumerate() {
                let out: *mut f32 = out.add((4 * half + column) * out_stride).cast();
                if ROWS == 8 {
                    _mm256_storeu_ps(out, lanes);
                } else {
                    _mm_storeu_ps(out, _mm256_castps256_ps128(lanes));
                }
                if ROWS == 6 {
                    _mm_storel_epi64(out.add(4).cast(), _mm_castps_si128(_mm256_extractf128_ps::<1>(lanes)));
                }
            }
        }
    }
}
