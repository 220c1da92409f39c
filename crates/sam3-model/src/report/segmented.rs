//! What prompts found in an image.

use std::time::Instant;

use serde::Serialize;

use super::{BoxRecord, GENERATOR, ImageRecord, InstanceRecord, ModelRecord, TilingRecord};
use crate::{
    error::Result,
    model::{Detections, Watch},
    segmenter::{Encoded, Instance, Prompt, Segmenter},
    tiling::Tiling,
};

/// What is kept of what was found, and whether it is refined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct How {
    /// Scores above it are kept.
    pub threshold: f32,
    /// Whether each mask goes once through the click head, with its box.
    pub refine: bool,
    /// Whether the picture is looked at tile by tile as well, and by which.
    pub tiling: Option<Tiling>,
}

/// What one prompt found.
#[derive(Debug)]
pub struct Found<'a> {
    /// What was asked for.
    pub prompt: &'a Prompt,
    /// Probability that there is any such thing; with tiles, the highest of theirs and the whole picture's.
    pub presence: f32,
    /// In the order of the model's queries; with tiles, the best first.
    pub instances: Vec<Instance>,
    /// What refining changed of each; empty without it.
    pub refined: Vec<Refined>,
}

/// What became of an instance.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Refined {
    /// The refined mask's predicted IoU with the object.
    pub iou: f32,
    /// The logit of whether the object is there.
    pub object_score: f32,
    /// IoU of the masks before and after: 1 where nothing changed.
    pub iou_with_found: f64,
    /// Pixels of the mask before.
    pub area_found: u64,
}

/// Where the time went, in milliseconds; summed over the prompts.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Timings {
    /// Opening the model: once for all images.
    pub load_ms: f64,
    /// The image encoder; nothing for an image that was encoded before.
    pub encode_ms: f64,
    /// The text encoder; nothing for a text that was encoded for an earlier image.
    pub text_ms: f64,
    /// Geometry and fusion encoders, decoder, mask head.
    pub detect_ms: f64,
    /// Masks at the image's size.
    pub masks_ms: f64,
    /// The tracker's neck, once, and the click head for each instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refine_ms: Option<f64>,
}

/// The JSON of `sam3 segment`.
#[derive(Debug, Serialize)]
pub struct Segmented<'a> {
    generator: &'static str,
    image: ImageRecord<'a>,
    model: ModelRecord<'a>,
    threshold: f32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    refined: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tiling: Option<TilingRecord>,
    timings: &'a Timings,
    /// In the order of the prompts.
    pub prompts: Vec<PromptRecord<'a>>,
}

/// A prompt's place in the JSON.
#[derive(Debug, Serialize)]
pub struct PromptRecord<'a> {
    prompt: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    boxes: Vec<BoxRecord>,
    presence: f32,
    /// In the order of those that were found.
    pub instances: Vec<FoundRecord>,
}

/// An instance's place in the JSON, with what refining changed.
#[derive(Debug, Serialize)]
pub struct FoundRecord {
    /// As it is.
    #[serde(flatten)]
    pub instance: InstanceRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    refined: Option<Refined>,
}

/// Looks for each prompt in an encoded image, and adds to `timings` what that took; also returns the first prompt's raw
/// outputs.
///
/// # Errors
/// As [`Segmenter::segment`] and, where it refines, [`Segmenter::click`]; and where `watch` ends it.
pub fn find<'a>(
    model: &Segmenter,
    encoded: &Encoded,
    prompts: &'a [Prompt],
    how: How,
    timings: &mut Timings,
    watch: &mut Watch<'_>,
) -> Result<(Vec<Found<'a>>, Option<Detections>)> {
    let (mut found, mut first) = (Vec::with_capacity(prompts.len()), None);
    for prompt in prompts {
        let start = Instant::now();
        model.encode_text_watched(prompt, watch)?;
        model.synchronize()?;
        timings.text_ms += milliseconds(start);
        let start = Instant::now();
        let detections = model.detect_watched(encoded, prompt, watch)?;
        model.synchronize()?;
        timings.detect_ms += milliseconds(start);
        let (instances, refined) = kept(model, encoded, &detections, how, timings)?;
        found.push(Found {
            prompt,
            presence: detections.presence()?,
            instances,
            refined,
        });
        first.get_or_insert(detections);
    }
    Ok((found, first))
}

/// What is kept of the raw outputs, and what refining changed of each.
pub(super) fn kept(
    model: &Segmenter,
    encoded: &Encoded,
    detections: &Detections,
    how: How,
    timings: &mut Timings,
) -> Result<(Vec<Instance>, Vec<Refined>)> {
    let start = Instant::now();
    let mut instances = detections.instances(encoded, how.threshold)?;
    timings.masks_ms += milliseconds(start);
    let mut refined = Vec::new();
    if how.refine {
        let start = Instant::now();
        for instance in &mut instances {
            refined.push(refine(model, encoded, instance)?);
        }
        *timings.refine_ms.get_or_insert_default() += milliseconds(start);
    }
    Ok((instances, refined))
}

pub(super) fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// Replaces an instance's mask, and its box by the mask's. An empty mask would be no finer one, and is not taken.
fn refine(model: &Segmenter, encoded: &Encoded, instance: &mut Instance) -> Result<Refined> {
    let found = model.refine(encoded, instance)?;
    let best = found.best();
    let before = instance.mask.clone();
    if let Some(xyxy) = best.mask.bounding_box() {
        instance.bbox = xyxy.map(|side| side as f32);
        instance.mask = best.mask.clone();
    }
    Ok(Refined {
        iou: best.iou,
        object_score: found.object_score,
        iou_with_found: before.iou(&instance.mask).unwrap_or(0.0),
        area_found: before.area(),
    })
}

impl Found<'_> {
    /// The text, or the one that stands for boxes alone.
    pub fn text(&self) -> &str {
        text_of(self.prompt)
    }
}

/// A prompt's text, or the one that stands for boxes alone.
pub fn text_of(prompt: &Prompt) -> &str {
    prompt.text.as_deref().unwrap_or("visual")
}

impl<'a> Segmented<'a> {
    /// Of what was found in one image by one model, with outlines where `with_polygons`.
    pub fn new(
        image: ImageRecord<'a>,
        model: ModelRecord<'a>,
        how: How,
        timings: &'a Timings,
        found: &'a [Found<'a>],
        with_polygons: bool,
    ) -> Self {
        let mut ids = 1..;
        let mut prompts = Vec::with_capacity(found.len());
        for found in found {
            let refined = found.refined.iter().copied().map(Some).chain(std::iter::repeat(None));
            let instances = found.instances.iter().zip(refined);
            prompts.push(PromptRecord {
                prompt: found.text(),
                boxes: found.prompt.boxes.iter().map(BoxRecord::of).collect(),
                presence: found.presence,
                instances: instances
                    .map(|(instance, refined)| FoundRecord {
                        instance: InstanceRecord::of(&mut ids, instance, with_polygons),
                        refined,
                    })
                    .collect(),
            });
        }
        Self {
            generator: GENERATOR,
            threshold: how.threshold,
            refined: how.refine,
            tiling: how.tiling.map(|tiling| TilingRecord::of(&tiling, &image, &model)),
            timings,
            prompts,
            image,
            model,
        }
    }
}
