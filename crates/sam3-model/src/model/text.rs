//! The text encoder: a causal transformer over the prompt's tokens (official `text_encoder_ve.py`).

use sam3_tensor::{
    Result, Tensor, Weight,
    ops::{Activation, Attention, Bias, LayerNorm, Linear, Mlp},
};

use crate::{
    config::TextConfig,
    model::{Observer, Stage, TextFeatures},
    weights::Weights,
};

const EPS: f64 = 1e-5;

pub struct TextEncoder {
    token_embedding: Weight,
    positional_embedding: Tensor,
    resblocks: Vec<ResidualAttentionBlock>,
    ln_final: LayerNorm,
    /// Down to the detector's width.
    resizer: Linear,
    causal: Tensor,
}

impl TextEncoder {
    /// `d_model` is the width of the features.
    pub fn load(weights: &Weights, text: &TextConfig, d_model: usize) -> crate::Result<Self> {
        let encoder = weights.pp("encoder");
        let blocks = encoder.pp("transformer").pp("resblocks");
        let causal: Vec<f32> = (0..text.context * text.context)
            .map(|i| {
                if i % text.context > i / text.context {
                    f32::NEG_INFINITY
                } else {
                    0.0
                }
            })
            .collect();
        Ok(Self {
            token_embedding: encoder.table("token_embedding.weight", &[text.vocab, text.width])?,
            positional_embedding: encoder.tensor("positional_embedding", &[text.context, text.width])?,
            resblocks: (0..text.depth)
                .map(|i| ResidualAttentionBlock::load(&blocks.pp(i), text.width, text.heads))
                .collect::<crate::Result<_>>()?,
            ln_final: encoder.layer_norm_before_products("ln_final", text.width, EPS)?,
            resizer: weights.linear("resizer", text.width, d_model)?,
            causal: weights.constant(causal, (1, text.context, text.context))?,
        })
    }

    /// `ids` are `context` token ids below the vocabulary's size, 0 for padding.
    ///
    /// Padding is not masked: it stands to the right of the text, where causal attention does not look.
    pub fn forward(&self, ids: &[u32], observer: &mut dyn Observer) -> crate::Result<TextFeatures> {
        let mut x = (self.token_embedding.gather(ids)? + &self.positional_embedding)?;
        for (i, block) in self.resblocks.iter().enumerate() {
            x = block.forward(&x, &self.causal)?;
            observer.passed("text.layer", Some(i), &x);
            observer.layer(Stage::Text, i + 1, self.resblocks.len())?;
        }
        Ok(TextFeatures::new(
            self.resizer.forward(&self.ln_final.forward(&x)?)?,
            ids,
        ))
    }
}

struct ResidualAttentionBlock {
    ln_1: LayerNorm,
    attn: Attention,
    ln_2: LayerNorm,
    mlp: Mlp,
}

impl ResidualAttentionBlock {
    fn load(weights: &Weights, width: usize, heads: usize) -> crate::Result<Self> {
        let mlp = weights.pp("mlp");
        let hidden = mlp.rows("c_fc.weight").unwrap_or(4 * width);
        Ok(Self {
            ln_1: weights.layer_norm_before_products("ln_1", width, EPS)?,
            attn: weights.attention("attn", width, heads)?,
            ln_2: weights.layer_norm_before_products("ln_2", width, EPS)?,
            mlp: mlp.mlp(["c_fc", "c_proj"], [width, hidden], Activation::Gelu)?,
        })
    }

    fn forward(&self, x: &Tensor, causal: &Tensor) -> Result<Tensor> {
        let y = self.ln_1.forward(x)?;
        let x = self.attn.forward_add(x, [&y, &y, &y], Some(Bias::Scores(causal)))?;
        self.mlp.forward_add(&x, &self.ln_2.forward(&x)?)
    }
}
