//! The fusion encoder: image tokens look at each other and at the prompt (official `encoder.py`).

use candle_core::{Result, Tensor};

use crate::{
    config::Config,
    model::{Prompt, mha::MultiheadAttention, mlp::FeedForward},
    ops::LayerNorm,
    weights::Weights,
};

const EPS: f64 = 1e-5;

pub struct FusionEncoder {
    layers: Vec<Layer>,
}

impl FusionEncoder {
    pub fn load(weights: &Weights, config: &Config) -> crate::Result<Self> {
        let layer = |i| Layer::load(&weights.pp("layers").pp(i), config.d_model, config.fusion.heads);
        Ok(Self {
            layers: (0..config.fusion.depth).map(layer).collect::<crate::Result<_>>()?,
        })
    }

    /// `features` and `pos` are `[tokens, d_model]`; returns `[tokens, d_model]`.
    pub fn forward(&self, features: &Tensor, pos: &Tensor, prompt: &Prompt) -> Result<Tensor> {
        let mut x = features.clone();
        for layer in &self.layers {
            x = layer.forward(&x, pos, prompt)?;
        }
        Ok(x)
    }
}

/// One pre-norm layer. The prompt itself is never updated.
struct Layer {
    norm1: LayerNorm,
    self_attn: MultiheadAttention,
    norm2: LayerNorm,
    cross_attn_image: MultiheadAttention,
    norm3: LayerNorm,
    ffn: FeedForward,
}

impl Layer {
    fn load(weights: &Weights, d_model: usize, heads: usize) -> crate::Result<Self> {
        let norm = |name: &str| LayerNorm::load(&weights.pp(name), d_model, EPS);
        Ok(Self {
            norm1: norm("norm1")?,
            self_attn: MultiheadAttention::load(&weights.pp("self_attn"), d_model, heads)?,
            norm2: norm("norm2")?,
            // Named for what it was in DETR; here it looks at the prompt.
            cross_attn_image: MultiheadAttention::load(&weights.pp("cross_attn_image"), d_model, heads)?,
            norm3: norm("norm3")?,
            ffn: FeedForward::load(weights, d_model)?,
        })
    }

    fn forward(&self, x: &Tensor, pos: &Tensor, prompt: &Prompt) -> Result<Tensor> {
        let y = self.norm1.forward(x)?;
        let qk = (&y + pos)?;
        let x = (x + self.self_attn.forward(&qk, &qk, &y, None)?)?;
        let y = self.norm2.forward(&x)?;
        let x = (&x
            + self
                .cross_attn_image
                .forward(&y, &prompt.features, &prompt.features, Some(&prompt.padding))?)?;
        &x + self.ffn.forward(&self.norm3.forward(&x)?)?
    }
}
