//! SAM 3's image detector, stage by stage, under the official names.
//!
//! Nothing here names a device or a thread. Tokens are `[tokens, width]`, feature maps `[height, width,
//! channels]`: the batch is one image and one prompt.

mod decoder;
mod encoder_layer;
mod fusion;
mod geometry;
mod mask_head;
mod mha;
mod mlp;
mod neck;
mod observer;
mod position;
mod scoring;
mod text;
mod vit;

#[cfg(test)]
mod goldens;

use std::{collections::HashMap, path::Path};

use candle_core::{Result, Tensor};

pub use self::{
    geometry::BoxPrompt,
    neck::Pyramid,
    observer::{Clock, Observer, Progress, Stage, StageError, StageTimes, Trace, Watch, Watcher},
    text::TextEncoder,
};
use crate::{config::Config, ops::Compute, weights::Weights};

/// The image detector: what the official code calls `Sam3Image`.
pub struct Sam3Image {
    trunk: vit::ViT,
    neck: neck::Neck,
    /// None where prompts are baked.
    language_backbone: Option<TextEncoder>,
    geometry_encoder: geometry::GeometryEncoder,
    encoder: fusion::FusionEncoder,
    decoder: decoder::Decoder,
    dot_prod_scoring: scoring::DotProductScoring,
    segmentation_head: mask_head::MaskHead,
    /// Sine encoding of the coarsest level: `[grid², d_model]`.
    pos: Tensor,
    grid: usize,
}

/// What is known of an image before there is a prompt.
pub struct Features {
    /// The neck's maps.
    pub pyramid: Pyramid,
    /// The coarsest map's tokens behind the first self-attention of the fusion encoder, which does not see the prompt either:
    /// `[grid², d_model]`.
    pub tokens: Tensor,
}

/// What the text encoder made of a text.
#[derive(Clone)]
pub struct TextFeatures {
    /// `[context, d_model]`.
    pub features: Tensor,
    /// For each token, whether it is padding.
    pub padding: Vec<bool>,
}

impl TextFeatures {
    /// `features` are those of the tokens `ids`, of which 0 is padding.
    pub fn new(features: Tensor, ids: &[u32]) -> Self {
        Self {
            features,
            padding: ids.iter().map(|&id| id == 0).collect(),
        }
    }
}

/// Text and geometry, end to end, as the detector looks at them.
pub struct Prompt {
    /// `[tokens, d_model]`.
    features: Tensor,
    /// `[1, 1, tokens]`: minus infinity on padding, an attention bias.
    padding: Tensor,
    /// `[1, tokens]`: what each token counts for in their mean.
    mean_weights: Tensor,
}

/// Raw outputs for one image and one prompt, under transformers' names.
#[derive(Clone)]
pub struct Detections {
    /// `[1, queries]`.
    pub pred_logits: Tensor,
    /// `[1, queries, 4]`: `x0, y0, x1, y1`, as shares of the image.
    pub pred_boxes: Tensor,
    /// `[1, 1]`.
    pub presence_logits: Tensor,
    /// `[1, queries, height, width]`.
    pub pred_masks: Tensor,
    /// `[1, 1, height, width]`.
    pub semantic_seg: Tensor,
}

impl Detections {
    /// Each output with its name, in transformers' order.
    pub fn named(&self) -> [(&'static str, &Tensor); 5] {
        [
            ("pred_masks", &self.pred_masks),
            ("pred_boxes", &self.pred_boxes),
            ("pred_logits", &self.pred_logits),
            ("presence_logits", &self.presence_logits),
            ("semantic_seg", &self.semantic_seg),
        ]
    }

    /// Writes all outputs as a safetensors file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let tensors: HashMap<_, _> = self.named().map(|(name, tensor)| (name, tensor.clone())).into();
        candle_core::safetensors::save(&tensors, path)
    }
}

impl Sam3Image {
    /// Loads the `detector` of an official state dict.
    pub fn load(weights: &Weights, config: &Config) -> crate::Result<Self> {
        // The trunk alone takes int8 activations: nearly all of the work is its, and it has no coordinates in it.
        let backbone = weights.pp("detector").pp("backbone");
        let detector = weights.pp("detector").with_compute(weights.compute().float());
        let vision = backbone.pp("vision_backbone");
        let transformer = detector.pp("transformer");
        // f32 always, as is all that decides what is found and where: together a fiftieth of the work.
        let exact = detector.with_compute(Compute::F32);
        Ok(Self {
            trunk: vit::ViT::load(&vision.pp("trunk"), &config.vit)?,
            neck: neck::Neck::load(&vision.pp("convs").with_compute(detector.compute()), config)?,
            language_backbone: match &config.text {
                // f32 always, too: baked prompts then equal those encoded on the device.
                Some(text) => Some(TextEncoder::load(
                    &backbone.pp("language_backbone").with_compute(Compute::F32),
                    text,
                    config.d_model,
                )?),
                None => None,
            },
            geometry_encoder: geometry::GeometryEncoder::load(&exact.pp("geometry_encoder"), config)?,
            encoder: fusion::FusionEncoder::load(&transformer.pp("encoder"), config)?,
            decoder: decoder::Decoder::load(&exact.pp("transformer").pp("decoder"), config)?,
            dot_prod_scoring: scoring::DotProductScoring::load(&exact.pp("dot_prod_scoring"), config)?,
            segmentation_head: mask_head::MaskHead::load(&detector.pp("segmentation_head"), config)?,
            pos: position::grid(config.vit.grid(), config.d_model, weights.device())?,
            grid: config.vit.grid(),
        })
    }

    /// `pixels` is `[3, image_size, image_size]`, −1 to 1.
    pub fn encode_image(&self, pixels: &Tensor, observer: &mut dyn Observer) -> crate::Result<Features> {
        let trunk = self.trunk.forward(pixels, observer)?;
        observer.made(Stage::Trunk, "trunk", &trunk);
        let pyramid = self.neck.forward(&trunk, observer)?;
        drop(trunk);
        observer.made(Stage::Neck, "x4", &pyramid.x4);
        observer.made(Stage::Neck, "x2", &pyramid.x2);
        observer.made(Stage::Neck, "x1", &pyramid.x1);
        let tokens = pyramid.x1.reshape((self.grid * self.grid, ()))?;
        let tokens = self.encoder.forward_image(&tokens, &self.pos)?;
        observer.made(Stage::Fusion, "tokens", &tokens);
        Ok(Features { pyramid, tokens })
    }

    /// What makes features of texts; none where prompts are baked.
    pub fn text_encoder(&self) -> Option<&TextEncoder> {
        self.language_backbone.as_ref()
    }

    /// Finds what the prompt means in the image.
    pub fn forward_grounding(
        &self,
        features: &Features,
        text: &TextFeatures,
        boxes: &[BoxPrompt],
        observer: &mut dyn Observer,
    ) -> crate::Result<Detections> {
        let prompt = self.encode_prompt(features, text, boxes, observer)?;
        observer.made(Stage::Geometry, "prompt", &prompt.features);
        let memory = self.encoder.forward(&features.tokens, &self.pos, &prompt, observer)?;
        observer.made(Stage::Fusion, "memory", &memory);
        let decoded = self.decoder.forward(&memory, &self.pos, &prompt, observer)?;
        observer.made(Stage::Decoder, "queries", &decoded.queries);
        observer.made(Stage::Decoder, "boxes", &decoded.boxes);
        observer.made(Stage::Decoder, "presence logit", &decoded.presence_logit);
        let scores = self.dot_prod_scoring.forward(&decoded.queries, &prompt, observer)?;
        observer.made(Stage::Decoder, "logits", &scores);
        let masks = self
            .segmentation_head
            .forward(&decoded.queries, &features.pyramid, &memory, &prompt, observer)?;
        observer.made(Stage::MaskHead, "mask logits", &masks.instances);
        observer.made(Stage::MaskHead, "semantic logits", &masks.semantic);
        Ok(Detections {
            pred_logits: scores.unsqueeze(0)?,
            pred_boxes: cxcywh_to_xyxy(&decoded.boxes)?.unsqueeze(0)?,
            presence_logits: decoded.presence_logit,
            pred_masks: masks.instances.unsqueeze(0)?,
            semantic_seg: masks.semantic.unsqueeze(0)?,
        })
    }

    fn encode_prompt(
        &self,
        features: &Features,
        text: &TextFeatures,
        boxes: &[BoxPrompt],
        observer: &mut dyn Observer,
    ) -> crate::Result<Prompt> {
        let geometry = self
            .geometry_encoder
            .forward(boxes, &features.pyramid.x1, &self.pos, observer)?;
        let mut padding = text.padding.clone();
        padding.resize(padding.len() + geometry.dim(0)?, false);
        let (tokens, valid) = (padding.len(), padding.iter().filter(|&&pad| !pad).count());
        let per_token = |of_padding: f32, of_text: f32| -> Vec<f32> {
            padding
                .iter()
                .map(|&pad| if pad { of_padding } else { of_text })
                .collect()
        };
        let device = geometry.device();
        Ok(Prompt {
            features: Tensor::cat(&[&text.features, &geometry], 0)?,
            padding: Tensor::from_vec(per_token(f32::NEG_INFINITY, 0.0), (1, 1, tokens), device)?,
            mean_weights: Tensor::from_vec(per_token(0.0, 1.0 / valid as f32), (1, tokens), device)?,
        })
    }
}

fn cxcywh_to_xyxy(boxes: &Tensor) -> Result<Tensor> {
    let (center, half) = (boxes.narrow(1, 0, 2)?, (boxes.narrow(1, 2, 2)? * 0.5)?);
    Tensor::cat(&[(&center - &half)?, (center + half)?], 1)
}
