//! The dot-product units behind every matrix product, and the register tile that they share.
//!
//! A *lane* is 32 bits: one f32, or two bf16 values that are neighbours along the depth of the product. Packed operands are lanes,
//! so that one tile loop serves every element type.

use std::array;

use super::Isa;

/// Rows of a register tile.
pub const MR: usize = 6;

/// What a lane holds.
pub trait Element: Copy + Send + Sync + 'static {
    /// Values in a lane.
    const GROUP: usize;
    /// Packs [`GROUP`](Self::GROUP) values.
    fn lane(values: &[f32]) -> u32;
    /// `acc + Σ a b` over the values of two lanes.
    fn dot(acc: f32, a: u32, b: u32) -> f32;
}

/// One f32 a lane.
#[derive(Clone, Copy)]
pub struct F32;

impl Element for F32 {
    const GROUP: usize = 1;
    #[inline(always)]
    fn lane(values: &[f32]) -> u32 {
        values[0].to_bits()
    }
    #[inline(always)]
    fn dot(acc: f32, a: u32, b: u32) -> f32 {
        acc + f32::from_bits(a) * f32::from_bits(b)
    }
}

/// Two bf16 a lane, the first in the low half.
#[derive(Clone, Copy)]
pub struct Bf16;

/// The bits of the nearest bf16, ties to even, in the high half.
#[inline(always)]
fn round(value: f32) -> u32 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000;
    // Rounding could carry a NaN over into zero.
    if value.is_nan() { 0x7fc0_0000 } else { rounded }
}

impl Element for Bf16 {
    const GROUP: usize = 2;
    #[inline(always)]
    fn lane(values: &[f32]) -> u32 {
        round(values[1]) | (round(values[0]) >> 16)
    }
    #[inline(always)]
    fn dot(acc: f32, a: u32, b: u32) -> f32 {
        let product = |a: u32, b: u32| f32::from_bits(a) * f32::from_bits(b);
        acc + product(a << 16, b << 16) + product(a & 0xffff_0000, b & 0xffff_0000)
    }
}

/// One instruction set's dot product over vectors of lanes.
pub trait Dot: Copy + Send + Sync + 'static {
    /// For the element-wise code around the product.
    type Isa: Isa;
    /// What the lanes hold.
    type Element: Element;
    /// A vector register.
    type V: Copy;
    /// Lanes of a vector.
    const LANES: usize;
    /// Columns of a register tile, a multiple of `LANES`.
    const NR: usize;

    /// All zero.
    ///
    /// # Safety
    /// The CPU has this instruction set; as for every function here.
    unsafe fn zero() -> Self::V;
    /// Reads `LANES` lanes.
    ///
    /// # Safety
    /// They are readable.
    unsafe fn load(lanes: *const u32) -> Self::V;
    /// `acc + Σ a b`, with the one lane at `a` against each lane of `b`.
    ///
    /// # Safety
    /// `a` is readable.
    unsafe fn dot(acc: Self::V, a: *const u32, b: Self::V) -> Self::V;
    /// Writes `LANES` sums.
    ///
    /// # Safety
    /// They are writable.
    unsafe fn store(sums: Self::V, out: *mut f32);
    /// [`tile`] of `NR` columns.
    ///
    /// # Safety
    /// As there.
    unsafe fn tile(a: *const u32, b: *const u32, depth: usize, out: *mut f32);
}

/// `out[MR][NV × LANES] = a b`, with `a` packed `[depth][MR]` and `b` `[depth][NV × LANES]`.
///
/// # Safety
/// The three are readable, or writable, at those extents, and the CPU has the instruction set.
#[inline(always)]
pub unsafe fn tile<D: Dot, const NV: usize>(a: *const u32, b: *const u32, depth: usize, out: *mut f32) {
    // SAFETY: every offset below is inside the extents that the caller promised.
    unsafe {
        let mut sums = [[D::zero(); NV]; MR];
        for l in 0..depth {
            let columns: [D::V; NV] = array::from_fn(|j| D::load(b.add((l * NV + j) * D::LANES)));
            for (i, row) in sums.iter_mut().enumerate() {
                for (sum, column) in row.iter_mut().zip(columns) {
                    *sum = D::dot(*sum, a.add(l * MR + i), column);
                }
            }
        }
        for (i, row) in sums.into_iter().enumerate() {
            for (j, sum) in row.into_iter().enumerate() {
                D::store(sum, out.add((i * NV + j) * D::LANES));
            }
        }
    }
}
