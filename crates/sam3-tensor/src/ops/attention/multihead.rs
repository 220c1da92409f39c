//! `nn.MultiheadAttention` of one sequence to another.

use super::{Bias, attention, folded};
use crate::{Result, Tensor, ops::Linear};

/// Projections of queries, keys and values, attention in heads, and the projection of what it found.
pub struct Attention {
    pub(super) q: Linear,
    pub(super) k: Linear,
    pub(super) v: Linear,
    pub(super) out_proj: Linear,
    pub(super) heads: usize,
}

/// Queries behind their projection.
pub struct Queries(Tensor);

/// Keys and values behind theirs.
pub struct Keys {
    k: Tensor,
    v: Tensor,
}

impl Queries {
    /// What is kept of them.
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }
}

impl Keys {
    /// What is kept of them.
    pub fn tensors(&self) -> [&Tensor; 2] {
        [&self.k, &self.v]
    }
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
        match folded::Side::of(self, q, k).filter(|_| bias.is_none()) {
            Some(folded::Side::Queries) => {
                let found = folded::few_queries(self, &self.q.forward(q)?, k, v)?;
                self.out_proj.forward_add(&found, residual)
            }
            Some(folded::Side::Keys) => {
                let (k, v) = (self.k.forward(k)?, self.v.forward(v)?);
                folded::few_keys(self, residual, q, &k, &v)
            }
            None => {
                let found = self.attend(&self.queries(q)?, &self.keys(k, v)?, bias)?;
                self.out_proj.forward_add(&found, residual)
            }
        }
    }

    /// What `q`, `[queries, width]`, finds in `k` and `v`, `[keys, width]`, alone.
    ///
    /// # Errors
    /// As [`forward_add`](Self::forward_add).
    pub fn forward(&self, [q, k, v]: [&Tensor; 3], bias: Option<Bias<'_>>) -> Result<Tensor> {
        self.out_proj
            .forward(&self.attend(&self.queries(q)?, &self.keys(k, v)?, bias)?)
    }

    /// The projection of queries, `[queries, width]`, for any number of keys.
    ///
    /// # Errors
    /// As [`forward_add`](Self::forward_add).
    pub fn queries(&self, q: &Tensor) -> Result<Queries> {
        Ok(Queries(self.q.forward(q)?.unsqueeze(0)?))
    }

    /// The projections of keys and values, `[keys, width]`, for any number of queries.
    ///
    /// # Errors
    /// As [`forward_add`](Self::forward_add).
    pub fn keys(&self, k: &Tensor, v: &Tensor) -> Result<Keys> {
        Ok(Keys {
            k: self.k.forward(k)?.unsqueeze(0)?,
            v: self.v.forward(v)?.unsqueeze(0)?,
        })
    }

    /// [`forward_add`](Self::forward_add) of what is projected.
    ///
    /// # Errors
    /// As there.
    pub fn forward_add_projected(&self, residual: &Tensor, q: &Queries, keys: &Keys) -> Result<Tensor> {
        self.out_proj.forward_add(&self.attend(q, keys, None)?, residual)
    }

    fn attend(&self, Queries(q): &Queries, Keys { k, v }: &Keys, bias: Option<Bias<'_>>) -> Result<Tensor> {
        attention(self.q.compute(), q, k, v, self.heads, bias)?.squeeze(0)
    }
}
