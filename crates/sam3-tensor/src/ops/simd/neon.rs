//! NEON, with its int8 and bf16 dot products where the CPU has them.
//!
//! Those two are assembly, because their intrinsics are not stable: one instruction each, whose registers the compiler
//! chooses.

use std::arch::{aarch64::*, asm};

use super::{
    Dot, DotOp, Element, Isa,
    dot::{Bf16, Blocking, F32, Int8, WideBf16},
};

/// NEON, which is part of every target that this is compiled for.
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
#[target_feature(enable = "neon,bf16")]
pub unsafe fn run_bf16<O: DotOp<f32>>(op: O) -> O::Out {
    op.run::<NeonBf16>()
}

/// # Safety
/// See [`run_bf16`].
#[target_feature(enable = "neon,dotprod")]
pub unsafe fn run_int8<O: DotOp<i8>>(op: O) -> O::Out {
    op.run::<NeonInt8>()
}

/// `fmla`.
#[derive(Clone, Copy)]
pub struct NeonF32;

/// `fmla` of values rounded to bf16: their products and sums as `bfdot` has them.
#[derive(Clone, Copy)]
pub struct NeonWideBf16;

/// `bfdot`: twice the products of `fmla`.
#[derive(Clone, Copy)]
pub struct NeonBf16;

/// `sdot`: four times the products of `fmla`.
#[derive(Clone, Copy)]
pub struct NeonInt8;

/// Rows of a tile, as [`tile`] has them in two registers.
const ROWS: usize = 6;

/// A dot product whose left-hand lane is named by its place in a register.
trait ByPlace: Dot<V = uint32x4_t> {
    /// `acc + Σ a b`, with the lane at `PLACE` of `a` against each lane of `b`.
    ///
    /// # Safety
    /// The CPU has this instruction set.
    unsafe fn by_place<const PLACE: i32>(acc: uint32x4_t, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t;
}

macro_rules! dot {
    ($name:ident, $element:ty, |$acc:ident, $a:ident, $b:ident| $dot:expr, $add:ident) => {
        impl ByPlace for $name {
            #[inline(always)]
            unsafe fn by_place<const PLACE: i32>($acc: uint32x4_t, $a: uint32x4_t, $b: uint32x4_t) -> uint32x4_t {
                // SAFETY: the caller's promise.
                unsafe { $dot }
            }
        }

        impl Blocking for $name {
            const MR: usize = ROWS;
            const NR: usize = 16;
            // By arithmetic, for an Orin's Cortex-A78AE: a panel of 512 lanes takes half of 64 KB of L1, and this less
            // than half of 256 KB of L2.
            const BLOCK_LANES: usize = 512 * 60;
        }

        impl Dot for $name {
            type Isa = Neon;
            type Value = <$element as Element>::Value;
            type Element = $element;
            type V = uint32x4_t;
            const LANES: usize = 4;

            #[inline(always)]
            unsafe fn load(lanes: *const u32) -> uint32x4_t {
                // SAFETY: the caller's promise.
                unsafe { vld1q_u32(lanes) }
            }
            #[inline(always)]
            unsafe fn add(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
                // SAFETY: the caller's promise.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            unsafe fn store(sums: uint32x4_t, out: *mut u32) {
                // SAFETY: the caller's promise.
                unsafe { vst1q_u32(out, sums) }
            }
            #[inline(always)]
            unsafe fn tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32) {
                // SAFETY: the caller's promise.
                unsafe { tile::<Self, 4>(start, a, b, depth, out) }
            }
            #[inline(always)]
            unsafe fn half_tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32) {
                // SAFETY: the caller's promise.
                unsafe { tile::<Self, 2>(start, a, b, depth, out) }
            }
        }
    };
}

/// One instruction on two registers and a lane of a third.
macro_rules! by_place {
    ($instruction:literal, $acc:ident, $a:ident, $b:ident) => {{
        let mut acc = $acc;
        asm!(
            $instruction,
            acc = inout(vreg) acc,
            a = in(vreg) $a,
            b = in(vreg) $b,
            place = const PLACE,
            options(pure, nomem, nostack, preserves_flags),
        );
        acc
    }};
}

dot!(NeonF32, F32, |acc, a, b| fma::<PLACE>(acc, a, b), add_floats);
dot!(NeonWideBf16, WideBf16, |acc, a, b| fma::<PLACE>(acc, a, b), add_floats);
dot!(
    NeonBf16,
    Bf16,
    |acc, a, b| by_place!("bfdot {acc:v}.4s, {b:v}.8h, {a:v}.2h[{place}]", acc, a, b),
    add_floats
);
dot!(
    NeonInt8,
    Int8,
    |acc, a, b| by_place!("sdot {acc:v}.4s, {b:v}.16b, {a:v}.4b[{place}]", acc, a, b),
    vaddq_u32
);

/// # Safety
/// The CPU has NEON, as for the one below.
#[inline(always)]
unsafe fn add_floats(a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    // SAFETY: the caller's promise.
    unsafe { vreinterpretq_u32_f32(vaddq_f32(vreinterpretq_f32_u32(a), vreinterpretq_f32_u32(b))) }
}

/// # Safety
/// See [`add_floats`].
#[inline(always)]
unsafe fn fma<const PLACE: i32>(acc: uint32x4_t, a: uint32x4_t, b: uint32x4_t) -> uint32x4_t {
    // SAFETY: the caller's promise.
    unsafe {
        let (acc, a, b) = (
            vreinterpretq_f32_u32(acc),
            vreinterpretq_f32_u32(a),
            vreinterpretq_f32_u32(b),
        );
        vreinterpretq_u32_f32(vfmaq_laneq_f32::<PLACE>(acc, b, a))
    }
}

/// [`tile`](super::dot::tile) in 30 of the 32 registers: 24 of sums, four of columns, and two that hold the six lanes
/// of `a`, which the shared one would load and spread one by one.
#[inline(always)]
unsafe fn tile<D: ByPlace, const NV: usize>(
    start: *const u32,
    a: *const u32,
    b: *const u32,
    depth: usize,
    out: *mut u32,
) {
    // SAFETY: every offset below is inside the extents that the caller promised, as NV × LANES is at most NR.
    unsafe {
        let mut columns = [D::load(start); NV];
        for (j, column) in columns.iter_mut().enumerate() {
            *column = D::load(start.add(j * D::LANES));
        }
        let mut sums = [columns; ROWS];
        for l in 0..depth {
            for (j, column) in columns.iter_mut().enumerate() {
                *column = D::load(b.add(l * D::NR + j * D::LANES));
            }
            let (first, last) = (D::load(a.add(l * ROWS)), D::load(a.add(l * ROWS + 2)));
            row::<D, 0, NV>(&mut sums[0], first, &columns);
            row::<D, 1, NV>(&mut sums[1], first, &columns);
            row::<D, 2, NV>(&mut sums[2], first, &columns);
            row::<D, 3, NV>(&mut sums[3], first, &columns);
            row::<D, 2, NV>(&mut sums[4], last, &columns);
            row::<D, 3, NV>(&mut sums[5], last, &columns);
        }
        for (i, row) in sums.into_iter().enumerate() {
            for (j, sum) in row.into_iter().enumerate() {
                D::store(sum, out.add(i * D::NR + j * D::LANES));
            }
        }
    }
}

/// Adds one lane of `a` times the columns to a row of sums.
///
/// # Safety
/// The CPU has this instruction set.
#[inline(always)]
unsafe fn row<D: ByPlace, const PLACE: i32, const NV: usize>(
    sums: &mut [uint32x4_t; NV],
    a: uint32x4_t,
    columns: &[uint32x4_t; NV],
) {
    for (sum, column) in sums.iter_mut().zip(columns) {
        // SAFETY: the caller's promise.
        *sum = unsafe { D::by_place::<PLACE>(*sum, a, *column) };
    }
}
