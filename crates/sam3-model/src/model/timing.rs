//! The forward pass with a clock between its stages.

use std::time::{Duration, Instant};

use candle_core::{Result, Tensor};

use super::{Detections, Features, Sam3Image, TextFeatures, cxcywh_to_xyxy};

/// Wall time of each stage of one image and one text prompt.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageTimes {
    /// The ViT.
    pub trunk: Duration,
    /// The feature pyramid.
    pub neck: Duration,
    /// The text encoder.
    pub text: Duration,
    /// The geometry encoder, which runs for its class token alone.
    pub geometry: Duration,
    /// The fusion encoder.
    pub fusion: Duration,
    /// The decoder and the scores.
    pub decoder: Duration,
    /// The mask head.
    pub masks: Duration,
}

impl StageTimes {
    /// Each stage with its name, in order.
    pub fn named(&self) -> [(&'static str, Duration); 7] {
        [
            ("vision trunk", self.trunk),
            ("vision neck", self.neck),
            ("text encoder", self.text),
            ("geometry encoder", self.geometry),
            ("fusion encoder", self.fusion),
            ("decoder", self.decoder),
            ("mask head", self.masks),
        ]
    }

    /// All stages.
    pub fn total(&self) -> Duration {
        self.named().iter().map(|(_, time)| *time).sum()
    }
}

impl Sam3Image {
    /// [`encode_image`](Self::encode_image), timed.
    pub fn time_image(&self, pixels: &Tensor, times: &mut StageTimes) -> Result<Features> {
        let trunk = lap(&mut times.trunk, || self.trunk.forward(pixels))?;
        lap(&mut times.neck, || self.neck.forward(&trunk))
    }

    /// [`forward_grounding`](Self::forward_grounding) without boxes, timed.
    pub fn time_grounding(
        &self,
        features: &Features,
        text: &TextFeatures,
        times: &mut StageTimes,
    ) -> Result<Detections> {
        let image = features.x1.reshape((self.grid * self.grid, ()))?;
        let prompt = lap(&mut times.geometry, || self.encode_prompt(features, text, &[]))?;
        let memory = lap(&mut times.fusion, || self.encoder.forward(&image, &self.pos, &prompt))?;
        let (decoded, scores) = lap(&mut times.decoder, || {
            let decoded = self.decoder.forward(&memory, &self.pos, self.grid, &prompt)?;
            let scores = self.dot_prod_scoring.forward(&decoded.queries, &prompt)?;
            Ok((decoded, scores))
        })?;
        let masks = lap(&mut times.masks, || {
            self.segmentation_head
                .forward(&decoded.queries, features, &memory, &prompt)
        })?;
        Ok(Detections {
            pred_logits: scores.unsqueeze(0)?,
            pred_boxes: cxcywh_to_xyxy(&decoded.boxes)?.unsqueeze(0)?,
            presence_logits: decoded.presence_logit,
            pred_masks: masks.instances.unsqueeze(0)?,
            semantic_seg: masks.semantic.unsqueeze(0)?,
        })
    }
}

fn lap<T>(time: &mut Duration, stage: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = stage();
    *time = start.elapsed();
    result
}
