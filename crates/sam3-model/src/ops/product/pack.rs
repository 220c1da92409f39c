//! Packing: rows of f32 values become strips of lanes, transposed so that a tile reads them in order.

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use rayon::prelude::*;

use super::super::simd::{Dot, DotOp, Element};
use crate::ops::Compute;

/// Rows of equal length that can be read in pieces, as f32.
pub trait Rows: Sync {
    /// Number of rows.
    fn count(&self) -> usize;
    /// Values in a row.
    fn depth(&self) -> usize;
    /// Writes the values from `start` on of a row to `out`.
    fn read(&self, row: usize, start: usize, out: &mut [f32]);
}

/// A row-major matrix.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// `[rows, depth]`.
    pub values: &'a [f32],
    /// Values in a row.
    pub depth: usize,
}

impl Rows for Matrix<'_> {
    fn count(&self) -> usize {
        self.values.len() / self.depth
    }
    fn depth(&self) -> usize {
        self.depth
    }
    #[inline(always)]
    fn read(&self, row: usize, start: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.values[row * self.depth + start..][..out.len()]);
    }
}

/// Lanes that are converted at once: the part of a strip that is written then stays in L1.
const CHUNK: usize = 64;
/// Values in a lane, at most.
const MAX_GROUP: usize = 2;

/// Writes `[lanes][width]`: lane `start + l` of each row in `rows`, then zeros up to `width`.
#[inline(always)]
pub fn strip<E: Element, R: Rows>(source: &R, rows: Range<usize>, width: usize, start: usize, out: &mut [u32]) {
    let depth = source.depth();
    let mut values = [0f32; CHUNK * MAX_GROUP];
    for (chunk, out) in out.chunks_mut(CHUNK * width).enumerate() {
        let values = &mut values[..out.len() / width * E::GROUP];
        let first = (start + chunk * CHUNK) * E::GROUP;
        let present = values.len().min(depth - first);
        values[present..].fill(0.0);
        for (column, row) in (rows.start..rows.start + width).enumerate() {
            if row >= rows.end {
                out.iter_mut().skip(column).step_by(width).for_each(|lane| *lane = 0);
                continue;
            }
            source.read(row, first, &mut values[..present]);
            for (out, values) in out.chunks_exact_mut(width).zip(values.chunks_exact(E::GROUP)) {
                out[column] = E::lane(values);
            }
        }
    }
}

/// The right-hand side of products, packed: `[panels][depth][NR]` lanes.
pub struct Panels {
    lanes: Vec<u32>,
    columns: usize,
    depth: usize,
    width: usize,
    compute: Compute,
}

/// Buffers of dropped panels: a layer's weights are packed where the last layer's were, so no page is touched first twice.
static SPARE: Mutex<Vec<Vec<u32>>> = Mutex::new(Vec::new());

/// Packs the rows of `b`, in parallel.
pub fn pack(compute: Compute, b: &impl Rows) -> Panels {
    let (width, group) = compute.dispatch(Width);
    let depth = b.depth().div_ceil(group);
    let columns = b.count();
    let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut lanes = spare.pop().unwrap_or_default();
    drop(spare);
    lanes.resize(columns.div_ceil(width) * depth * width, 0);
    lanes
        .par_chunks_mut(depth * width)
        .enumerate()
        .for_each(|(panel, out)| {
            let rows = panel * width..columns.min((panel + 1) * width);
            compute.dispatch(Panel { b, rows, out });
        });
    Panels {
        lanes,
        columns,
        depth,
        width,
        compute,
    }
}

impl Panels {
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

    /// `[depth][NR]` lanes.
    pub fn panel(&self, index: usize) -> &[u32] {
        let len = self.depth * self.width;
        &self.lanes[index * len..(index + 1) * len]
    }

    /// What the lanes are for.
    pub fn compute(&self) -> Compute {
        self.compute
    }
}

impl Drop for Panels {
    fn drop(&mut self) {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(std::mem::take(&mut self.lanes));
    }
}

struct Width;

impl DotOp for Width {
    type Out = (usize, usize);
    #[inline(always)]
    fn run<D: Dot>(self) -> (usize, usize) {
        (D::NR, D::Element::GROUP)
    }
}

struct Panel<'a, B> {
    b: &'a B,
    rows: Range<usize>,
    out: &'a mut [u32],
}

impl<B: Rows> DotOp for Panel<'_, B> {
    type Out = ();
    #[inline(always)]
    fn run<D: Dot>(self) {
        strip::<D::Element, B>(self.b, self.rows, D::NR, 0, self.out);
    }
}
