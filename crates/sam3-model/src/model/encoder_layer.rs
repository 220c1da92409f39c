//! The official `TransformerEncoderLayer`, pre-norm: the fusion and the geometry encoder are stacks of it.

use sam3_tensor::{
    Result, Tensor,
    ops::{Attention, Bias, LayerNorm, Mlp},
};

use crate::weights::Weights;

const EPS: f64 = 1e-5;

/// Self-attention, attention to something else, feed-forward.
pub struct TransformerEncoderLayer {
    norm1: LayerNorm,
    self_attn: Attention,
    norm2: LayerNorm,
    /// Named for what it looks at in the geometry encoder; in the fusion encoder that is the prompt.
    cross_attn_image: Attention,
    norm3: LayerNorm,
    ffn: Mlp,
}

/// What a layer attends to: keys and values `[tokens, d_model]`, and a bias that broadcasts to the scores.
pub struct Memory<'a> {
    pub keys: &'a Tensor,
    pub values: &'a Tensor,
    pub bias: Option<&'a Tensor>,
}

impl TransformerEncoderLayer {
    pub fn load(weights: &Weights, d_model: usize, heads: usize) -> crate::Result<Self> {
        let before_products = |name| weights.layer_norm_before_products(name, d_model, EPS);
        Ok(Self {
            // The position is added to what this one makes.
            norm1: weights.layer_norm("norm1", d_model, EPS)?,
            self_attn: weights.attention("self_attn", d_model, heads)?,
            norm2: before_products("norm2")?,
            cross_attn_image: weights.attention("cross_attn_image", d_model, heads)?,
            norm3: before_products("norm3")?,
            ffn: weights.feed_forward(d_model)?,
        })
    }

    /// `x` is `[tokens, d_model]`, `pos` its position encoding in self-attention.
    pub fn forward(&self, x: &Tensor, pos: Option<&Tensor>, memory: &Memory) -> Result<Tensor> {
        self.forward_memory(&self.forward_self(x, pos)?, memory)
    }

    /// The first third of [`forward`](Self::forward): self-attention.
    pub fn forward_self(&self, x: &Tensor, pos: Option<&Tensor>) -> Result<Tensor> {
        let y = self.norm1.forward(x)?;
        let qk = match pos {
            Some(pos) => (&y + pos)?,
            None => y.clone(),
        };
        self.self_attn.forward_add(x, [&qk, &qk, &y], None)
    }

    /// The rest.
    pub fn forward_memory(&self, x: &Tensor, memory: &Memory) -> Result<Tensor> {
        let y = self.norm2.forward(x)?;
        let bias = memory.bias.map(Bias::Scores);
        let x = self
            .cross_attn_image
            .forward_add(x, [&y, memory.keys, memory.values], bias)?;
        self.ffn.forward_add(&x, &self.norm3.forward(&x)?)
    }
}
