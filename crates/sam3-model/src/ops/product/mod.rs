//! Matrix products `a bᵀ` of rows that come from anywhere, with what follows them fused in.
//!
//! The scheme is [Goto's](https://www.cs.utexas.edu/~flame/pubs/GotoTOMS_final.pdf): `b` is packed once into panels as wide as a
//! register tile; each task packs a block of `a` that stays in its core's L2 and runs it against the panels. What the rows are, an
//! activation, a mapped half-precision weight, the patches of a convolution, is known to packing alone.

mod finish;
mod pack;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, mem::MaybeUninit, ops::Range};

pub use finish::{Activation, Epilogue};
pub use pack::{Matrix, Panels, Rows, Staged, copy, left_strip, pack, right_panel, steps_of_lanes};
use rayon::prelude::*;

use super::{
    compute::Unit,
    lines::Lines,
    simd::{self, Dot, DotOp, Element, MAX_MR, Tile, ZEROS},
};
use finish::Columns;

/// Rows of `a` in a block, at most; a multiple of every `MR`.
const ROW_BLOCK: usize = 288;
/// Rows below which a block is not made smaller for the sake of more blocks; a multiple of every `MR`.
const WORTHWHILE_ROWS: usize = 96;
/// Blocks that each thread should have at least, so that one that is held up is helped by the others.
const BLOCKS_A_THREAD: usize = 4;

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
    static PACKED: RefCell<Lines<u32>> = const { RefCell::new(Lines::new()) };
}

impl<V, A: Rows<V>, U: Copy, P: Fn(usize) -> usize> DotOp<V> for Block<'_, A, U, P> {
    type Out = ();

    #[inline(always)]
    fn run<D: Dot<Value = V>>(self) {
        // Taken and put back: a closure would be a function of its own, compiled without this instruction set.
        let mut packed = PACKED.take();
        let mut staged = Staged::default();
        let depth = self.b.depth();
        for start in (0..depth).step_by(D::DEPTH_BLOCK) {
            let lanes = D::DEPTH_BLOCK.min(depth - start);
            let strips = self.rows.len().div_ceil(D::MR);
            let packed = packed.room(strips * lanes * D::MR);
            for (index, packed) in packed.chunks_exact_mut(lanes * D::MR).enumerate() {
                let row = self.rows.start + index * D::MR;
                left_strip::<D, A>(self.a, row..self.rows.end.min(row + D::MR), start, &mut staged, packed);
                if D::SHIFT != 0 {
                    packed.iter_mut().for_each(|lane| *lane ^= 0x8080_8080);
                }
            }
            self.multiply::<D>(packed, start, lanes);
        }
        PACKED.set(packed);
    }
}

impl<A, U: Copy, P: Fn(usize) -> usize> Block<'_, A, U, P> {
    #[inline(always)]
    fn multiply<D: Dot>(&self, packed: &[u32], start: usize, lanes: usize) {
        let mut tile = Tile::default();
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
            let of_columns = self.epilogue.columns(column..column + columns);
            let mut ahead = self.ahead::<D>(panel + 1, start, lanes);
            for (strip, a) in packed.chunks_exact(lanes * D::MR).enumerate() {
                let first = self.rows.start + strip * D::MR;
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
                if let Some(piece) = ahead.next() {
                    simd::prefetch_l2(piece);
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
                let place = Place {
                    first,
                    places: &places[..rows],
                    stage,
                };
                // A row whose length is known is whole vectors.
                if columns == D::NR {
                    self.write::<D>(&mut tile.0, D::NR, &of_columns, place);
                } else {
                    self.write::<D>(&mut tile.0, columns, &of_columns, place);
                }
            }
        }
    }

    /// Writes the first `columns` of each row of sums in a tile to the output: as they are until the last stage, then as values.
    #[inline(always)]
    fn write<D: Dot>(&self, tile: &mut [u32], columns: usize, of_columns: &Columns, place: Place<'_>) {
        let Place { first, places, stage } = place;
        let tile = &mut tile[..places.len() * D::NR];
        if !stage.first {
            for (sums, at) in tile.chunks_exact_mut(D::NR).zip(places) {
                // SAFETY: `multiply` asserted that the row is inside the output, and the stage before wrote it; `dispatch` chose D for this CPU.
                unsafe { add::<D>(&mut sums[..columns], self.out.0.add(*at).cast()) };
            }
        }
        if stage.last {
            self.epilogue.apply::<D>(tile, first, of_columns);
        }
        for (values, at) in tile.chunks_exact(D::NR).zip(places) {
            // SAFETY: as above, and no other task's by `SharedOut`.
            let out = unsafe { std::slice::from_raw_parts_mut(self.out.0.add(*at), columns) };
            if stage.last {
                self.epilogue.write(&values[..columns], *at, out);
            } else {
                for (out, bits) in out.iter_mut().zip(values) {
                    out.write(f32::from_bits(*bits));
                }
            }
        }
    }

    /// What a panel has at this depth, in as many pieces as there are strips: it comes to L2 while the panel before it is multiplied.
    #[inline(always)]
    fn ahead<D: Dot>(&self, panel: usize, start: usize, lanes: usize) -> std::slice::Chunks<'_, u32> {
        let lanes = if D::NEXT_PANEL && self.panels.contains(&panel) {
            &self.b.panel(panel).1[start * D::NR..(start + lanes) * D::NR]
        } else {
            &[]
        };
        lanes.chunks(lanes.len().div_ceil(self.rows.len().div_ceil(D::MR)).max(1))
    }
}

/// Adds what the stages before left in the output to a row of sums.
///
/// # Safety
/// `held` holds as many bits of sums; the CPU has the instruction set.
#[inline(always)]
unsafe fn add<D: Dot>(sums: &mut [u32], held: *const u32) {
    let whole = sums.len() / D::LANES * D::LANES;
    // SAFETY: the caller's promise; every offset is inside.
    unsafe {
        for at in (0..whole).step_by(D::LANES) {
            let sum = D::add(D::load(sums.as_ptr().add(at)), D::load(held.add(at)));
            D::store(sum, sums.as_mut_ptr().add(at));
        }
        for (at, sum) in sums.iter_mut().enumerate().skip(whole) {
            *sum = D::Element::add(*sum, *held.add(at));
        }
    }
}

/// Where a tile's rows belong.
struct Place<'a> {
    /// The first one's row of the product.
    first: usize,
    /// Where in the output each begins.
    places: &'a [usize],
    stage: Stage,
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
