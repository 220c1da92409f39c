//! Attention where one side is a few tokens, and the other an image's: that one is read once, where it lies. Packing it
//! for products, as [`Flash`](super::flash::Flash) does, would be most of the work.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::super::simd::{self, Isa, Op, math};

/// Queries or keys, or channels, of one vector or two.
pub const LANES: usize = 8;
pub type Lanes = [f32; LANES];
/// Tokens that are few, at most.
const MOST: usize = 2 * LANES;
/// Keys whose scores are held at once.
const KEY_BLOCK: usize = 64;
/// Queries that one task takes.
const QUERY_BLOCK: usize = 64;
/// Where a query's maximum begins, and what it is where every score was −∞: see [`super::flash`].
pub const NOTHING_SEEN: f32 = -1e30;

/// One call's inputs, in f32 and without a bias.
#[derive(Clone, Copy)]
pub struct Few<'a> {
    /// `[batch, queries, width]`.
    pub q: &'a [f32],
    /// `[batch, keys, width]`, as `v`.
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub queries: usize,
    pub keys: usize,
    pub width: usize,
    pub heads: usize,
}

impl Few<'_> {
    /// Whether either side is few.
    pub fn is_it(self) -> bool {
        self.width > 0 && self.queries.min(self.keys) > 0 && self.queries.min(self.keys) <= MOST
    }

    /// `out` is `[batch, queries, width]`; all of it is written.
    pub fn run(self, out: &mut [MaybeUninit<f32>]) {
        let [of_queries, of_keys] = [self.queries, self.keys].map(|tokens| tokens * self.width);
        let operands = self.q.chunks_exact(of_queries).zip(self.k.chunks_exact(of_keys));
        let operands = operands.zip(self.v.chunks_exact(of_keys));
        for (((q, k), v), out) in operands.zip(out.chunks_exact_mut(of_queries)) {
            let one = Self { q, k, v, ..self };
            if self.queries <= MOST {
                one.of_few_queries(out);
            } else {
                one.of_few_keys(out);
            }
        }
    }

    fn head_dim(self) -> usize {
        self.width / self.heads
    }

    /// A token's part of a head.
    #[inline(always)]
    fn row(self, values: &[f32], token: usize, head: usize) -> &[f32] {
        &values[token * self.width + head * self.head_dim()..][..self.head_dim()]
    }

    /// Tokens of a head from `first` on, transposed, `[head_dim][LANES]`; zeros beyond the last one.
    fn lanes(self, values: &[f32], first: usize, tokens: usize, head: usize) -> Vec<Lanes> {
        let mut lanes = vec![[0.0; LANES]; self.head_dim()];
        for (lane, token) in (first..tokens).take(LANES).enumerate() {
            let row = self.row(values, token, head);
            lanes.iter_mut().zip(row).for_each(|(lanes, x)| lanes[lane] = *x);
        }
        lanes
    }

    /// The same, multiplied so that scores are for powers of 2.
    fn scaled_lanes(self, values: &[f32], first: usize, tokens: usize, head: usize) -> Vec<Lanes> {
        let scale = std::f32::consts::LOG2_E / (self.head_dim() as f32).sqrt();
        let mut lanes = self.lanes(values, first, tokens, head);
        lanes.as_flattened_mut().iter_mut().for_each(|x| *x *= scale);
        lanes
    }

    fn of_few_queries(self, out: &mut [MaybeUninit<f32>]) {
        let groups = self.queries.div_ceil(LANES);
        let place = |task: usize| (task / groups, task % groups * LANES);
        let found = (0..self.heads * groups).into_par_iter().map(|task| {
            let (head, first) = place(task);
            let q = self.scaled_lanes(self.q, first, self.queries, head);
            simd::dispatch(FewQueries { of: self, head, q: &q })
        });
        for (task, found) in found.collect::<Vec<_>>().into_iter().enumerate() {
            let (head, first) = place(task);
            for (lane, query) in (first..self.queries).take(LANES).enumerate() {
                let out = &mut out[query * self.width + head * self.head_dim()..][..self.head_dim()];
                out.iter_mut().zip(&found).for_each(|(out, x)| _ = out.write(x[lane]));
            }
        }
    }

    fn of_few_keys(self, out: &mut [MaybeUninit<f32>]) {
        let groups = self.keys.div_ceil(LANES);
        let lanes = |i| self.scaled_lanes(self.k, i % groups * LANES, self.keys, i / groups);
        let keys = (0..self.heads * groups).map(lanes).collect::<Vec<_>>().concat();
        let blocks = out.par_chunks_mut(QUERY_BLOCK * self.width).enumerate();
        blocks.for_each(|(block, out)| {
            simd::dispatch(FewKeys {
                of: self,
                keys: &keys,
                first: block * QUERY_BLOCK,
                out,
            });
        });
    }
}

/// What [`LANES`] queries of a head, `q`, `[head_dim][LANES]`, find: as many of the same.
struct FewQueries<'a> {
    of: Few<'a>,
    head: usize,
    q: &'a [Lanes],
}

impl Op for FewQueries<'_> {
    type Out = Vec<Lanes>;

    #[inline(always)]
    fn run<I: Isa>(self) -> Vec<Lanes> {
        let Self { of, head, q } = self;
        let mut sums = vec![[0f32; LANES]; q.len()];
        let (mut max, mut total) = ([NOTHING_SEEN; LANES], [0f32; LANES]);
        let mut weights = [[0f32; LANES]; KEY_BLOCK];
        for start in (0..of.keys).step_by(KEY_BLOCK) {
            let weights = &mut weights[..KEY_BLOCK.min(of.keys - start)];
            let old = max;
            for (key, scores) in (start..).zip(weights.iter_mut()) {
                *scores = product::<I>(of.row(of.k, key, head), q);
                for (max, x) in max.iter_mut().zip(&*scores) {
                    *max = if *x > *max { *x } else { *max };
                }
            }
            let mut shrink = [0f32; LANES];
            for (((shrink, total), old), max) in shrink.iter_mut().zip(&mut total).zip(&old).zip(&max) {
                *shrink = math::exp2::<I>(old - max);
                *total *= *shrink;
            }
            for sums in &mut sums {
                sums.iter_mut().zip(&shrink).for_each(|(sum, shrink)| *sum *= shrink);
            }
            for weights in weights.iter_mut() {
                for ((x, max), total) in weights.iter_mut().zip(&max).zip(&mut total) {
                    *x = math::exp2::<I>(*x - max);
                    *total += *x;
                }
            }
            // As many sums at once as registers hold.
            let (parts, rest) = sums.as_chunks_mut::<LANES>();
            let from = parts.len() * LANES;
            for (part, sums) in parts.iter_mut().enumerate() {
                add_values::<I, LANES>(sums, weights, |key| &of.row(of.v, start + key, head)[part * LANES..]);
            }
            for (channel, sums) in (from..).zip(rest.as_chunks_mut::<1>().0) {
                add_values::<I, 1>(sums, weights, |key| &of.row(of.v, start + key, head)[channel..]);
            }
        }
        let shrink: Lanes = std::array::from_fn(|lane| share(max[lane], total[lane]));
        for sums in &mut sums {
            sums.iter_mut().zip(&shrink).for_each(|(sum, shrink)| *sum *= shrink);
        }
        sums
    }
}

/// Some queries, all heads: `keys` is `[heads][groups of keys][head_dim][LANES]`, `out` the rows of queries from
/// `first` on.
struct FewKeys<'a> {
    of: Few<'a>,
    keys: &'a [Lanes],
    first: usize,
    out: &'a mut [MaybeUninit<f32>],
}

impl Op for FewKeys<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let Self { of, keys, first, out } = self;
        let (dim, groups) = (of.head_dim(), of.keys.div_ceil(LANES));
        for (query, out) in (first..).zip(out.chunks_exact_mut(of.width)) {
            for (head, out) in out.chunks_exact_mut(dim).enumerate() {
                let q = of.row(of.q, query, head);
                let keys = keys[head * groups * dim..].chunks_exact(dim);
                let mut scores = [[0f32; LANES]; MOST / LANES];
                for (scores, keys) in scores[..groups].iter_mut().zip(keys) {
                    *scores = product::<I>(q, keys);
                }
                let weights = &mut scores.as_flattened_mut()[..groups * LANES];
                weights[of.keys..].fill(f32::NEG_INFINITY);
                let max = weights
                    .iter()
                    .fold(NOTHING_SEEN, |max, x| if *x > max { *x } else { max });
                for x in &mut *weights {
                    *x = math::exp2::<I>(*x - max);
                }
                let shrink = share(max, weights.iter().sum());
                for (part, out) in out.chunks_mut(LANES).enumerate() {
                    let mut found = [0f32; LANES];
                    for (key, weight) in weights[..of.keys].iter().enumerate() {
                        let v = &of.row(of.v, key, head)[part * LANES..][..out.len()];
                        for (found, x) in found.iter_mut().zip(v) {
                            *found = I::fma(*weight, *x, *found);
                        }
                    }
                    out.iter_mut()
                        .zip(&found)
                        .for_each(|(out, x)| _ = out.write(x * shrink));
                }
            }
        }
    }
}

/// The sums of `x × lanes`.
#[inline(always)]
fn product<I: Isa>(x: &[f32], lanes: &[Lanes]) -> Lanes {
    let mut sums = [0f32; LANES];
    for (x, lanes) in x.iter().zip(lanes) {
        for (sum, lane) in sums.iter_mut().zip(lanes) {
            *sum = I::fma(*x, *lane, *sum);
        }
    }
    sums
}

/// Adds the first `N` of each key's `values`, by its weights.
#[inline(always)]
pub fn add_values<'a, I: Isa, const N: usize>(
    sums: &mut [Lanes; N],
    weights: &[Lanes],
    values: impl Fn(usize) -> &'a [f32],
) {
    let mut added = *sums;
    for (key, weights) in weights.iter().enumerate() {
        let values: &[f32; N] = values(key).first_chunk().expect("as many channels");
        for (sums, x) in added.iter_mut().zip(values) {
            for (sum, weight) in sums.iter_mut().zip(weights) {
                *sum = I::fma(*x, *weight, *sum);
            }
        }
    }
    *sums = added;
}

/// What a sum of weights is divided by; NaN, as in PyTorch, where every score was −∞.
#[inline(always)]
pub fn share(max: f32, total: f32) -> f32 {
    if max == NOTHING_SEEN { f32::NAN } else { 1.0 / total }
}
