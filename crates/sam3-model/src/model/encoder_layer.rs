//! The official `TransformerEncoderLayer`, pre-norm: the fusion and the geometry encoder are stacks of it.

use candle_core::{Result, Tensor};

use crate::{
    model::{mha::MultiheadAttention, mlp::FeedForward},
    ops::{Bias, LayerNorm},
    weights::Weights,
};

const EPS: f64 = 1e-5;

/// Self-attention, attention to something else, feed-forward.
pub struct TransformerEncoderLayer {
    norm1: LayerNorm,
    self_attn: MultiheadAttention,
    norm2: LayerNorm,
    /// Named for what it looks at in the geometry encoder; in the fusion encoder that is the prompt.
    cross_attn_image: MultiheadAttention,
    norm3: LayerNorm,
    ffn: FeedForward,
}

/// What a layer attends to: keys and values `[tokens, d_model]`, and a bias that broadcasts to the scores.
pub struct Memory<'a> {
    pub keys: &'a Tensor,
    pub values: &'a Tensor,
    pub bias: Option<&'a Tensor>,
}

impl TransformerEncoderLayer {
    pub fn load(weights: &Weights, d_model: usize, heads: usize) -> crate::Result<Self> {
        let norm = |name: &str| LayerNorm::load(&weights.pp(name), d_model, EPS);
        Ok(Self {
            norm1: norm("norm1")?,
            self_attn: MultiheadAttention::load(&weights.pp("self_attn"), d_model, heads)?,
            norm2: norm("norm2")?,
            cross_attn_image: MultiheadAttention::load(&weights.pp("cross_attn_image"), d_model, heads)?,
            norm3: norm("norm3")?,
            ffn: FeedForward::load(weights, d_model)?,
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
        let y = self.norm2.forward_operand(x)?;
        let bias = memory.bias.map(Bias::Scores);
        let x = self
            .cross_attn_image
            .forward_add(x, [&y, memory.keys, memory.values], bias)?;
        self.ffn.forward_add(&x, &self.norm3.forward_operand(&x)?)
    }
}
