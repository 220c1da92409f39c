//! `nn.MultiheadAttention` of one sequence to another.

use super::{Bias, attention};
use crate::{Result, Tensor, ops::Linear};

/// Projections of queries, keys and values, attention in heads, and the projection of what it found.
pub struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    out_proj: Linear,
    heads: usize,
}

impl Attention {
    /// Of the projections of queries, keys and values, and that of the result.
    pub fn new([q, k, v]: [Linear; 3], out_proj: Linear, heads: usize) -> Self {
        let [q, k, v] = [q, k, v].map(Linear::before_products);
        Self {
            q,
            k,
            v,
            out_proj,
            heads,
        }
    }

    /// `residual` plus what `q`, `[queries, width]`, finds in `k` and `v`, `[keys, width]`.
    ///
    /// # Errors
    /// When shapes do not fit, there is no room, or the device fails.
    pub fn forward_add(&self, residual: &Tensor, [q, k, v]: [&Tensor; 3], bias: Option<Bias<'_>>) -> Result<Tensor> {
        self.out_proj.forward_add(&self.attend([q, k, v], bias)?, residual)
    }

    /// What `q`, `[queries, width]`, finds in `k` and `v`, `[keys, width]`, alone.
    ///
    /// # Errors
    /// As [`forward_add`](Self::forward_add).
    pub fn forward(&self, [q, k, v]: [&Tensor; 3], bias: Option<Bias<'_>>) -> Result<Tensor> {
        self.out_proj.forward(&self.attend([q, k, v], bias)?)
    }

    fn attend(&self, [q, k, v]: [&Tensor; 3], bias: Option<Bias<'_>>) -> Result<Tensor> {
        let q = self.q.forward(q)?.unsqueeze(0)?;
        let k = self.k.forward(k)?.unsqueeze(0)?;
        let v = self.v.forward(v)?.unsqueeze(0)?;
        attention(self.q.compute(), &q, &k, &v, self.heads, bias)?.squeeze(0)
    }
}
