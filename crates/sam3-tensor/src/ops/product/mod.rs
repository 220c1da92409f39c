//! Matrix products `a bᵀ` of rows that come from anywhere, with what follows them fused in.
//!
//! The scheme is [Goto's](https://www.cs.utexas.edu/~flame/pubs/GotoTOMS_final.pdf): `b` is packed once into panels as
//! wide as a register tile; each task packs a block of `a`, about as large as its core's L2, and runs it against the
//! panels. Only packing knows what the rows are: an activation, a mapped half-precision weight, the patches of a
//! convolution.

mod finish;
mod pack;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, mem::MaybeUninit, ops::Range};

pub use finish::{Activation, Epilogue};
pub use pack::{Matrix, Panels, Rows, Staged, copy, left_strip, pack, right_panel, steps_of_lanes};
use rayon::prelude::*;

use crate::Result;

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
/// The least number of blocks for each thread, so that the others can help one that is held up.
const BLOCKS_A_THREAD: usize = 4;

/// `out[m, n] = epilogue(Σ a[m, k] b[n, k])`, `out` row-major; every element is written.
///
/// # Errors
/// When there is no room for `b` packed.
///
/// # Panics
/// When `out`, the bias, the shift, the residual or a scale is not as long as the product has elements, columns or
/// rows.
pub fn product<V, U: Unit<V>>(
    unit: U,
    a: &impl Rows<V>,
    b: &impl Rows<V>,
    epilogue: Epilogue<'_>,
    out: &mut [MaybeUninit<f32>],
) -> Result<()> {
    run(a, &pack(unit, b)?, epilogue, out);
    Ok(())
}

/// As [`product`], with row `m` of the output at `place(m)`; only those rows of `out` are written.
///
/// # Safety
/// No two rows overlap: for `m` other than `n`, `place(m)` and `place(n)` are at least as far apart as the product has
/// columns.
///
/// # Errors
/// As [`product`].
///
/// # Panics
/// As [`product`]; and when a row is not inside `out`.
pub unsafe fn product_at<V, U: Unit<V>>(
    unit: U,
    a: &impl Rows<V>,
    b: &impl Rows<V>,
    epilogue: Epilogue<'_>,
    out: &mut [MaybeUninit<f32>],
    place: impl Fn(usize) -> usize + Sync,
) -> Result<()> {
    // SAFETY: the caller's promise.
    unsafe { run_at(a, &pack(unit, b)?, epilogue, out, place) };
    Ok(())
}

/// As [`product`], of a `b` that is packed.
pub fn run<V, U: Unit<V>>(a: &impl Rows<V>, b: &Panels<U>, epilogue: Epilogue<'_>, out: &mut [MaybeUninit<f32>]) {
    let columns = b.columns();
    // SAFETY: each row begins where the one before it ends.
    unsafe { run_at(a, b, epilogue, out, |row| row * columns) };
}

/// # Safety
/// See [`product_at`].
unsafe fn run_at<V, U: Unit<V>>(
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

// SAFETY: tasks write disjoint elements: each has its own rows and columns, and no two rows overlap, as `product_at`
// was promised.
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

/// What a task works with, one a thread for good.
#[derive(Default)]
struct Scratch {
    /// The packed block of `a`: `[strips]`, each of the lanes of a depth block by `MR`.
    packed: Lines<u32>,
    /// Of the tiles of a panel while its chunks are added up: `[strips][MR][NR]`.
    sums: Lines<u32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl<V, A: Rows<V>, U: Copy, P: Fn(usize) -> usize> DotOp<V> for Block<'_, A, U, P> {
    type Out = ();

    #[inline(always)]
    fn run<D: Dot<Value = V>>(self) {
        // Taken and put back: a closure would be a function of its own, compiled without this instruction set.
        let mut scratch = SCRATCH.take();
        let mut staged = Staged::default();
        let strips = self.rows.len().div_ceil(D::MR);
        let sums = scratch.sums.room(strips * D::MR * D::NR);
        for depth in even(0..self.b.depth(), D::DEPTH_BLOCK, D::DEPTH_STEP) {
            let packed = scratch.packed.room(strips * depth.len() * D::MR);
            for (index, packed) in packed.chunks_exact_mut(depth.len() * D::MR).enumerate() {
                let row = self.rows.start + index * D::MR;
                let rows = row..self.rows.end.min(row + D::MR);
                left_strip::<D, A>(self.a, rows, depth.start, &mut staged, packed);
                if D::SHIFT != 0 {
                    packed.iter_mut().for_each(|lane| *lane ^= 0x8080_8080);
                }
            }
            self.multiply::<D>(packed, depth, sums);
        }
        SCRATCH.set(scratch);
    }
}

impl<A, U: Copy, P: Fn(usize) -> usize> Block<'_, A, U, P> {
    /// Adds one block of depth to the output; `sums` is `[strips][MR][NR]`.
    #[inline(always)]
    fn multiply<D: Dot>(&self, packed: &[u32], depth: Range<usize>, sums: &mut [u32]) {
        let stage = Stage {
            first: depth.start == 0,
            last: depth.end == self.b.depth(),
        };
        let mut tile = Tile::default();
        for panel in self.panels.clone() {
            let column = panel * D::NR;
            let columns = column..self.b.columns().min(column + D::NR);
            let of_columns = self.epilogue.columns(columns.clone());
            for chunk in even(depth.clone(), D::DEPTH_CHUNK, D::DEPTH_STEP) {
                let last = chunk.end == depth.end;
                let mut ahead = self.ahead::<D>(panel + 1, &chunk);
                let strips = packed.chunks_exact(depth.len() * D::MR);
                for (strip, (a, sums)) in strips.zip(sums.chunks_exact_mut(D::MR * D::NR)).enumerate() {
                    let first = self.rows.start + strip * D::MR;
                    let mut places = [0; MAX_MR];
                    let places = &mut places[..D::MR.min(self.rows.end - first)];
                    if last {
                        self.find(first, &columns, places);
                    }
                    if let Some(piece) = ahead.next() {
                        simd::prefetch_l2(piece);
                    }
                    let a = &a[(chunk.start - depth.start) * D::MR..][..chunk.len() * D::MR];
                    self.sum::<D>(a, panel, &chunk, &mut tile);
                    let tile = &mut tile.0[..D::MR * D::NR];
                    if chunk.start > depth.start {
                        // SAFETY: they are as long as each other; `dispatch` chose D for this CPU.
                        unsafe { add::<D>(tile, sums.as_ptr()) };
                    }
                    if !last {
                        sums.copy_from_slice(tile);
                        continue;
                    }
                    let place = Place { first, places, stage };
                    // A row whose length is known is whole vectors.
                    if columns.len() == D::NR {
                        self.write::<D>(tile, D::NR, &of_columns, place);
                    } else {
                        self.write::<D>(tile, columns.len(), &of_columns, place);
                    }
                }
            }
        }
    }

    /// Finds where the rows of a tile begin in the output, and asks for what lies there: it comes while the tile is
    /// computed.
    #[inline(always)]
    fn find(&self, first: usize, columns: &Range<usize>, places: &mut [usize]) {
        for (row, at) in (first..).zip(places) {
            *at = (self.place)(row) + columns.start;
            assert!(*at + columns.len() <= self.len, "row {row} is outside the output");
            simd::prefetch(self.out.0.wrapping_add(*at).cast(), columns.len());
            if let Some(residual) = self.epilogue.residual {
                simd::prefetch(residual.as_ptr().wrapping_add(*at), columns.len());
            }
        }
    }

    /// Multiplies a strip of the chunk's lanes, `a`, with a panel.
    #[inline(always)]
    fn sum<D: Dot>(&self, a: &[u32], panel: usize, chunk: &Range<usize>, tile: &mut Tile) {
        let (starts, b) = self.b.panel(panel);
        let b = &b[chunk.start * D::NR..chunk.end * D::NR];
        // What a panel's sums begin with counts once.
        let starts = if chunk.start == 0 { starts } else { &ZEROS[..D::NR] };
        assert_eq!(a.len(), chunk.len() * D::MR);
        let (starts, a, b, out) = (starts.as_ptr(), a.as_ptr(), b.as_ptr(), tile.0.as_mut_ptr());
        // SAFETY: `a` holds the chunk's lanes × MR, `b` × NR, `starts` NR, `tile` at least MR × NR; `dispatch` chose D
        // for this CPU.
        unsafe {
            if self.b.columns() - panel * D::NR <= D::NR / 2 {
                D::half_tile(starts, a, b, chunk.len(), out);
            } else {
                D::tile(starts, a, b, chunk.len(), out);
            }
        }
    }

    /// Writes the first `columns` of each row of sums in a tile to the output: as they are until the last stage, then
    /// as values.
    #[inline(always)]
    fn write<D: Dot>(&self, tile: &mut [u32], columns: usize, of_columns: &Columns, place: Place<'_>) {
        let Place { first, places, stage } = place;
        let tile = &mut tile[..places.len() * D::NR];
        if !stage.first {
            for (sums, at) in tile.chunks_exact_mut(D::NR).zip(places) {
                // SAFETY: `multiply` asserted that the row is inside the output, and the stage before wrote it;
                // `dispatch` chose D for this CPU.
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

    /// What a panel has at this depth, in as many pieces as there are strips: it comes to L2 while the panel before it
    /// is multiplied.
    #[inline(always)]
    fn ahead<D: Dot>(&self, panel: usize, depth: &Range<usize>) -> std::slice::Chunks<'_, u32> {
        let lanes = if D::NEXT_PANEL && self.panels.contains(&panel) {
            &self.b.panel(panel).1[depth.start * D::NR..depth.end * D::NR]
        } else {
            &[]
        };
        lanes.chunks(lanes.len().div_ceil(self.rows.len().div_ceil(D::MR)).max(1))
    }
}

/// Cuts a range into as few pieces of `most` as it takes, each as long as the others but the last, and a multiple of
/// `step`.
fn even(range: Range<usize>, most: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    let piece = range.len().div_ceil(range.len().div_ceil(most).max(1));
    let piece = piece.next_multiple_of(step).max(step);
    let end = range.end;
    range.step_by(piece).map(move |start| start..end.min(start + piece))
}

/// Adds what was summed before to sums.
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

/// How many rows of `a` go into a block: as many as `Blocking::BLOCK_LANES` has room for, or fewer.
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
