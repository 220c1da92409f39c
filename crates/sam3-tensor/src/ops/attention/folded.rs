//! Attention between a few tokens and an image, neither of whose sides is projected: `q · (W x)` is `(Wᵀ q) · x`, so
//! the tokens take both projections, one a head. To project an image's thousands of cells would be most of what a click
//! costs.
//!
//! Tokens lie side by side by head, `[tokens][lanes]`, where `lanes` are the heads and zeros beyond them: a softmax
//! then runs over vectors of heads.

use rayon::prelude::*;

use super::{
    Attention,
    few::{LANES, Lanes, NOTHING_SEEN, add_values, share},
};
use crate::{
    Result, Tensor,
    ops::{
        Compute, Linear, host, matmul_t,
        simd::{self, Isa, Op, math},
    },
    weight::Weight,
};

/// Rows of the image that one task takes; the sums do not depend on how many threads there are.
const BLOCK: usize = 512;
/// Those whose weights are held at once.
const KEY_BLOCK: usize = 64;

/// Which side is the few tokens.
pub enum Side {
    Queries,
    Keys,
}

impl Side {
    /// Whether one side of `queries` and `keys` is so few that it is less work to fold.
    pub fn of(attention: &Attention, queries: &Tensor, keys: &Tensor) -> Option<Self> {
        let layers = [&attention.q, &attention.k, &attention.v, &attention.out_proj];
        if !host::is_host(queries) || layers.iter().any(|layer| layer.compute() != Compute::F32) {
            return None;
        }
        let inner = attention.q.weight().shape()[0];
        let is_few = |few: usize, many: usize| few > 0 && 4 * few * lanes(attention) <= 3 * inner && many >= 16 * few;
        match (queries.dim(0).ok()?, keys.dim(0).ok()?) {
            (queries, keys) if is_few(queries, keys) => Some(Self::Queries),
            (queries, keys) if is_few(keys, queries) => Some(Self::Keys),
            _ => None,
        }
    }
}

/// What few queries, `[queries, inner]` behind their projection, find in the image's `k` and `v`, `[keys, width]`,
/// before theirs: `[queries, inner]`.
pub fn few_queries(of: &Attention, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (queries, inner) = q.dims2()?;
    let (columns, width) = (queries * lanes(of), v.dim(1)?);
    // The bias of keys adds the same to every score of a query, which changes nothing.
    let folded = matmul_t(&spread_scaled(of, q)?, &transposed(&of.k)?)?;
    let scores = matmul_t(k, &folded)?;
    let (scores, values) = (scores.values::<f32>()?, v.values::<f32>()?);
    let highest = scores.par_chunks(BLOCK * columns).map(|scores| {
        let mut max = vec![NOTHING_SEEN; columns];
        simd::dispatch(Raise { scores, max: &mut max });
        max
    });
    let mut max = vec![NOTHING_SEEN; columns];
    for highest in highest.collect::<Vec<_>>() {
        simd::dispatch(Raise {
            scores: &highest,
            max: &mut max,
        });
    }
    let parts = scores.par_chunks(BLOCK * columns).zip(values.par_chunks(BLOCK * width));
    let parts = parts.map(|(scores, values)| {
        simd::dispatch(Weigh {
            scores,
            values,
            max: &max,
            width,
        })
    });
    let (mut totals, mut sums) = (vec![0f32; columns], vec![[0f32; LANES]; columns / LANES * width]);
    for (of_totals, of_sums) in parts.collect::<Vec<_>>() {
        totals.iter_mut().zip(of_totals).for_each(|(total, x)| *total += x);
        let sums = sums.as_flattened_mut().iter_mut();
        sums.zip(of_sums.as_flattened()).for_each(|(sum, x)| *sum += x);
    }
    let mut found = vec![0f32; columns * width];
    for (column, found) in found.chunks_exact_mut(width).enumerate() {
        let shrink = share(max[column], totals[column]);
        let sums = &sums[column / LANES * width..];
        found
            .iter_mut()
            .zip(sums)
            .for_each(|(found, sums)| *found = sums[column % LANES] * shrink);
    }
    let found = Tensor::from_vec(found, (columns, width), q.device())?;
    // Each head's channels of what that head found.
    let found = matmul_t(&found, &of.v.weight().to_tensor()?)?;
    let (found, dim) = (found.values::<f32>()?, inner / of.heads);
    let mut of_heads = Vec::with_capacity(queries * inner);
    for (query, head) in (0..queries).flat_map(|query| (0..of.heads).map(move |head| (query, head))) {
        of_heads.extend_from_slice(&found[(query * lanes(of) + head) * inner + head * dim..][..dim]);
    }
    let found = Tensor::from_vec(of_heads, (queries, inner), q.device())?;
    of.v.bias().map_or(Ok(found.clone()), |bias| &found + bias)
}

/// `residual` plus what the image's `q`, `[queries, width]` before its projection, finds in few keys and values,
/// `[keys, inner]` behind theirs: `[queries, width]`, behind the last projection.
pub fn few_keys(of: &Attention, residual: &Tensor, q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let k = spread_scaled(of, k)?;
    let shift = match of.q.bias() {
        Some(bias) => Some(matmul_t(&k, &bias.unsqueeze(0)?)?.flatten_all()),
        None => None,
    };
    let scores = Linear::new(Weight::from_tensor(&matmul_t(&k, &transposed(&of.q)?)?)?, shift);
    let mut weights = scores.forward(q)?;
    let (lanes, columns) = (lanes(of), k.dim(0)?);
    weights
        .values_mut::<f32>()?
        .par_chunks_mut(BLOCK * columns)
        .for_each(|scores| {
            simd::dispatch(SoftmaxOfTokens { scores, lanes, columns });
        });
    let values = matmul_t(&of.out_proj.weight().to_tensor()?, &spread(of, v)?)?;
    Linear::new(Weight::from_tensor(&values)?, of.out_proj.bias().cloned()).forward_add(&weights, residual)
}

/// Heads, in whole vectors.
fn lanes(of: &Attention) -> usize {
    of.heads.next_multiple_of(LANES)
}

fn transposed(layer: &Linear) -> Result<Tensor> {
    layer.weight().to_tensor()?.permute([1, 0])
}

/// `[tokens × lanes, inner]`: of each of `tokens`, `[tokens, inner]`, a row a head, which has that head's channels and
/// else zeros.
fn spread(of: &Attention, tokens: &Tensor) -> Result<Tensor> {
    let (count, inner) = tokens.dims2()?;
    let dim = inner / of.heads;
    let mut rows = vec![0f32; count * lanes(of) * inner];
    let of_tokens = rows.chunks_exact_mut(lanes(of) * inner);
    for (rows, token) in of_tokens.zip(tokens.values::<f32>()?.chunks_exact(inner)) {
        let heads = rows.chunks_exact_mut(inner).zip(token.chunks_exact(dim));
        for (head, (row, channels)) in heads.enumerate() {
            row[head * dim..][..dim].copy_from_slice(channels);
        }
    }
    Tensor::from_vec(rows, (count * lanes(of), inner), tokens.device())
}

/// The same, multiplied so that scores are for powers of 2.
fn spread_scaled(of: &Attention, tokens: &Tensor) -> Result<Tensor> {
    let dim = tokens.dim(1)? / of.heads;
    spread(of, tokens)? * (std::f64::consts::LOG2_E / (dim as f64).sqrt())
}

/// Raises the maxima of columns to those of rows of scores.
struct Raise<'a> {
    scores: &'a [f32],
    max: &'a mut [f32],
}

impl Op for Raise<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        for row in self.scores.chunks_exact(self.max.len()) {
            for (max, x) in self.max.iter_mut().zip(row) {
                *max = if *x > *max { *x } else { *max };
            }
        }
    }
}

/// The sums of weights by column, and of rows of `values` by them: `[columns / LANES][width][LANES]`.
struct Weigh<'a> {
    scores: &'a [f32],
    values: &'a [f32],
    max: &'a [f32],
    width: usize,
}

impl Op for Weigh<'_> {
    type Out = (Vec<f32>, Vec<Lanes>);

    #[inline(always)]
    fn run<I: Isa>(self) -> Self::Out {
        let Self {
            scores,
            values,
            max,
            width,
        } = self;
        let columns = max.len();
        let mut totals = vec![0f32; columns];
        let mut sums = vec![[0f32; LANES]; columns / LANES * width];
        let mut weights = [[0f32; LANES]; KEY_BLOCK];
        let (maxima, totals_of) = (max.as_chunks::<LANES>().0, totals.as_chunks_mut::<LANES>().0);
        for (scores, values) in scores.chunks(KEY_BLOCK * columns).zip(values.chunks(KEY_BLOCK * width)) {
            let weights = &mut weights[..scores.len() / columns];
            for (group, (max, total)) in maxima.iter().zip(&mut *totals_of).enumerate() {
                let groups = scores.as_chunks::<LANES>().0.iter().skip(group).step_by(maxima.len());
                for (weights, scores) in weights.iter_mut().zip(groups) {
                    for (((weight, x), max), total) in weights.iter_mut().zip(scores).zip(max).zip(&mut *total) {
                        *weight = math::exp2::<I>(x - max);
                        *total += *weight;
                    }
                }
                let sums = &mut sums[group * width..][..width];
                let (parts, rest) = sums.as_chunks_mut::<LANES>();
                let from = parts.len() * LANES;
                for (part, sums) in parts.iter_mut().enumerate() {
                    add_values::<I, LANES>(sums, weights, |key| &values[key * width + part * LANES..]);
                }
                for (channel, sums) in (from..).zip(rest.as_chunks_mut::<1>().0) {
                    add_values::<I, 1>(sums, weights, |key| &values[key * width + channel..]);
                }
            }
        }
        (totals, sums)
    }
}

/// Scores of rows of queries, `[tokens][lanes]` each, become weights.
struct SoftmaxOfTokens<'a> {
    scores: &'a mut [f32],
    lanes: usize,
    columns: usize,
}

impl Op for SoftmaxOfTokens<'_> {
    type Out = ();

    #[inline(always)]
    fn run<I: Isa>(self) {
        let groups = self.lanes / LANES;
        for row in self.scores.chunks_exact_mut(self.columns) {
            let row = row.as_chunks_mut::<LANES>().0;
            for group in 0..groups {
                let (mut max, mut total) = ([NOTHING_SEEN; LANES], [0f32; LANES]);
                for scores in row.iter().skip(group).step_by(groups) {
                    for (max, x) in max.iter_mut().zip(scores) {
                        *max = if *x > *max { *x } else { *max };
                    }
                }
                for scores in row.iter_mut().skip(group).step_by(groups) {
                    for ((x, max), total) in scores.iter_mut().zip(&max).zip(&mut total) {
                        *x = math::exp2::<I>(*x - max);
                        *total += *x;
                    }
                }
                let shrink: Lanes = std::array::from_fn(|lane| share(max[lane], total[lane]));
                for scores in row.iter_mut().skip(group).step_by(groups) {
                    scores.iter_mut().zip(&shrink).for_each(|(x, shrink)| *x *= shrink);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::plain, Side};
    use crate::{
        Tensor,
        ops::{
            Attention, Linear,
            simd::at_every_level,
            testing::{assert_close, assert_no_number, plain_matmul_t, tensor, with_value},
        },
        weight::Weight,
    };

    /// With weights as small as trained ones, so that scores and what is found stay near 1.
    fn attention(width: usize, inner: usize, heads: usize) -> Attention {
        let linear = |seed, input: usize, output: usize| {
            let weight = (tensor(&[output, input], seed) * (input as f64).sqrt().recip()).unwrap();
            Linear::new(Weight::from_tensor(&weight).unwrap(), Some(tensor(&[output], seed + 1)))
        };
        let projections = [
            linear(1, width, inner),
            linear(3, width, inner),
            linear(5, width, inner),
        ];
        Attention::new(projections, linear(7, inner, width), heads)
    }

    /// The plain twin: every side is projected, and sums are in f64.
    fn projected(of: &Attention, residual: &Tensor, [q, k, v]: [&Tensor; 3]) -> Tensor {
        let linear = |of: &Linear, x: &Tensor| {
            let product = plain_matmul_t(x, &of.weight().to_tensor().unwrap());
            (&product + of.bias().unwrap()).unwrap()
        };
        let [q, k, v] = [(&of.q, q), (&of.k, k), (&of.v, v)].map(|(of, x)| linear(of, x).unsqueeze(0).unwrap());
        let found = plain::attention(&q, &k, &v, of.heads, None).unwrap();
        (residual + &linear(&of.out_proj, &found.squeeze(0).unwrap())).unwrap()
    }

    #[test]
    fn equals_its_plain_twin_whose_sides_are_projected() {
        at_every_level(|| {
            for (few, many, width, inner, heads) in [
                (1, 512, 8, 16, 1),
                (3, 700, 33, 48, 6),
                (8, 1025, 32, 96, 8),
                (2, 600, 20, 90, 9),
            ] {
                let of = attention(width, inner, heads);
                let (token, image) = (tensor(&[few, width], 11), tensor(&[many, width], 12));
                let placed = tensor(&[many, width], 13);
                let what = format!("{few} of {many}, {width} and {inner} wide, {heads} heads");
                let sides: [(&Tensor, [&Tensor; 3]); 2] =
                    [(&token, [&token, &placed, &image]), (&image, [&placed, &token, &token])];
                for (residual, [q, k, v]) in sides {
                    // Few enough, but for those whose heads fill up no vector.
                    let folds = Side::of(&of, q, k).is_some();
                    assert_eq!(folds, 4 * few * heads.next_multiple_of(8) <= 3 * inner, "{what}");
                    let found = of.forward_add(residual, [q, k, v], None).unwrap();
                    assert_close(&found, &projected(&of, residual, [q, k, v]), 5e-6, &what);
                }
            }
        });
    }

    #[test]
    fn of_what_is_no_number_comes_none() {
        at_every_level(|| {
            let of = attention(16, 64, 8);
            let token = tensor(&[2, 16], 1);
            let image = with_value(&[600, 16], 2, 16 * 77 + 3, f32::NAN);
            let found = of.forward_add(&token, [&token, &image, &image], None).unwrap();
            assert_no_number(&found, "few queries");
            let found = of.forward_add(&image, [&image, &token, &token], None).unwrap();
            assert_no_number(&found.rows(77, 1).unwrap(), "few keys");
        });
    }
}
