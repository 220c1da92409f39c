//! The mask head: pixel features, and a mask for each query (official `maskformer_segmentation.py`).

use sam3_tensor::{
    Result, Tensor,
    ops::{Attention, Bias, Conv3x3, GroupNorm, LayerNorm, Linear, dots, matmul_t},
};

use crate::{
    config::DetectorConfig,
    model::{Observer, Prompt, mlp::Mlp, neck::Pyramid},
    weights::Weights,
};

const EPS: f64 = 1e-5;

pub struct MaskHead {
    cross_attn_norm: LayerNorm,
    cross_attend_prompt: Attention,
    pixel_decoder: PixelDecoder,
    /// A 1 × 1 convolution: its kernel, transposed, `[d_model, d_model]`, and `[d_model]`.
    instance_seg_head: (Tensor, Tensor),
    semantic_seg_head: Linear,
    mask_embed: Mlp,
}

/// The logits of every query's mask, as what they are products of: of all queries they would be the largest tensor of
/// the model, and few are looked at.
#[derive(Clone)]
pub struct MaskLogits {
    /// `[queries, d_model]`.
    pub embeddings: Tensor,
    /// What is added to each query's, `[queries]`.
    pub shift: Tensor,
    /// `[height, width, d_model]`.
    pub pixels: Tensor,
}

impl MaskLogits {
    /// Those of some queries: `[queries, height, width]`.
    pub fn of(&self, queries: &[usize]) -> Result<Tensor> {
        self.product(&self.embeddings.select(queries)?, &self.shift.select(queries)?)
    }

    /// Those of all.
    pub fn all(&self) -> Result<Tensor> {
        self.product(&self.embeddings, &self.shift)
    }

    fn product(&self, embeddings: &Tensor, shift: &Tensor) -> Result<Tensor> {
        let (height, width, d_model) = self.pixels.dims3()?;
        let pixels = self.pixels.reshape((height * width, d_model))?;
        dots(embeddings, &pixels, shift)?.reshape((embeddings.dim(0)?, height, width))
    }
}

/// What the head makes.
pub struct Masks {
    /// One of each query.
    pub instances: MaskLogits,
    /// `[1, height, width]`: all that the prompt means, undivided.
    pub semantic: Tensor,
}

impl MaskHead {
    pub fn load(weights: &Weights, d_model: usize, config: &DetectorConfig) -> crate::Result<Self> {
        let instance = weights.pp("instance_seg_head");
        let kernel = instance.tensor("weight", &[d_model, d_model, 1, 1])?;
        Ok(Self {
            cross_attn_norm: weights.layer_norm_before_products("cross_attn_norm", d_model, EPS)?,
            cross_attend_prompt: weights.attention("cross_attend_prompt", d_model, config.mask_heads)?,
            pixel_decoder: PixelDecoder::load(&weights.pp("pixel_decoder"), d_model)?,
            instance_seg_head: (
                kernel.reshape((d_model, d_model))?.t()?,
                instance.tensor("bias", &[d_model])?,
            ),
            semantic_seg_head: weights.exact().conv_1x1("semantic_seg_head", d_model, 1)?,
            mask_embed: Mlp::load(&weights.pp("mask_predictor").pp("mask_embed"), &[d_model; 4])?,
        })
    }

    /// `queries` is `[queries, d_model]`, `memory` the fusion encoder's `[side², d_model]`, which is let go of as soon
    /// as it was read: the largest maps come after it.
    pub fn forward(
        &self,
        queries: &Tensor,
        pyramid: &Pyramid,
        memory: Tensor,
        prompt: &Prompt,
        observer: &mut dyn Observer,
    ) -> Result<Masks> {
        let coarse = self.attend(&memory, prompt)?.reshape(pyramid.x1.dims())?;
        drop(memory);
        observer.passed("mask.coarse", None, &coarse);
        let pixels = self.pixel_decoder.forward(coarse, pyramid)?;
        observer.passed("mask.pixel_decoder", None, &pixels);
        let (height, width, _) = pixels.dims3()?;
        // A query's mask is its embedding times (kernel × pixel + bias): the kernel goes to the few queries, not to the
        // many pixels.
        let (kernel, bias) = &self.instance_seg_head;
        let embedding = self.mask_embed.forward(queries)?;
        observer.passed("mask.embeddings", None, &embedding);
        let shift = matmul_t(&embedding, &bias.unsqueeze(0)?)?.squeeze(1)?;
        let semantic = self.semantic_seg_head.forward(&pixels)?.reshape((1, height, width))?;
        Ok(Masks {
            instances: MaskLogits {
                embeddings: matmul_t(&embedding, kernel)?,
                shift,
                pixels,
            },
            semantic,
        })
    }

    /// The image looks at the prompt once more.
    fn attend(&self, memory: &Tensor, prompt: &Prompt) -> Result<Tensor> {
        let normed = self.cross_attn_norm.forward(memory)?;
        let (text, bias) = (&prompt.features, Bias::Scores(&prompt.padding));
        self.cross_attend_prompt
            .forward_add(memory, [&normed, text, text], Some(bias))
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
                weights.pp("conv_layers").conv_3x3(&i.to_string(), d_model, d_model)?,
                weights.pp("norms").group_norm(&i.to_string(), d_model)?,
            ))
        };
        Ok(Self {
            stages: [stage(0)?, stage(1)?],
        })
    }

    fn forward(&self, coarse: Tensor, pyramid: &Pyramid) -> Result<Tensor> {
        let mut x = coarse;
        for ((conv, norm), level) in self.stages.iter().zip([&pyramid.x2, &pyramid.x4]) {
            // The finest level is 85 MB: its sum with `x` is never in memory, and the norm is applied in place.
            x = norm.forward_relu(conv.forward_sum(&x, level)?)?;
        }
        Ok(x)
    }
}
