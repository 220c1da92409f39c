//! The mask head: pixel features, and a mask for each query (official `maskformer_segmentation.py`).

use candle_core::{Result, Tensor};

use crate::{
    config::Config,
    model::{Observer, Prompt, mha::MultiheadAttention, mlp::Mlp, neck::Pyramid},
    ops::{self, Bias, Compute, Conv3x3, GroupNorm, LayerNorm, Linear},
    weights::Weights,
};

const EPS: f64 = 1e-5;

pub struct MaskHead {
    cross_attn_norm: LayerNorm,
    cross_attend_prompt: MultiheadAttention,
    pixel_decoder: PixelDecoder,
    /// A 1 × 1 convolution: `[d_model, d_model]` and `[d_model]`.
    instance_seg_head: (Tensor, Tensor),
    semantic_seg_head: Linear,
    mask_embed: Mlp,
}

/// Mask logits.
pub struct Masks {
    /// `[queries, height, width]`.
    pub instances: Tensor,
    /// `[1, height, width]`: all that the prompt means, undivided.
    pub semantic: Tensor,
}

impl MaskHead {
    pub fn load(weights: &Weights, config: &Config) -> crate::Result<Self> {
        let d_model = config.d_model;
        let instance = weights.pp("instance_seg_head");
        let kernel = instance.tensor("weight", &[d_model, d_model, 1, 1])?;
        let semantic = weights.pp("semantic_seg_head");
        Ok(Self {
            cross_attn_norm: LayerNorm::load(&weights.pp("cross_attn_norm"), d_model, EPS)?,
            cross_attend_prompt: MultiheadAttention::load(
                &weights.pp("cross_attend_prompt"),
                d_model,
                config.mask_heads,
            )?,
            pixel_decoder: PixelDecoder::load(&weights.pp("pixel_decoder"), d_model)?,
            instance_seg_head: (
                kernel.reshape((d_model, d_model))?,
                instance.tensor("bias", &[d_model])?,
            ),
            semantic_seg_head: Linear::new(
                semantic.weight("weight", &[1, d_model, 1, 1])?.flatten(),
                Some(semantic.tensor("bias", &[1])?),
            ),
            mask_embed: Mlp::load(&weights.pp("mask_predictor").pp("mask_embed"), &[d_model; 4])?,
        })
    }

    /// `queries` is `[queries, d_model]`, `memory` the fusion encoder's `[side², d_model]`.
    pub fn forward(
        &self,
        queries: &Tensor,
        pyramid: &Pyramid,
        memory: &Tensor,
        prompt: &Prompt,
        observer: &mut dyn Observer,
    ) -> Result<Masks> {
        let normed = self.cross_attn_norm.forward_operand(memory)?;
        let text = &prompt.features;
        let coarse = self
            .cross_attend_prompt
            .forward_add(memory, [&normed, text, text], Some(Bias::Scores(&prompt.padding)))?
            .reshape(pyramid.x1.shape())?;
        observer.passed("mask.coarse", None, &coarse);
        let pixels = self.pixel_decoder.forward(&coarse, pyramid)?;
        observer.passed("mask.pixel_decoder", None, &pixels);
        let (height, width, d_model) = pixels.dims3()?;
        let pixels = pixels.reshape((height * width, d_model))?;
        // A query's mask is its embedding times (kernel × pixel + bias): the kernel goes to the few queries, not to the many pixels.
        let (kernel, bias) = &self.instance_seg_head;
        let embedding = self.mask_embed.forward(queries)?;
        observer.passed("mask.embeddings", None, &embedding);
        let shift = embedding.matmul(&bias.unsqueeze(1)?)?.squeeze(1)?;
        let masks = ops::dots(Compute::F32, &embedding.matmul(kernel)?, &pixels, &shift)?;
        Ok(Masks {
            instances: masks.reshape((queries.dim(0)?, height, width))?,
            semantic: self.semantic_seg_head.forward(&pixels)?.reshape((1, height, width))?,
        })
    }
}

/// Adds the pyramid's finer levels to the coarse map, one convolution each.
struct PixelDecoder {
    stages: [(Conv3x3, GroupNorm); 2],
}

impl PixelDecoder {
    fn load(weights: &Weights, d_model: usize) -> crate::Result<Self> {
        let stage = |i: usize| -> crate::Result<(Conv3x3, GroupNorm)> {
            Ok((
                Conv3x3::load(&weights.pp("conv_layers").pp(i), d_model, d_model)?,
                GroupNorm::load(&weights.pp("norms").pp(i), d_model)?,
            ))
        };
        Ok(Self {
            stages: [stage(0)?, stage(1)?],
        })
    }

    fn forward(&self, coarse: &Tensor, pyramid: &Pyramid) -> Result<Tensor> {
        let mut x = coarse.clone();
        for ((conv, norm), level) in self.stages.iter().zip([&pyramid.x2, &pyramid.x4]) {
            // The finest level is 85 MB: its sum with `x` is never in memory, and the norm is applied in place.
            x = norm.forward_relu(conv.forward_sum(&x, level)?)?;
        }
        Ok(x)
    }
}
