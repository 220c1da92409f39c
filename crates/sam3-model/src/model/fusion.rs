//! The fusion encoder: image tokens look at each other and at the prompt (official `encoder.py`).

use candle_core::{Result, Tensor};

use crate::{
    config::Config,
    model::{
        Prompt,
        encoder_layer::{Memory, TransformerEncoderLayer},
    },
    weights::Weights,
};

pub struct FusionEncoder {
    layers: Vec<TransformerEncoderLayer>,
}

impl FusionEncoder {
    pub fn load(weights: &Weights, config: &Config) -> crate::Result<Self> {
        let layer = |i| TransformerEncoderLayer::load(&weights.pp("layers").pp(i), config.d_model, config.fusion.heads);
        Ok(Self {
            layers: (0..config.fusion.depth).map(layer).collect::<crate::Result<_>>()?,
        })
    }

    /// `features` and `pos` are `[tokens, d_model]`; returns `[tokens, d_model]`.
    pub fn forward(&self, features: &Tensor, pos: &Tensor, prompt: &Prompt) -> Result<Tensor> {
        let mut x = features.clone();
        // The prompt itself is never updated.
        let memory = Memory {
            keys: &prompt.features,
            values: &prompt.features,
            bias: Some(&prompt.padding),
        };
        for layer in &self.layers {
            x = layer.forward(&x, Some(pos), &memory)?;
        }
        Ok(x)
    }
}
