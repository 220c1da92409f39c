//! AVX-512, with its bf16 and int8 dot products where the CPU has them.

use std::arch::x86_64::*;

use super::{
    COLUMNS, Dot, DotOp, Element, Isa, Op, avx2,
    dot::{Bf16, Blocking, ByLane, F32, Int8, tile},
};

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
/// The CPU has these features; as for the three below.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub unsafe fn run<O: Op>(op: O) -> O::Out {
    op.run::<Avx512>()
}

/// # Safety
/// See [`run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub unsafe fn run_f32<O: DotOp<f32>>(op: O) -> O::Out {
    op.run::<Avx512F32>()
}

/// # Safety
/// See [`run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
pub unsafe fn run_bf16<O: DotOp<f32>>(op: O) -> O::Out {
    op.run::<Avx512Bf16>()
}

/// # Safety
/// See [`run`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
pub unsafe fn run_int8<O: DotOp<i8>>(op: O) -> O::Out {
    op.run::<Avx512Vnni>()
}

/// `vfmadd231ps`.
#[derive(Clone, Copy)]
pub struct Avx512F32;

/// `vdpbf16ps`: twice the products of the f32 unit.
#[derive(Clone, Copy)]
pub struct Avx512Bf16;

/// `vpdpbusd`: four times the products of the f32 unit, unsigned by signed.
#[derive(Clone, Copy)]
pub struct Avx512Vnni;

macro_rules! dot {
    (
        $name:ident, $element:ty, tile $rows:literal by $vectors:literal or $half:literal, depth $depth:expr, ahead $ahead:expr, shift $shift:expr,
        |$acc:ident, $a:ident, $b:ident| $dot:expr, $add:ident,
        $($packing:item)*
    ) => {
        impl ByLane for $name {
            const AHEAD: usize = $ahead;

            #[inline(always)]
            unsafe fn dot($acc: __m512i, a: *const u32, $b: __m512i) -> __m512i {
                // SAFETY: the caller's promise.
                unsafe {
                    let $a = _mm512_set1_epi32(*a.cast());
                    $dot
                }
            }
        }

        impl Blocking for $name {
            const MR: usize = $rows;
            const NR: usize = 16 * $vectors;
            const DEPTH_BLOCK: usize = $depth;
            const NEXT_PANEL: bool = $ahead == 0;
        }

        impl Dot for $name {
            type Isa = Avx512;
            type Value = <$element as Element>::Value;
            type Element = $element;
            type V = __m512i;
            const LANES: usize = 16;
            const SHIFT: i32 = $shift;

            #[inline(always)]
            unsafe fn load(lanes: *const u32) -> __m512i {
                // SAFETY: the caller's promise.
                unsafe { _mm512_loadu_si512(lanes.cast()) }
            }
            #[inline(always)]
            unsafe fn add(a: __m512i, b: __m512i) -> __m512i {
                // SAFETY: the caller's promise.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn store(sums: __m512i, out: *mut u32) {
                // SAFETY: the caller's promise.
                unsafe { _mm512_storeu_si512(out.cast(), sums) }
            }
            #[inline(always)]
            unsafe fn tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32) {
                // SAFETY: the caller's promise.
                unsafe { tile::<Self, $rows, $vectors>(start, a, b, depth, out) }
            }
            #[inline(always)]
            unsafe fn half_tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32) {
                // SAFETY: the caller's promise.
                unsafe { tile::<Self, $rows, $half>(start, a, b, depth, out) }
            }
            #[inline(always)]
            unsafe fn transpose(rows: *const u32, stride: usize, width: usize, lanes: usize, out: *mut u32) {
                // SAFETY: the caller's promise.
                unsafe { transpose(rows, stride, width, lanes, out) }
            }
            $(
                #[inline(always)]
                $packing
            )*
        }
    };
}

/// Floats take 8 rows by 48 columns, and ask for lines 8 lanes of depth ahead. The tile alone, over blocks and panels
/// as SAM 3's MLP has them, had 227 GFLOP/s with it in f32 on two cores of a Xeon (model 207), 204 without asking, and
/// 191 as 12 by 32 (4736 deep, one after the other); where neighbours were loud, 145, 142 and 143. int8 lost with
/// narrower panels and with its depth in blocks, so it has neither.
const FLOAT_DEPTH: usize = 512;
const FLOAT_AHEAD: usize = 8;

dot!(
    Avx512F32, F32, tile 8 by 3 or 2, depth FLOAT_DEPTH, ahead FLOAT_AHEAD, shift 0,
    |acc, a, b| _mm512_castps_si512(_mm512_fmadd_ps(
        _mm512_castsi512_ps(a),
        _mm512_castsi512_ps(b),
        _mm512_castsi512_ps(acc),
    )),
    add_floats,
);
dot!(
    Avx512Bf16, Bf16, tile 8 by 3 or 2, depth FLOAT_DEPTH, ahead FLOAT_AHEAD, shift 0,
    |acc, a, b| _mm512_castps_si512(_mm512_dpbf16_ps(
        _mm512_castsi512_ps(acc),
        std::mem::transmute::<__m512i, __m512bh>(a),
        std::mem::transmute::<__m512i, __m512bh>(b),
    )),
    add_floats,
    unsafe fn lanes(values: &[f32], out: &mut [u32]) {
        let (chunks, rest) = values.as_chunks::<32>();
        let (packed, tail) = out.split_at_mut(chunks.len() * 16);
        for (values, out) in chunks.iter().zip(packed.as_chunks_mut::<16>().0) {
            // SAFETY: both chunks are as long as what is read and written; the instruction set is the caller's promise.
            unsafe {
                let (first, last) = (_mm512_loadu_ps(values.as_ptr()), _mm512_loadu_ps(values.as_ptr().add(16)));
                let lanes = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(last, first));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), lanes);
            }
        }
        for (out, values) in tail.iter_mut().zip(rest.as_chunks::<2>().0) {
            *out = Bf16::lane(values);
        }
    }
    unsafe fn pair(first: &[f32; COLUMNS], last: &[f32; COLUMNS], out: &mut [u32; COLUMNS]) {
        // SAFETY: each array is a vector; the instruction set is the caller's promise.
        unsafe {
            let (first, last) = (_mm512_loadu_ps(first.as_ptr()), _mm512_loadu_ps(last.as_ptr()));
            let halves = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(last, first));
            // The first row's 16 halves, then the last one's: interleaved.
            let order = _mm512_loadu_si512(INTERLEAVED.as_ptr().cast());
            _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_permutexvar_epi16(order, halves));
        }
    }
);
dot!(
    Avx512Vnni, Int8, tile 6 by 4 or 2, depth usize::MAX, ahead 0, shift 128,
    |acc, a, b| _mm512_dpbusd_epi32(acc, a, b),
    _mm512_add_epi32,
);

/// # Safety
/// The CPU has AVX-512.
#[inline(always)]
unsafe fn add_floats(a: __m512i, b: __m512i) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_castps_si512(_mm512_add_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b))) }
}

/// 0, 16, 1, 17, …
static INTERLEAVED: [u16; 32] = {
    let mut order = [0; 32];
    let mut i = 0;
    while i < 32 {
        order[i] = i as u16 / 2 + i as u16 % 2 * 16;
        i += 1;
    }
    order
};

/// [`Dot::transpose`] in squares of 16; of the rows that make none, as AVX2 has it.
#[inline(always)]
unsafe fn transpose(rows: *const u32, stride: usize, width: usize, lanes: usize, out: *mut u32) {
    const SIDE: usize = 16;
    // SAFETY: the caller's promise; every offset is inside `width` rows of `lanes`.
    unsafe {
        let whole = |extent: usize| extent / SIDE * SIDE;
        for c in (0..whole(width)).step_by(SIDE) {
            for l in (0..whole(lanes)).step_by(SIDE) {
                square(rows.add(c * stride + l), stride, out.add(l * width + c), width);
            }
        }
        for c in 0..whole(width) {
            for l in whole(lanes)..lanes {
                *out.add(l * width + c) = *rows.add(c * stride + l);
            }
        }
        avx2::transpose_from(whole(width), rows, stride, width, lanes, out);
    }
}

/// 16 rows of 16, `stride` apart, to 16 columns.
#[inline(always)]
unsafe fn square(rows: *const u32, stride: usize, out: *mut u32, out_stride: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        // No closures here: they would be functions of their own, compiled without this instruction set.
        let mut row = [_mm512_setzero_si512(); 16];
        for (i, row) in row.iter_mut().enumerate() {
            *row = _mm512_loadu_si512(rows.add(i * stride).cast());
        }
        let mut twos = row;
        for i in (0..16).step_by(2) {
            twos[i] = _mm512_unpacklo_epi32(row[i], row[i + 1]);
            twos[i + 1] = _mm512_unpackhi_epi32(row[i], row[i + 1]);
        }
        // `fours[4 g + c]` holds column c of each quarter, of the rows 4 g to 4 g + 3.
        let mut fours = twos;
        for i in (0..16).step_by(4) {
            fours[i] = _mm512_unpacklo_epi64(twos[i], twos[i + 2]);
            fours[i + 1] = _mm512_unpackhi_epi64(twos[i], twos[i + 2]);
            fours[i + 2] = _mm512_unpacklo_epi64(twos[i + 1], twos[i + 3]);
            fours[i + 3] = _mm512_unpackhi_epi64(twos[i + 1], twos[i + 3]);
        }
        for column in 0..4 {
            let [a, b, c, d] = [fours[column], fours[4 + column], fours[8 + column], fours[12 + column]];
            let (ab_even, ab_odd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
            let (cd_even, cd_odd) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
            let quarters = [
                _mm512_shuffle_i32x4::<0x88>(ab_even, cd_even),
                _mm512_shuffle_i32x4::<0x88>(ab_odd, cd_odd),
                _mm512_shuffle_i32x4::<0xdd>(ab_even, cd_even),
                _mm512_shuffle_i32x4::<0xdd>(ab_odd, cd_odd),
            ];
            for (quarter, lanes) in quarters.into_iter().enumerate() {
                _mm512_storeu_si512(out.add((4 * quarter + column) * out_stride).cast(), lanes);
            }
        }
    }
}
