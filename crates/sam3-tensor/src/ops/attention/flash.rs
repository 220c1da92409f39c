//! [FlashAttention](https://arxiv.org/abs/2205.14135) on a CPU: scores exist a tile at a time, in L2.
//!
//! Many keys of many values are packed a span at a time: all of a video's memory would be 46 MB a thread. What the
//! queries have summed so far then waits for the next span.
//!
//! Scores are held transposed, `[keys, queries]`: softmax then runs down columns, a vector of queries at once, and the
//! exponentials already lie as the next product wants its right-hand side.

use std::{cell::RefCell, mem::MaybeUninit, ops::Range};

use rayon::prelude::*;

use super::{
    super::{
        Compute,
        compute::Unit,
        lines::Lines,
        product::{Staged, left_strip, right_panel, steps_of_lanes},
        simd::{COLUMNS, Dot, DotOp, Element, Isa, MAX_NR, Tile, ZEROS, math},
    },
    rows::{HeadRows, Operand, Places, Rotation, columns},
};

/// Keys whose scores are held at once; a multiple of every `MR` and of what every lane's group and `DEPTH_STEP` hold.
const KEY_BLOCK: usize = 288;
/// Values of keys that are packed at once, in whole blocks: 1.5 MB of f32.
const SPAN: usize = if cfg!(test) { 300 * 32 } else { 6144 * 64 };
/// The maximum that a query begins with: not −∞, so that differences are finite in a block where every key is hidden.
const NOTHING_SEEN: f32 = -1e30;
/// Channels of values that are packed at once; a multiple of every `MR` and of [`COLUMNS`].
const CHANNELS: usize = 96;

/// Added to scores.
#[derive(Clone, Copy)]
pub enum Bias<'a> {
    /// `values[head × head_stride + query × query_stride + key]`; a stride of 0 broadcasts.
    Scores {
        values: &'a [f32],
        head_stride: usize,
        query_stride: usize,
    },
    /// See [`super::Bias::Cells`]; `width` cells in a row.
    Cells {
        rows: &'a [f32],
        columns: &'a [f32],
        width: usize,
        queries: usize,
    },
}

/// One call's inputs.
#[derive(Clone, Copy)]
pub struct Flash<'a> {
    pub q: Operand<'a>,
    pub k: Operand<'a>,
    pub v: Operand<'a>,
    pub heads: usize,
    /// Values of a query and of a key.
    pub head_dim: usize,
    /// Those of what is found there.
    pub value_dim: usize,
    pub batch: usize,
    pub query_places: Places,
    pub key_places: Places,
    /// Of queries and keys.
    pub rotation: Option<Rotation<'a>>,
    pub bias: Option<Bias<'a>>,
    /// The row of a token that is padding.
    pub padding: &'a [f32],
}

impl Flash<'_> {
    /// `out` is `[rows of queries, heads × value_dim]`; the row of every query is written.
    pub fn run(self, compute: Compute, out: &mut [MaybeUninit<f32>]) {
        let (units, queries) = (self.batch * self.heads, self.query_places.tokens());
        // Few heads: share out the queries as well; each part then packs the keys again.
        let parts = (4 * rayon::current_num_threads())
            .div_ceil(units.max(1))
            .min(queries.div_ceil(MAX_NR));
        let part = queries.div_ceil(parts.max(1)).next_multiple_of(MAX_NR);
        let parts = queries.div_ceil(part);
        let len = out.len();
        let out = SharedOut(out.as_mut_ptr());
        (0..units * parts).into_par_iter().for_each(|task| {
            let (unit, start) = (task / parts, task % parts * part);
            compute.dispatch(Task {
                flash: self,
                batch: unit / self.heads,
                head: unit % self.heads,
                queries: start..queries.min(start + part),
                out: &out,
                len,
            });
        });
    }
}

struct SharedOut(*mut MaybeUninit<f32>);

// SAFETY: a task writes its own head's columns of its own queries' rows.
unsafe impl Sync for SharedOut {}

/// Some queries of one head of one batch element.
struct Task<'a> {
    flash: Flash<'a>,
    batch: usize,
    head: usize,
    queries: Range<usize>,
    out: &'a SharedOut,
    len: usize,
}

#[derive(Default)]
struct Scratch {
    /// Of a span: `[strips]`, each of the lanes of `head_dim` by `MR`.
    keys: Lines<u32>,
    /// Of a span: `[key blocks][strips of value_dim]`, each of the lanes of the block by `MR`.
    values: Lines<u32>,
    /// `[head_dim lanes][NR]`.
    queries: Lines<u32>,
    /// `[KEY_BLOCK][NR]`; then the sums, transposed.
    scores: Lines<f32>,
    /// `[KEY_BLOCK lanes][NR]`.
    weights: Lines<u32>,
    /// `[tiles of queries that wait][value_dim][NR]`.
    sums: Lines<f32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The running softmax of each query in a tile.
#[derive(Clone, Copy)]
struct Softmax {
    max: [f32; MAX_NR],
    sum: [f32; MAX_NR],
}

impl Default for Softmax {
    fn default() -> Self {
        Self {
            max: [NOTHING_SEEN; MAX_NR],
            sum: [0.0; MAX_NR],
        }
    }
}

impl DotOp<f32> for Task<'_> {
    type Out = ();

    #[inline(always)]
    fn run<D: Dot<Value = f32>>(self) {
        // Taken and put back: a closure would be a function of its own, compiled without this instruction set.
        let mut scratch = SCRATCH.take();
        {
            let group = D::Element::GROUP;
            let (dim, keys) = (self.flash.head_dim, self.flash.key_places.tokens());
            let (dim_lanes, value_strips) = (D::depth(dim), self.flash.value_dim.div_ceil(D::MR));
            let span = (SPAN / dim / KEY_BLOCK).max(1) * KEY_BLOCK;
            let waiting = if span < keys {
                self.queries.len().div_ceil(D::NR)
            } else {
                1
            };
            let Scratch {
                keys: packed_keys,
                values,
                queries,
                scores,
                weights,
                sums,
            } = &mut scratch;
            packed_keys.room(span.min(keys).div_ceil(D::MR) * dim_lanes * D::MR);
            values.room(D::depth(span.min(keys)) * value_strips * D::MR);
            queries.room(dim_lanes * D::NR);
            scores.room(KEY_BLOCK.max(self.flash.value_dim) * D::NR);
            weights.room(KEY_BLOCK * D::NR);
            sums.room(waiting * value_strips * D::MR * D::NR);
            let mut softmaxes = vec![Softmax::default(); waiting];
            let mut staged = Staged::default();
            let scale = std::f32::consts::LOG2_E / (dim as f32).sqrt();
            let mut tile = Tile::default();
            // Once at least: without keys, too, every row is written.
            for span_start in (0..keys.max(1)).step_by(span) {
                let span = span_start..keys.min(span_start + span);
                self.pack_keys::<D>(&span, &mut staged, packed_keys);
                self.pack_values::<D>(&span, values);
                for (place, first) in self.queries.clone().step_by(D::NR).enumerate() {
                    let rows = first..self.queries.end.min(first + D::NR);
                    let source = self.query_rows(scale);
                    right_panel::<D, _>(&source, rows.clone(), &mut staged, &mut queries[..dim_lanes * D::NR]);
                    let place = place % waiting;
                    let sums = &mut sums[place * value_strips * D::MR * D::NR..][..value_strips * D::MR * D::NR];
                    let softmax = &mut softmaxes[place];
                    if span.start == 0 {
                        sums.fill(0.0);
                        *softmax = Softmax::default();
                    }
                    for start in span.clone().step_by(KEY_BLOCK) {
                        let block = start..span.end.min(start + KEY_BLOCK);
                        let old = softmax.max;
                        for (scores, first) in scores.chunks_exact_mut(D::MR * D::NR).zip(block.clone().step_by(D::MR))
                        {
                            let strip = (first - span.start) / D::MR;
                            let keys = &packed_keys[strip * dim_lanes * D::MR..][..dim_lanes * D::MR];
                            // SAFETY: the slices are as long as the tile's extents; `dispatch` chose D for this CPU.
                            unsafe {
                                D::tile(
                                    ZEROS.as_ptr(),
                                    keys.as_ptr(),
                                    queries.as_ptr(),
                                    dim_lanes,
                                    scores.as_mut_ptr().cast(),
                                )
                            };
                            let keys = first..block.end.min(first + D::MR);
                            self.add_bias(scores, D::NR, &rows, &keys);
                            softmax.raise::<D>(&scores[..keys.len() * D::NR]);
                        }
                        let lanes = D::depth(block.len());
                        scores[block.len() * D::NR..lanes * group * D::NR].fill(f32::NEG_INFINITY);
                        let shrink = softmax.shrink::<D>(&old);
                        softmax.weigh::<D>(&scores[..lanes * group * D::NR], weights);
                        let values = &values[(start - span.start) / group * value_strips * D::MR..];
                        for (values, sums) in values
                            .chunks_exact(lanes * D::MR)
                            .zip(sums.chunks_exact_mut(D::MR * D::NR))
                        {
                            // SAFETY: as above.
                            unsafe {
                                D::tile(
                                    ZEROS.as_ptr(),
                                    values.as_ptr(),
                                    weights.as_ptr(),
                                    lanes,
                                    tile.0.as_mut_ptr(),
                                )
                            };
                            for (sums, tile) in sums.chunks_exact_mut(D::NR).zip(tile.0.chunks_exact(D::NR)) {
                                for ((sum, tile), shrink) in sums.iter_mut().zip(tile).zip(&shrink) {
                                    *sum = <D::Isa as Isa>::fma(*sum, *shrink, f32::from_bits(*tile));
                                }
                            }
                        }
                    }
                    if span.end == keys {
                        self.write::<D>(sums, scores, &softmax.totals(), &rows);
                    }
                }
            }
        }
        SCRATCH.set(scratch);
    }
}

impl Softmax {
    /// Raises the maxima to those of rows of scores.
    #[inline(always)]
    fn raise<D: Dot>(&mut self, scores: &[f32]) {
        for (c, max) in self.max[..D::NR].as_chunks_mut::<COLUMNS>().0.iter_mut().enumerate() {
            let mut highest = *max;
            for row in scores.chunks_exact(D::NR) {
                let row = &row.as_chunks::<COLUMNS>().0[c];
                for (highest, x) in highest.iter_mut().zip(row) {
                    *highest = if *x > *highest { *x } else { *highest };
                }
            }
            *max = highest;
        }
    }

    /// The factor for all sums so far, after the maxima have grown.
    #[inline(always)]
    fn shrink<D: Dot>(&mut self, old: &[f32; MAX_NR]) -> [f32; MAX_NR] {
        let mut shrink = [0f32; MAX_NR];
        for ((shrink, old), max) in shrink[..D::NR].iter_mut().zip(old).zip(&self.max) {
            *shrink = math::exp2::<D::Isa>(old - max);
        }
        self.sum
            .iter_mut()
            .zip(&shrink)
            .for_each(|(sum, shrink)| *sum *= shrink);
        shrink
    }

    /// The sums. NaN, as in PyTorch, where every key was hidden: no bias hides all of them, but scores of −∞ do.
    fn totals(&self) -> [f32; MAX_NR] {
        std::array::from_fn(|query| {
            if self.max[query] == NOTHING_SEEN {
                f32::NAN
            } else {
                self.sum[query]
            }
        })
    }

    /// Turns scores into weights, packed.
    #[inline(always)]
    fn weigh<D: Dot<Value = f32>>(&mut self, scores: &[f32], weights: &mut [u32]) {
        let group = D::Element::GROUP;
        let sums = self.sum[..D::NR].as_chunks_mut::<COLUMNS>().0;
        let maxima = self.max[..D::NR].as_chunks::<COLUMNS>().0;
        for (c, (sum, max)) in sums.iter_mut().zip(maxima).enumerate() {
            let mut total = *sum;
            for (rows, lanes) in scores.chunks_exact(group * D::NR).zip(weights.chunks_exact_mut(D::NR)) {
                let (rows, lanes) = (
                    rows.as_chunks::<COLUMNS>().0,
                    &mut lanes.as_chunks_mut::<COLUMNS>().0[c],
                );
                let mut pair = [[0f32; COLUMNS]; 2];
                for (row, weights) in rows.iter().skip(c).step_by(D::NR / COLUMNS).zip(&mut pair) {
                    for (((weight, x), max), total) in weights.iter_mut().zip(row).zip(max).zip(&mut total) {
                        *weight = math::exp2::<D::Isa>(x - max);
                        *total += *weight;
                    }
                }
                // SAFETY: `dispatch` chose D for this CPU.
                unsafe { D::pair(&pair[0], &pair[1], lanes) };
            }
            *sum = total;
        }
    }
}

impl<'a> Task<'a> {
    /// All queries are places of a map, where there is one.
    fn query_rows(&self, scale: f32) -> HeadRows<'a> {
        let rows = self.rows(self.flash.q, self.flash.query_places, scale);
        let rotation = rows.rotation.map(|rotation| Rotation {
            keys: usize::MAX,
            ..rotation
        });
        HeadRows { rotation, ..rows }
    }

    fn rows(&self, operand: Operand<'a>, places: Places, scale: f32) -> HeadRows<'a> {
        let head_dim = self.flash.head_dim;
        HeadRows {
            operand,
            places,
            padding: self.flash.padding,
            rotation: self.flash.rotation,
            batch: self.batch,
            column: operand.offset + self.head * head_dim,
            head_dim,
            scale,
        }
    }

    #[inline(always)]
    fn pack_keys<D: Dot<Value = f32>>(&self, span: &Range<usize>, staged: &mut Staged, out: &mut [u32]) {
        let source = self.rows(self.flash.k, self.flash.key_places, 1.0);
        let len = D::depth(self.flash.head_dim) * D::MR;
        for (first, out) in span.clone().step_by(D::MR).zip(out.chunks_exact_mut(len)) {
            left_strip::<D, _>(&source, first..span.end.min(first + D::MR), 0, staged, out);
        }
    }

    /// Values are the left-hand side transposed: rows are channels, the depth is the keys.
    #[inline(always)]
    fn pack_values<D: Dot<Value = f32>>(&self, span: &Range<usize>, out: &mut [u32]) {
        let dim = self.flash.value_dim;
        let source = HeadRows {
            column: self.flash.v.offset + self.head * dim,
            head_dim: dim,
            ..self.rows(self.flash.v, self.flash.key_places, 1.0)
        };
        let (group, strips) = (D::Element::GROUP, dim.div_ceil(D::MR));
        for start in span.clone().step_by(KEY_BLOCK) {
            let block = KEY_BLOCK.min(span.end - start);
            let lanes = D::depth(block);
            let out = &mut out[(start - span.start) / group * strips * D::MR..][..lanes * strips * D::MR];
            for lane in 0..block.div_ceil(group) {
                let key = start + lane * group;
                let first = source.row(key);
                let last = if key + 1 < start + block {
                    source.row(key + 1)
                } else {
                    &[]
                };
                for from in (0..dim).step_by(CHANNELS) {
                    let mut packed = [[0u32; COLUMNS]; CHANNELS / COLUMNS];
                    for (i, packed) in packed.iter_mut().enumerate().take((dim - from).div_ceil(COLUMNS)) {
                        let at = from + i * COLUMNS;
                        // SAFETY: `dispatch` chose D for this CPU.
                        unsafe { D::pair(&columns(first, at), &columns(last, at), packed) };
                    }
                    let strips = out.chunks_exact_mut(lanes * D::MR).skip(from / D::MR);
                    for (strip, packed) in strips.zip(packed.as_flattened().chunks_exact(D::MR)) {
                        strip[lane * D::MR..][..D::MR].copy_from_slice(packed);
                    }
                }
            }
            for strip in out.chunks_exact_mut(lanes * D::MR) {
                strip[block.div_ceil(group) * D::MR..].fill(0);
                steps_of_lanes::<D>(strip);
            }
        }
    }

    #[inline(always)]
    fn add_bias(&self, scores: &mut [f32], nr: usize, queries: &Range<usize>, keys: &Range<usize>) {
        const LOG2_E: f32 = std::f32::consts::LOG2_E;
        let keys = scores.chunks_exact_mut(nr).zip(keys.clone());
        match self.flash.bias {
            None => {}
            Some(Bias::Scores {
                values,
                head_stride,
                query_stride,
            }) => {
                let values = &values[self.head * head_stride..];
                for (row, key) in keys {
                    for (score, query) in row.iter_mut().zip(queries.clone()) {
                        *score += values[query * query_stride + key] * LOG2_E;
                    }
                }
            }
            Some(Bias::Cells {
                rows,
                columns,
                width,
                queries: count,
            }) => {
                let height = rows.len() / count / self.flash.heads;
                for (row, key) in keys {
                    let of_row = &rows[(self.head * height + key / width) * count..][queries.clone()];
                    let of_column = &columns[(self.head * width + key % width) * count..][queries.clone()];
                    for ((score, of_row), of_column) in row.iter_mut().zip(of_row).zip(of_column) {
                        *score += (of_row + of_column) * LOG2_E;
                    }
                }
            }
        }
    }

    /// `turned` is room for `sums` transposed.
    #[inline(always)]
    fn write<D: Dot>(&self, sums: &[f32], turned: &mut [f32], totals: &[f32; MAX_NR], queries: &Range<usize>) {
        let (dim, width) = (self.flash.value_dim, self.flash.heads * self.flash.value_dim);
        assert!(sums.len() >= dim * D::NR && turned.len() >= dim * D::NR);
        // SAFETY: both extents by the assertion; `dispatch` chose D for this CPU.
        unsafe { D::transpose(sums.as_ptr().cast(), D::NR, dim, D::NR, turned.as_mut_ptr().cast()) };
        for ((query, sums), total) in queries.clone().zip(turned.chunks_exact(dim)).zip(totals) {
            let Some(row) = self.flash.query_places.row(self.batch, query) else {
                continue;
            };
            let at = row * width + self.head * dim;
            assert!(at + dim <= self.len, "query {query} is outside the output");
            // SAFETY: inside the output by the assertion, and this task's own by `SharedOut`.
            let out = unsafe { std::slice::from_raw_parts_mut(self.out.0.add(at), dim) };
            let shrink = 1.0 / total;
            (out.iter_mut().zip(sums)).for_each(|(out, sum)| _ = out.write(sum * shrink));
        }
    }
}
