//! SAM 3's image detector and its tracker, stage by stage, under the official names.
//!
//! Nothing here names a device, a thread or an element type. Tokens are `[tokens, width]`, feature maps `[height,
//! width, channels]`: the batch is one image and one prompt.

mod decoder;
mod detections;
mod encoder_layer;
mod fusion;
mod geometry;
mod mask_head;
mod mlp;
mod neck;
mod observer;
mod sam;
mod scoring;
mod text;
mod tracker;
mod vit;

#[cfg(test)]
mod goldens;
pub(crate) use detections::write as write_tensors;

use std::sync::{Arc, OnceLock};

use sam3_tensor::{Result, Tensor};

pub use self::{
    detections::Detections,
    geometry::BoxPrompt,
    mask_head::MaskLogits,
    neck::Pyramid,
    observer::{Clock, Observer, Progress, Stage, StageError, StageTimes, Trace, Watch, Watcher},
    sam::{Decoded, Label, Point},
    text::TextEncoder,
    tracker::{Clicked, FrameStart, MemoryTables, MemoryTokens, Tracker, TrackerFeatures, VideoTracker},
    vit::ViT,
};
use crate::{
    config::{Config, DetectorConfig},
    input_size::InputSize,
    weights::Weights,
};

/// What `cell` holds, made when it is first asked for. Two that ask at once both make it.
pub(crate) fn once<T, E>(
    cell: &OnceLock<T>,
    make: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<&T, E> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = make()?;
    Ok(cell.get_or_init(|| value))
}

/// The image detector behind the trunk: what the official code calls `Sam3Image`.
pub struct Sam3Image {
    neck: neck::Neck,
    /// None where prompts are baked.
    language_backbone: Option<TextEncoder>,
    geometry_encoder: geometry::GeometryEncoder,
    encoder: fusion::FusionEncoder,
    decoder: decoder::Decoder,
    dot_prod_scoring: scoring::DotProductScoring,
    segmentation_head: mask_head::MaskHead,
}

/// What is known of an image before there is a prompt.
pub struct Features {
    /// The size that the model sees it at.
    pub size: Arc<InputSize>,
    /// The neck's maps.
    pub pyramid: Pyramid,
    /// The coarsest map's tokens behind the first self-attention of the fusion encoder, which does not see the prompt
    /// either: `[grid², d_model]`.
    pub tokens: Tensor,
}

impl Features {
    /// All that it holds.
    pub fn tensors(&self) -> [&Tensor; 4] {
        let Pyramid { x4, x2, x1, .. } = &self.pyramid;
        [x4, x2, x1, &self.tokens]
    }
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

impl Sam3Image {
    /// Loads the `detector` of an official state dict, which `config` has: the text encoder from `of_texts`, which may
    /// lie elsewhere.
    pub fn load(weights: &Weights, of_texts: &Weights, config: &Config, parts: &DetectorConfig) -> crate::Result<Self> {
        // The trunk alone takes int8 activations: nearly all of the work is its, and it has no coordinates in it.
        let detector = weights.pp("detector").in_floats();
        let backbone = detector.pp("backbone");
        let transformer = detector.pp("transformer");
        // All that decides what is found and where: together a fiftieth of the work.
        let exact = detector.exact();
        let d_model = config.d_model;
        Ok(Self {
            neck: neck::Neck::load(&backbone.pp("vision_backbone").pp("convs"), config)?,
            language_backbone: match &parts.text {
                // Exact, too: baked prompts then equal those encoded on the device.
                Some(text) => Some(TextEncoder::load(
                    &of_texts.exact().pp("detector").pp("backbone").pp("language_backbone"),
                    text,
                    d_model,
                )?),
                None => None,
            },
            geometry_encoder: geometry::GeometryEncoder::load(&exact.pp("geometry_encoder"), d_model, parts)?,
            encoder: fusion::FusionEncoder::load(&transformer.pp("encoder"), d_model, parts)?,
            decoder: decoder::Decoder::load(&exact.pp("transformer").pp("decoder"), d_model, parts)?,
            dot_prod_scoring: scoring::DotProductScoring::load(&exact.pp("dot_prod_scoring"), d_model)?,
            segmentation_head: mask_head::MaskHead::load(&detector.pp("segmentation_head"), d_model, parts)?,
        })
    }

    /// What the detector makes of the trunk's map, `[grid, grid, width]`, which it lets go of.
    pub fn encode_image(
        &self,
        trunk: Tensor,
        size: &Arc<InputSize>,
        observer: &mut dyn Observer,
    ) -> crate::Result<Features> {
        let pyramid = self.neck.forward(&trunk, observer)?;
        drop(trunk);
        observer.made(Stage::Neck, "x4", &pyramid.x4);
        observer.made(Stage::Neck, "x2", &pyramid.x2);
        observer.made(Stage::Neck, "x1", &pyramid.x1);
        let (height, width, d_model) = pyramid.x1.dims3()?;
        let tokens = pyramid.x1.reshape((height * width, d_model))?;
        let tokens = self.encoder.forward_image(&tokens, &size.pos)?;
        observer.made(Stage::Fusion, "tokens", &tokens);
        Ok(Features {
            size: size.clone(),
            pyramid,
            tokens,
        })
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
        let geometry = self.encode_geometry(features, boxes, observer)?;
        self.ground(features, text, &geometry, observer)
    }

    /// What example boxes in an image mean, `[boxes + 1, d_model]`: for that image, and for others that are like it.
    pub fn encode_geometry(
        &self,
        features: &Features,
        boxes: &[BoxPrompt],
        observer: &mut dyn Observer,
    ) -> crate::Result<Tensor> {
        let (x1, pos) = (&features.pyramid.x1, &features.size.pos);
        self.geometry_encoder.forward(boxes, x1, pos, observer)
    }

    /// [`forward_grounding`](Self::forward_grounding) from what [`encode_geometry`](Self::encode_geometry) made.
    pub fn ground(
        &self,
        features: &Features,
        text: &TextFeatures,
        geometry: &Tensor,
        observer: &mut dyn Observer,
    ) -> crate::Result<Detections> {
        let prompt = Prompt::of(text, geometry)?;
        observer.made(Stage::Geometry, "prompt", &prompt.features);
        let size = &features.size;
        let memory = self.encoder.forward(&features.tokens, &size.pos, &prompt, observer)?;
        observer.made(Stage::Fusion, "memory", &memory);
        let decoded = self.decoder.forward(&memory, size, &prompt, observer)?;
        observer.made(Stage::Decoder, "queries", &decoded.queries);
        observer.made(Stage::Decoder, "boxes", &decoded.boxes);
        observer.made(Stage::Decoder, "presence logit", &decoded.presence_logit);
        let scores = self.dot_prod_scoring.forward(&decoded.queries, &prompt, observer)?;
        observer.made(Stage::Decoder, "logits", &scores);
        let masks = self
            .segmentation_head
            .forward(&decoded.queries, &features.pyramid, memory, &prompt, observer)?;
        if observer.wants_all_masks() {
            observer.made(Stage::MaskHead, "mask logits", &masks.instances.all()?);
        }
        observer.made(Stage::MaskHead, "semantic logits", &masks.semantic);
        Ok(Detections {
            pred_logits: scores.unsqueeze(0)?,
            pred_boxes: cxcywh_to_xyxy(&decoded.boxes)?.unsqueeze(0)?,
            presence_logits: decoded.presence_logit,
            pred_masks: masks.instances,
            semantic_seg: masks.semantic.unsqueeze(0)?,
        })
    }
}

impl Prompt {
    fn of(text: &TextFeatures, geometry: &Tensor) -> Result<Self> {
        let mut padding = text.padding.clone();
        padding.resize(padding.len() + geometry.dim(0)?, false);
        let (tokens, valid) = (padding.len(), padding.iter().filter(|&&pad| !pad).count());
        let per_token = |of_padding: f32, of_text: f32| -> Vec<f32> {
            padding
                .iter()
                .map(|&pad| if pad { of_padding } else { of_text })
                .collect()
        };
        Ok(Self {
            features: Tensor::cat(&[&text.features, geometry], 0)?,
            padding: geometry.new_tensor(per_token(f32::NEG_INFINITY, 0.0), (1, 1, tokens))?,
            mean_weights: geometry.new_tensor(per_token(0.0, 1.0 / valid as f32), (1, tokens))?,
        })
    }
}

fn cxcywh_to_xyxy(boxes: &Tensor) -> Result<Tensor> {
    let (center, half) = (boxes.narrow(1, 0, 2)?, (boxes.narrow(1, 2, 2)? * 0.5)?);
    Tensor::cat(&[(&center - &half)?, (center + half)?], 1)
}
