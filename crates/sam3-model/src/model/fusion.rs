//! The fusion encoder: image tokens look at each other and at the prompt (official `encoder.py`).

use sam3_tensor::{Result, Tensor};

use crate::{
    config::DetectorConfig,
    model::{
        Observer, Prompt, Stage,
        encoder_layer::{Memory, TransformerEncoderLayer},
    },
    weights::Weights,
};

pub struct FusionEncoder {
    layers: Vec<TransformerEncoderLayer>,
}

impl FusionEncoder {
    pub fn load(weights: &Weights, d_model: usize, config: &DetectorConfig) -> crate::Result<Self> {
        let layer = |i| TransformerEncoderLayer::load(&weights.pp("layers").pp(i), d_model, config.fusion.heads);
        Ok(Self {
            layers: (0..config.fusion.depth).map(layer).collect::<crate::Result<_>>()?,
        })
    }

    /// What comes before the prompt is first looked at, once an image: `features` and `pos` are `[tokens, d_model]`;
    /// returns the same.
    pub fn forward_image(&self, features: &Tensor, pos: &Tensor) -> Result<Tensor> {
        match self.layers.first() {
            Some(layer) => layer.forward_self(features, Some(pos)),
            None => Ok(features.clone()),
        }
    }

    /// `x` is what [`forward_image`](Self::forward_image) returned; returns `[tokens, d_model]`.
    pub fn forward(
        &self,
        x: &Tensor,
        pos: &Tensor,
        prompt: &Prompt,
        observer: &mut dyn Observer,
    ) -> crate::Result<Tensor> {
        // The prompt itself is never updated.
        let memory = Memory {
            keys: &prompt.features,
            values: &prompt.features,
            bias: Some(&prompt.padding),
        };
        let mut x = x.clone();
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                x = layer.forward_self(&x, Some(pos))?;
            }
            x = layer.forward_memory(&x, &memory)?;
            observer.passed("fusion.layer", Some(i), &x);
            observer.layer(Stage::Fusion, i + 1, self.layers.len())?;
        }
        Ok(x)
    }
}
