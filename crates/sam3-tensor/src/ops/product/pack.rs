//! Packing: rows of values become strips of lanes, transposed so that a tile reads them in order.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use rayon::prelude::*;

use crate::Result;

use super::super::{
    compute::Unit,
    lines::Lines,
    simd::{Dot, DotOp, Element, MAX_NR},
};

/// Rows of equal length that can be read in pieces, as f32 or as int8 codes.
pub trait Rows<V = f32>: Sync {
    /// Number of rows.
    fn count(&self) -> usize;
    /// Values in a row.
    fn depth(&self) -> usize;
    /// Writes the values from `start` on of a row to `out`.
    fn read(&self, row: usize, start: usize, out: &mut [V]);
}

/// A row-major matrix.
#[derive(Clone, Copy)]
pub struct Matrix<'a, V = f32> {
    /// `[rows, depth]`.
    pub values: &'a [V],
    /// Values in a row.
    pub depth: usize,
}

impl<V: Copy + Sync> Rows<V> for Matrix<'_, V> {
    fn count(&self) -> usize {
        self.values.len() / self.depth
    }
    fn depth(&self) -> usize {
        self.depth
    }
    #[inline(always)]
    fn read(&self, row: usize, start: usize, out: &mut [V]) {
        copy(&self.values[row * self.depth + start..][..out.len()], out);
    }
}

/// Copies as many values as `out` has, in registers: the pieces that packing reads are so short that a call of
/// `memmove` each was 4 % of an image.
#[inline(always)]
pub fn copy<V: Copy>(from: &[V], out: &mut [V]) {
    const PIECE: usize = 16;
    let (whole, rest) = out.as_chunks_mut::<PIECE>();
    let (pieces, last) = from[..whole.len() * PIECE + rest.len()].as_chunks::<PIECE>();
    for (out, piece) in whole.iter_mut().zip(pieces) {
        *out = *piece;
    }
    for (out, value) in rest.iter_mut().zip(last) {
        *out = *value;
    }
}

/// Lanes that are converted at once: the part of a strip that is written then stays in L1.
const CHUNK: usize = 64;
/// Values in a lane, at most.
const MAX_GROUP: usize = 4;

/// Room for lanes of rows before they are rearranged.
pub struct Staged([u32; CHUNK * MAX_NR]);

impl Default for Staged {
    /// It is large: one a task.
    fn default() -> Self {
        Self([0; CHUNK * MAX_NR])
    }
}

/// Writes a strip of a left-hand side, as `Blocking::DEPTH_STEP` has it: lane `start + l` of each row in `rows`, then
/// zeros.
#[inline(always)]
pub fn left_strip<D: Dot, R: Rows<D::Value>>(
    source: &R,
    rows: Range<usize>,
    start: usize,
    staged: &mut Staged,
    out: &mut [u32],
) {
    strip::<D, R>(source, rows, D::MR, start, staged, out, D::DEPTH_STEP);
}

/// Writes `[lanes][NR]`, a panel of a right-hand side, in the same way.
#[inline(always)]
pub fn right_panel<D: Dot, R: Rows<D::Value>>(source: &R, rows: Range<usize>, staged: &mut Staged, out: &mut [u32]) {
    strip::<D, R>(source, rows, D::NR, 0, staged, out, 1);
}

/// Writes `[lanes / step][width][step]`.
#[inline(always)]
fn strip<D: Dot, R: Rows<D::Value>>(
    source: &R,
    rows: Range<usize>,
    width: usize,
    start: usize,
    staged: &mut Staged,
    out: &mut [u32],
    step: usize,
) {
    let (depth, group) = (source.depth(), D::Element::GROUP);
    let mut values = [D::Value::default(); CHUNK * MAX_GROUP];
    let staged = &mut staged.0[..width * CHUNK];
    staged[rows.len() * CHUNK..].fill(0);
    for (chunk, out) in out.chunks_mut(CHUNK * width).enumerate() {
        let lanes = out.len() / width;
        let first = (start + chunk * CHUNK) * group;
        let values = &mut values[..lanes * group];
        let present = values.len().min(depth - first);
        values[present..].fill(D::Value::default());
        for (row, staged) in rows.clone().zip(staged.chunks_exact_mut(CHUNK)) {
            source.read(row, first, &mut values[..present]);
            // SAFETY: `dispatch` chose D for this CPU.
            unsafe { D::lanes(values, &mut staged[..lanes]) };
        }
        if step == 1 {
            // SAFETY: `staged` is `width` by `CHUNK`, `out` `lanes` by `width`; `dispatch` chose D for this CPU.
            unsafe { D::transpose(staged.as_ptr(), CHUNK, width, lanes, out.as_mut_ptr()) };
            continue;
        }
        for (from, out) in (0..).step_by(step).zip(out.chunks_exact_mut(width * step)) {
            for (row, out) in staged.chunks_exact(CHUNK).zip(out.chunks_exact_mut(step)) {
                copy(&row[from..], out);
            }
        }
    }
}

/// Rearranges a strip that was written lane by lane, `[lanes][MR]`, as `Blocking::DEPTH_STEP` has it.
#[inline(always)]
pub fn steps_of_lanes<D: Dot>(strip: &mut [u32]) {
    if D::DEPTH_STEP == 1 {
        return;
    }
    let len = D::DEPTH_STEP * D::MR;
    let mut lanes = [0; CHUNK * MAX_NR];
    let lanes = &mut lanes[..len];
    for step in strip.chunks_exact_mut(len) {
        lanes.copy_from_slice(step);
        // SAFETY: both are `DEPTH_STEP` by `MR`; `dispatch` chose D for this CPU.
        unsafe { D::transpose(lanes.as_ptr(), D::MR, D::DEPTH_STEP, D::MR, step.as_mut_ptr()) };
    }
}

/// The right-hand side of products, packed: `[panels][1 + depth][NR]` lanes, the first being where the sums begin.
pub struct Panels<U> {
    lanes: Lines<u32>,
    columns: usize,
    depth: usize,
    width: usize,
    unit: U,
}

/// Buffers of dropped panels: a layer's weights are packed where the last layer's were, so that each page is faulted in
/// only once.
static SPARE: Mutex<Vec<Lines<u32>>> = Mutex::new(Vec::new());
/// As many as two layers that run together need.
const SPARES: usize = 2;

/// Packs the rows of `b`, in parallel.
///
/// # Errors
/// When there is no room for them.
pub fn pack<V, U: Unit<V>>(unit: U, b: &impl Rows<V>) -> Result<Panels<U>> {
    let (width, depth) = unit.dispatch(Extents(b.depth()));
    let columns = b.count();
    let panel = (1 + depth) * width;
    let len = columns.div_ceil(width) * panel;
    let mut lanes = spare(len);
    lanes
        .large_room(len)?
        .par_chunks_mut(panel)
        .enumerate()
        .for_each(|(index, out)| {
            let rows = index * width..columns.min((index + 1) * width);
            unit.dispatch(Panel { b, rows, out });
        });
    Ok(Panels {
        lanes,
        columns,
        depth,
        width,
        unit,
    })
}

impl<U: Copy> Panels<U> {
    /// Rows of `b`, which are columns of the product.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Depth of the product in lanes.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// Where the sums begin, `[NR]`, and `[depth][NR]` lanes.
    pub fn panel(&self, index: usize) -> (&[u32], &[u32]) {
        let len = (1 + self.depth) * self.width;
        self.lanes[index * len..(index + 1) * len].split_at(self.width)
    }

    /// What the lanes are for.
    pub fn unit(&self) -> U {
        self.unit
    }
}

impl<U> Drop for Panels<U> {
    fn drop(&mut self) {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(std::mem::take(&mut self.lanes));
        if spare.len() > SPARES
            && let Some(smallest) = (0..spare.len()).min_by_key(|&i| spare[i].len())
        {
            spare.swap_remove(smallest);
        }
    }
}

/// The smallest spare buffer with room for `len` lanes, or a new one.
fn spare(len: usize) -> Lines<u32> {
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    let fits = (0..spare.len()).filter(|&i| spare[i].len() >= len);
    match fits.min_by_key(|&i| spare[i].len()) {
        Some(best) => spare.swap_remove(best),
        None => Lines::default(),
    }
}

/// The width of a panel, and its lanes for so many values.
struct Extents(usize);

impl<V> DotOp<V> for Extents {
    type Out = (usize, usize);
    #[inline(always)]
    fn run<D: Dot<Value = V>>(self) -> (usize, usize) {
        (D::NR, D::depth(self.0))
    }
}

struct Panel<'a, B> {
    b: &'a B,
    rows: Range<usize>,
    out: &'a mut [u32],
}

impl<V, B: Rows<V>> DotOp<V> for Panel<'_, B> {
    type Out = ();
    #[inline(always)]
    fn run<D: Dot<Value = V>>(self) {
        let (starts, lanes) = self.out.split_at_mut(D::NR);
        right_panel::<D, B>(self.b, self.rows, &mut Staged::default(), lanes);
        starts.fill(0);
        if D::SHIFT != 0 {
            for lanes in lanes.chunks_exact(D::NR) {
                for (start, &lane) in starts.iter_mut().zip(lanes) {
                    *start = start.wrapping_sub((sum_of_codes(lane) * D::SHIFT).cast_unsigned());
                }
            }
        }
    }
}

/// The sum of a lane's four signed bytes; shifts, which are vector code.
#[inline(always)]
fn sum_of_codes(lane: u32) -> i32 {
    let lane = lane.cast_signed();
    (lane << 24 >> 24) + (lane << 16 >> 24) + (lane << 8 >> 24) + (lane >> 24)
}
