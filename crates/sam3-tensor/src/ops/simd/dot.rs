//! The dot-product units behind every matrix product, and the register tile that they share.
//!
//! A *lane* is 32 bits of values that are neighbours along the depth of the product: one f32, two bf16, two or four
//! int8 codes. Packed operands are lanes, so that one tile loop serves every element type.

use super::{Isa, prefetch_line};

/// Rows of a register tile, at most.
pub const MAX_MR: usize = 32;

/// Columns of a register tile, at most.
pub const MAX_NR: usize = 64;

/// Columns that the element-wise code around tiles takes at a time: a vector or a few; every `NR` is a multiple of it.
pub const COLUMNS: usize = 16;

/// Where the sums of a tile begin when nothing comes before.
pub static ZEROS: [u32; MAX_NR] = [0; MAX_NR];

/// The sums of a register tile, `[MR][NR]`, on cache lines of their own.
#[repr(align(64))]
pub struct Tile(pub [u32; MAX_MR * MAX_NR]);

impl Default for Tile {
    /// It is large: one a task.
    fn default() -> Self {
        Self([0; MAX_MR * MAX_NR])
    }
}

/// What a lane holds.
pub trait Element: Copy + Send + Sync + 'static {
    /// What lanes are made of.
    type Value: Copy + Default + Send + Sync;
    /// Values in a lane.
    const GROUP: usize;
    /// Packs [`GROUP`](Self::GROUP) values.
    fn lane(values: &[Self::Value]) -> u32;
    /// The sum of two sums, each the bits of an f32 or an i32.
    fn add(a: u32, b: u32) -> u32;
    /// A sum as f32.
    fn value(sum: u32) -> f32;
}

/// Arithmetic on lanes without vector instructions.
pub trait PlainDot: Element {
    /// `sum + Σ a b` over the values of two lanes.
    fn dot(sum: u32, a: u32, b: u32) -> u32;
}

macro_rules! float_sums {
    () => {
        #[inline(always)]
        fn add(a: u32, b: u32) -> u32 {
            (f32::from_bits(a) + f32::from_bits(b)).to_bits()
        }
        #[inline(always)]
        fn value(sum: u32) -> f32 {
            f32::from_bits(sum)
        }
    };
}

macro_rules! integer_sums {
    () => {
        #[inline(always)]
        fn add(a: u32, b: u32) -> u32 {
            a.wrapping_add(b)
        }
        #[inline(always)]
        fn value(sum: u32) -> f32 {
            sum.cast_signed() as f32
        }
    };
}

/// One f32 a lane.
#[derive(Clone, Copy)]
pub struct F32;

impl Element for F32 {
    type Value = f32;
    const GROUP: usize = 1;
    #[inline(always)]
    fn lane(values: &[f32]) -> u32 {
        values[0].to_bits()
    }
    float_sums!();
}

impl PlainDot for F32 {
    #[inline(always)]
    fn dot(sum: u32, a: u32, b: u32) -> u32 {
        (f32::from_bits(sum) + f32::from_bits(a) * f32::from_bits(b)).to_bits()
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
    type Value = f32;
    const GROUP: usize = 2;
    #[inline(always)]
    fn lane(values: &[f32]) -> u32 {
        round(values[1]) | (round(values[0]) >> 16)
    }
    float_sums!();
}

impl PlainDot for Bf16 {
    #[inline(always)]
    fn dot(sum: u32, a: u32, b: u32) -> u32 {
        let product = |a: u32, b: u32| f32::from_bits(a) * f32::from_bits(b);
        let sum = f32::from_bits(sum) + product(a << 16, b << 16);
        (sum + product(a & 0xffff_0000, b & 0xffff_0000)).to_bits()
    }
}

/// One bf16 a lane, as the f32 that it is: what CPUs without a bf16 dot product multiply at the rate of f32.
#[derive(Clone, Copy)]
pub struct WideBf16;

impl Element for WideBf16 {
    type Value = f32;
    const GROUP: usize = 1;
    #[inline(always)]
    fn lane(values: &[f32]) -> u32 {
        round(values[0])
    }
    float_sums!();
}

/// Two int8 codes a lane, widened to 16 bits: what CPUs without an 8-bit dot product multiply without saturating.
#[derive(Clone, Copy)]
pub struct WideInt8;

impl Element for WideInt8 {
    type Value = i8;
    const GROUP: usize = 2;
    #[inline(always)]
    fn lane(values: &[i8]) -> u32 {
        let half = |value: i8| u32::from(i16::from(value).cast_unsigned());
        half(values[0]) | (half(values[1]) << 16)
    }
    integer_sums!();
}

impl PlainDot for WideInt8 {
    #[inline(always)]
    fn dot(sum: u32, a: u32, b: u32) -> u32 {
        let (a, b) = (a.cast_signed(), b.cast_signed());
        let low = i32::from(a as i16) * i32::from(b as i16);
        let high = (a >> 16) * (b >> 16);
        sum.wrapping_add(low.wrapping_add(high).cast_unsigned())
    }
}

/// Four int8 codes a lane, the first in the lowest byte.
#[derive(Clone, Copy)]
pub struct Int8;

impl Element for Int8 {
    type Value = i8;
    const GROUP: usize = 4;
    #[inline(always)]
    fn lane(values: &[i8]) -> u32 {
        u32::from_le_bytes([0, 1, 2, 3].map(|i| values[i].cast_unsigned()))
    }
    integer_sums!();
}

/// How a product is cut into pieces that registers and caches hold: numbers that are measured for a unit, and change no
/// result.
pub trait Blocking {
    /// Rows of a register tile, at most [`MAX_MR`].
    const MR: usize;
    /// Columns of a register tile, a multiple of [`Dot::LANES`] and of [`COLUMNS`], at most [`MAX_NR`].
    const NR: usize;
    /// Lanes of depth between two visits to the output: the depth of a block of `a`, and of a panel of `b` while the
    /// block passes it.
    const DEPTH_BLOCK: usize = 512;
    /// Lanes of depth of a panel that stay in L1 while every strip of a block passes; the sums wait in L2 between two
    /// such chunks.
    const DEPTH_CHUNK: usize = Self::DEPTH_BLOCK;
    /// Lanes in a block of a left-hand side, at most. This many take more than half of 1 MB of L2; the rest is for a
    /// panel of the right-hand side.
    const BLOCK_LANES: usize = 512 * 288;
    /// Is the next panel of a right-hand side prefetched into L2 while one is multiplied? Not where the tile itself
    /// prefetches.
    const NEXT_PANEL: bool = true;
    /// Lanes of depth that the tile takes at once: a strip of a left-hand side is `[depth /
    /// DEPTH_STEP][MR][DEPTH_STEP]`, and depths are padded with zeros to multiples of it. A power of two.
    const DEPTH_STEP: usize = 1;
}

/// One instruction set's dot product over vectors of lanes.
pub trait Dot: Blocking + Copy + Send + Sync + 'static {
    /// For the element-wise code around the product.
    type Isa: Isa;
    /// What lanes are made of.
    type Value: Copy + Default + Send + Sync;
    /// What the lanes hold.
    type Element: Element<Value = Self::Value>;
    /// A vector register.
    type V: Copy;
    /// Lanes of a vector.
    const LANES: usize;
    /// Added to each value of a left-hand lane, because the instruction takes it as unsigned: flips the top bit of each
    /// byte. Sums must begin at minus this times the column of `b`.
    const SHIFT: i32 = 0;

    /// Reads `LANES` lanes, or sums.
    ///
    /// # Safety
    /// They are readable, and the CPU has this instruction set; as for every function here.
    unsafe fn load(lanes: *const u32) -> Self::V;
    /// [`Element::add`] of vectors of sums.
    ///
    /// # Safety
    /// As above.
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// Writes `LANES` sums.
    ///
    /// # Safety
    /// They are writable.
    unsafe fn store(sums: Self::V, out: *mut u32);
    /// `out[MR][NR] = start + a b`, of packed `a` and `b`, the latter `[depth][NR]`, and `start`, `[NR]`, which is
    /// zeros where `SHIFT` is 0.
    ///
    /// # Safety
    /// They are readable, or writable, at those extents, `depth` is a multiple of `DEPTH_STEP` and not 0, and the CPU
    /// has the instruction set.
    unsafe fn tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32);
    /// The first half of the columns of such a tile; `out` and `b` are those of a whole one.
    ///
    /// # Safety
    /// As there.
    unsafe fn half_tile(start: *const u32, a: *const u32, b: *const u32, depth: usize, out: *mut u32);

    /// Lanes of depth that so many values take when they are packed.
    fn depth(values: usize) -> usize {
        values.div_ceil(Self::Element::GROUP).next_multiple_of(Self::DEPTH_STEP)
    }

    /// Packs `out.len() × GROUP` values.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn lanes(values: &[Self::Value], out: &mut [u32]) {
        for (out, values) in out.iter_mut().zip(values.chunks_exact(Self::Element::GROUP)) {
            *out = Self::Element::lane(values);
        }
    }

    /// Packs columns of two rows that are neighbours along the depth, of which only the first counts where a lane holds
    /// one value.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn pair(first: &[Self::Value; COLUMNS], last: &[Self::Value; COLUMNS], out: &mut [u32; COLUMNS]) {
        for ((out, first), last) in out.iter_mut().zip(first).zip(last) {
            *out = Self::Element::lane(&[*first, *last]);
        }
    }

    /// `out[l × width + c] = rows[c × stride + l]` for `l < lanes`, `c < width`.
    ///
    /// # Safety
    /// As above; both are readable, or writable, there.
    #[inline(always)]
    unsafe fn transpose(rows: *const u32, stride: usize, width: usize, lanes: usize, out: *mut u32) {
        for l in 0..lanes {
            for c in 0..width {
                // SAFETY: the caller's promise.
                unsafe { *out.add(l * width + c) = *rows.add(c * stride + l) };
            }
        }
    }
}

/// A unit that multiplies one lane of the left-hand side with a vector of the right-hand one.
pub trait ByLane: Dot {
    /// Lanes of depth that the tile takes between two looks at its counter.
    const STEPS: usize = 1;
    /// How many lanes of depth ahead the operands' cache lines are prefetched; 0 where the CPU does that well by
    /// itself.
    const AHEAD: usize = 0;

    /// `acc + Σ a b`, with the one lane at `a` against each lane of `b`.
    ///
    /// # Safety
    /// `a` is readable.
    unsafe fn dot(acc: Self::V, a: *const u32, b: Self::V) -> Self::V;
}

/// Adds one lane of depth of `ROWS` rows and the first `NV` vectors of columns.
///
/// # Safety
/// As for [`tile`].
#[inline(always)]
unsafe fn step<D: ByLane, const ROWS: usize, const NV: usize>(
    sums: &mut [[D::V; NV]; ROWS],
    a: *const u32,
    b: *const u32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut columns = [D::load(b); NV];
        for (j, column) in columns.iter_mut().enumerate().skip(1) {
            *column = D::load(b.add(j * D::LANES));
        }
        if D::AHEAD > 0 {
            prefetch_line(a.wrapping_add(D::AHEAD * ROWS));
            for j in 0..NV {
                prefetch_line(b.wrapping_add(D::AHEAD * D::NR + j * D::LANES));
            }
        }
        for (i, row) in sums.iter_mut().enumerate() {
            for (sum, column) in row.iter_mut().zip(columns) {
                *sum = D::dot(*sum, a.add(i), column);
            }
        }
    }
}

/// [`Dot::tile`] in registers, in the first `NV` vectors of columns; `ROWS` is `MR`.
///
/// # Safety
/// As there.
#[inline(always)]
pub unsafe fn tile<D: ByLane, const ROWS: usize, const NV: usize>(
    start: *const u32,
    a: *const u32,
    b: *const u32,
    depth: usize,
    out: *mut u32,
) {
    const { assert!(ROWS == D::MR && NV * D::LANES <= D::NR && D::DEPTH_STEP == 1) };
    // SAFETY: every offset below is inside the extents that the caller promised, as NV × LANES is at most NR.
    unsafe {
        let mut columns = [D::load(start); NV];
        for (j, column) in columns.iter_mut().enumerate() {
            *column = D::load(start.add(j * D::LANES));
        }
        let mut sums = [columns; ROWS];
        let whole = depth / D::STEPS * D::STEPS;
        for l in (0..whole).step_by(D::STEPS) {
            for l in l..l + D::STEPS {
                step::<D, ROWS, NV>(&mut sums, a.add(l * ROWS), b.add(l * D::NR));
            }
        }
        for l in whole..depth {
            step::<D, ROWS, NV>(&mut sums, a.add(l * ROWS), b.add(l * D::NR));
        }
        for (i, row) in sums.into_iter().enumerate() {
            for (j, sum) in row.into_iter().enumerate() {
                D::store(sum, out.add(i * D::NR + j * D::LANES));
            }
        }
    }
}
