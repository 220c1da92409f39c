//! Matrix products `a bᵀ` of rows that come from anywhere, with what follows them fused in.
//!
//! The scheme is [Goto's](https://www.cs.utexas.edu/~flame/pubs/GotoTOMS_final.pdf): `b` is packed once into panels as wide as a
//! register tile; each task packs a block of `a` that stays in its core's L2 and runs it against the panels. What the rows are, an
//! activation, a mapped half-precision weight, the patches of a convolution, is known to packing alone.

mod pack;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, mem::MaybeUninit, ops::Range};

pub use pack::{Matrix, Panels, Rows, copy, left_strip, pack, right_panel};
use rayon::prelude::*;

use super::{
    compute::Unit,
    simd::{self, Dot, DotOp, Element, MAX_MR, MAX_NR, ZEROS, math},
};

/// Rows of `a` in a block, at most; a multiple of every `MR`.
const ROW_BLOCK: usize = 288;
/// Rows below which a block is not made smaller for the sake of more blocks; a multiple of every `MR`.
const WORTHWHILE_ROWS: usize = 96;
/// Blocks that each thread should have at least, so that one that is held up is helped by the others.
const BLOCKS_A_THREAD: usize = 4;

/// What is applied to each element of a product.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `x Φ(x)`.
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

/// What follows a product, in this order.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// What one code is worth in each row of `a` and in each row of `b`: multiplied with the sum, one after the other.
    pub scales: Option<(&'a [f32], &'a [f32])>,
    /// Added to every row: one value a column.
    pub bias: Option<&'a [f32]>,
    /// Added to every column: one value a row.
    pub shift: Option<&'a [f32]>,
    /// Applied to each element.
    pub activation: Activation,
    /// Added last; laid out as the output.
    pub residual: Option<&'a [f32]>,
}

/// `out[m, n] = epilogue(Σ a[m, k] b[n, k])`, `out` row-major; every element is written.
///
/// # Panics
/// When `out`, the bias, the shift, the residual or a scale is not as long as the product has elements, columns or rows.
pub fn product<V, U: Unit<V>>(
    unit: U,
    a: &impl Rows<V>,
    b: &impl Rows<V>,
    epilogue: Epilogue<'_>,
    out: &mut [MaybeUninit<f32>],
) {
    let columns = b.count();
    product_at(unit, a, b, epilogue, out, |row| row * columns);
}

/// As [`product`], with row `m` of the output at `place(m)`; distinct rows must not overlap.
pub fn product_at<V, U: Unit<V>>(
    unit: U,
    a: &impl Rows<V>,
    b: &impl Rows<V>,
    epilogue: Epilogue<'_>,
    out: &mut [MaybeUninit<f32>],
    place: impl Fn(usize) -> usize + Sync,
) {
    let panels = pack(unit, b);
    run(a, &panels, epilogue, out, place);
}

/// As [`product_at`], of a `b` that is packed.
pub fn run<V, U: Unit<V>>(
    a: &impl Rows<V>,
    b: &Panels<U>,
    epilogue: Epilogue<'_>,
    out: &mut [MaybeUninit<f32>],
    place: impl Fn(usize) -> usize + Sync,
) {
    let (rows, columns) = (a.count(), b.columns());
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(out.len() >= rows * columns, "output of {rows} × {columns}");
    assert!(epilogue.bias.is_none_or(|bias| bias.len() == columns));
    assert!(epilogue.shift.is_none_or(|shift| shift.len() == rows));
    assert!(epilogue.residual.is_none_or(|residual| residual.len() == out.len()));
    assert!(
        epilogue
            .scales
            .is_none_or(|(a, b)| a.len() == rows && b.len() == columns)
    );
    let threads = rayon::current_num_threads();
    let row_block = b.unit().dispatch(RowBlock {
        rows,
        lanes: b.depth(),
        threads,
    });
    let row_blocks = rows.div_ceil(row_block);
    // Few rows: share out the columns as well, so that every core has work.
    let column_blocks = (3 * threads).div_ceil(row_blocks).min(b.count());
    let panels_per_block = b.count().div_ceil(column_blocks);
    let column_blocks = b.count().div_ceil(panels_per_block);
    let len = out.len();
    let out = SharedOut(out.as_mut_ptr());
    (0..row_blocks * column_blocks).into_par_iter().for_each(|task| {
        let (i, j) = (task / column_blocks, task % column_blocks);
        let block = Block {
            a,
            b,
            epilogue: &epilogue,
            rows: i * row_block..rows.min((i + 1) * row_block),
            panels: j * panels_per_block..b.count().min((j + 1) * panels_per_block),
            out: &out,
            len,
            place: &place,
        };
        b.unit().dispatch(block);
    });
}

struct SharedOut(*mut MaybeUninit<f32>);

// SAFETY: tasks write disjoint elements: each has its own rows and columns.
unsafe impl Sync for SharedOut {}

/// One task: some rows against some panels.
struct Block<'a, A, U, P> {
    a: &'a A,
    b: &'a Panels<U>,
    epilogue: &'a Epilogue<'a>,
    rows: Range<usize>,
    panels: Range<usize>,
    out: &'a SharedOut,
    len: usize,
    place: &'a P,
}

thread_local! {
    /// The packed block of `a`, one a thread for good.
    static PACKED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

impl<V, A: Rows<V>, U: Copy, P: Fn(usize) -> usize> DotOp<V> for Block<'_, A, U, P> {
    type Out = ();

    #[inline(always)]
    fn run<D: Dot<Value = V>>(self) {
        // Taken and put back: a closure would be a function of its own, compiled without this instruction set.
        let mut packed = PACKED.take();
        let depth = self.b.depth();
        for start in (0..depth).step_by(D::DEPTH_BLOCK) {
            let lanes = D::DEPTH_BLOCK.min(depth - start);
            let strips = self.rows.len().div_ceil(D::MR);
            packed.resize(packed.len().max(strips * lanes * D::MR), 0);
            for (index, packed) in packed.chunks_exact_mut(lanes * D::MR).take(strips).enumerate() {
                let row = self.rows.start + index * D::MR;
                left_strip::<D, A>(self.a, row..self.rows.end.min(row + D::MR), start, packed);
                if D::SHIFT != 0 {
                    packed.iter_mut().for_each(|lane| *lane ^= 0x8080_8080);
                }
            }
            self.multiply::<D>(&packed, start, lanes);
        }
        PACKED.set(packed);
    }
}

impl<A, U: Copy, P: Fn(usize) -> usize> Block<'_, A, U, P> {
    #[inline(always)]
    fn multiply<D: Dot>(&self, packed: &[u32], start: usize, lanes: usize) {
        let mut tile = Tile([0; MAX_MR * MAX_NR]);
        for panel in self.panels.clone() {
            let (starts, b) = self.b.panel(panel);
            let stage = Stage {
                first: start == 0,
                last: start + lanes == self.b.depth(),
            };
            // What a panel's sums begin with counts once.
            let starts = if stage.first { starts } else { &ZEROS[..D::NR] };
            let b = &b[start * D::NR..(start + lanes) * D::NR];
            let column = panel * D::NR;
            let columns = D::NR.min(self.b.columns() - column);
            for (strip, a) in packed.chunks_exact(lanes * D::MR).enumerate() {
                let first = self.rows.start + strip * D::MR;
                if first >= self.rows.end {
                    break;
                }
                let rows = D::MR.min(self.rows.end - first);
                let mut places = [0; MAX_MR];
                for (row, at) in (first..).zip(&mut places[..rows]) {
                    *at = (self.place)(row) + column;
                    assert!(*at + columns <= self.len, "row {row} is outside the output");
                    // They come while the tile is computed.
                    simd::prefetch(self.out.0.wrapping_add(*at).cast(), columns);
                    if let Some(residual) = self.epilogue.residual {
                        simd::prefetch(residual.as_ptr().wrapping_add(*at), columns);
                    }
                }
                let (starts, a, b) = (starts.as_ptr(), a.as_ptr(), b.as_ptr());
                // SAFETY: `a` holds lanes × MR, `b` lanes × NR, `starts` NR, `tile` at least MR × NR; `dispatch` chose D for this CPU.
                unsafe {
                    if columns <= D::NR / 2 {
                        D::half_tile(starts, a, b, lanes, tile.0.as_mut_ptr());
                    } else {
                        D::tile(starts, a, b, lanes, tile.0.as_mut_ptr());
                    }
                }
                for (i, (sums, at)) in tile.0.chunks_exact_mut(D::NR).zip(places).take(rows).enumerate() {
                    // SAFETY: inside the output by the assertion above, and no other task's by `SharedOut`.
                    let out = unsafe { std::slice::from_raw_parts_mut(self.out.0.add(at), columns) };
                    let sums = &mut sums[..columns];
                    let (from, held) = (sums.as_mut_ptr(), out.as_mut_ptr().cast::<u32>());
                    let before = (!stage.first).then_some(held.cast_const());
                    // Until the last stage the output holds the bits of sums.
                    let to = if stage.last { from } else { held };
                    if !(stage.first && stage.last) {
                        // SAFETY: all are `columns` long, and the stage before wrote what is before; `dispatch` chose D for this CPU.
                        unsafe { carry::<D>(from, before, to, columns) };
                    }
                    if stage.last {
                        self.finish::<D>(sums, out, [first + i, column, at]);
                    }
                }
            }
        }
    }

    /// Writes the values of sums, and what follows the product. `place` is the row, the column, and where in the output that is.
    ///
    /// One loop a step, over a row that stays in L1: in registers, the branches between the steps would break the vectors up.
    #[inline(always)]
    fn finish<D: Dot>(&self, sums: &[u32], out: &mut [MaybeUninit<f32>], place: [usize; 3]) {
        let [row, column, at] = place;
        let mut values = [0f32; MAX_NR];
        let x = &mut values[..sums.len()];
        for (x, sum) in x.iter_mut().zip(sums) {
            *x = D::Element::value(*sum);
        }
        if let Some((rows, columns)) = self.epilogue.scales {
            let row = rows[row];
            for (x, column) in x.iter_mut().zip(&columns[column..]) {
                *x = *x * row * column;
            }
        }
        if let Some(bias) = self.epilogue.bias {
            add(x, &bias[column..]);
        }
        if let Some(shift) = self.epilogue.shift {
            let shift = shift[row];
            for x in x.iter_mut() {
                *x += shift;
            }
        }
        match self.epilogue.activation {
            Activation::None => {}
            Activation::Gelu => {
                for x in x.iter_mut() {
                    *x = math::gelu::<D::Isa>(*x);
                }
            }
            Activation::Relu => {
                for x in x.iter_mut() {
                    *x = x.max(0.0);
                }
            }
        }
        if let Some(residual) = self.epilogue.residual {
            add(x, &residual[at..]);
        }
        for (out, x) in out.iter_mut().zip(x) {
            out.write(*x);
        }
    }
}

#[inline(always)]
fn add(x: &mut [f32], other: &[f32]) {
    for (x, other) in x.iter_mut().zip(other) {
        *x += other;
    }
}

/// The sums of a register tile, `[MR][NR]`, on cache lines of their own.
#[repr(align(64))]
struct Tile([u32; MAX_MR * MAX_NR]);

/// `to = sums + before`, where there is anything before.
///
/// # Safety
/// Each is so long; the CPU has the instruction set.
#[inline(always)]
unsafe fn carry<D: Dot>(sums: *const u32, before: Option<*const u32>, to: *mut u32, len: usize) {
    let whole = len / D::LANES * D::LANES;
    // SAFETY: the caller's promise; every offset is inside.
    unsafe {
        for at in (0..whole).step_by(D::LANES) {
            let mut sum = D::load(sums.add(at));
            if let Some(before) = before {
                sum = D::add(sum, D::load(before.add(at)));
            }
            D::store(sum, to.add(at));
        }
        for at in whole..len {
            let before = before.map_or(0, |before| *before.add(at));
            *to.add(at) = D::Element::add(*sums.add(at), before);
        }
    }
}

/// Which part of the depth a tile summed.
#[derive(Clone, Copy)]
struct Stage {
    first: bool,
    last: bool,
}

/// How many rows of `a` go into a block: as many as fit in L2, or fewer.
struct RowBlock {
    rows: usize,
    lanes: usize,
    threads: usize,
}

impl<V> DotOp<V> for RowBlock {
    type Out = usize;
    #[inline(always)]
    fn run<D: Dot<Value = V>>(self) -> usize {
        let lanes = self.lanes.clamp(1, D::DEPTH_BLOCK);
        let most = (D::BLOCK_LANES / lanes).clamp(D::MR, ROW_BLOCK) / D::MR;
        let worthwhile = most.min(WORTHWHILE_ROWS / D::MR);
        D::MR * strips_of_a_block(self.rows.div_ceil(D::MR), worthwhile, most, self.threads)
    }
}

/// How many of `strips` go into a block, of `most` at most: as many as leave the least to the thread that has the most.
fn strips_of_a_block(strips: usize, worthwhile: usize, most: usize, threads: usize) -> usize {
    if strips <= most {
        return strips;
    }
    let most = most.min((strips / (BLOCKS_A_THREAD * threads)).max(worthwhile));
    let longest = |block: usize| strips.div_ceil(block).div_ceil(threads) * block;
    let least = (most / 2).max(1);
    (least..=most).rev().min_by_key(|&block| longest(block)).unwrap_or(most)
}
