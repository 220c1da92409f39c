//! `nn.MultiheadAttention` of one sequence to another.

use candle_core::{Result, Tensor};

use crate::{
    ops::{self, Bias, Compute, Linear},
    weights::Weights,
};

pub struct MultiheadAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    out_proj: Linear,
    heads: usize,
    compute: Compute,
}

impl MultiheadAttention {
    /// Splits `in_proj_weight` `[3 width, width]`, rows `q | k | v`.
    pub fn load(weights: &Weights, width: usize, heads: usize) -> crate::Result<Self> {
        let in_proj = weights.weight("in_proj_weight", &[3 * width, width])?;
        let bias = weights.tensor("in_proj_bias", &[3 * width])?;
        let part = |index: usize| -> crate::Result<Linear> {
            let rows = index * width..(index + 1) * width;
            Ok(
                Linear::new(in_proj.rows(rows.clone()), Some(bias.narrow(0, rows.start, width)?))
                    .with_compute(weights.compute()),
            )
        };
        Ok(Self {
            q: part(0)?,
            k: part(1)?,
            v: part(2)?,
            out_proj: Linear::load(&weights.pp("out_proj"), width, width)?,
            heads,
            compute: weights.compute(),
        })
    }

    /// `residual` plus what `q`, `[queries, width]`, finds in `k` and `v`, `[keys, width]`.
    pub fn forward_add(&self, residual: &Tensor, [q, k, v]: [&Tensor; 3], bias: Option<Bias<'_>>) -> Result<Tensor> {
        let q = self.q.forward_operand(q)?.unsqueeze(0)?;
        let k = self.k.forward_operand(k)?.unsqueeze(0)?;
        let v = self.v.forward_operand(v)?.unsqueeze(0)?;
        let y = ops::attention(self.compute, &q, &k, &v, self.heads, bias)?;
        self.out_proj.forward_add(&y.squeeze(0)?, residual)
    }
}
