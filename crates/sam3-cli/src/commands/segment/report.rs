//! What was found in one image: as JSON for machines, as a table for people.

use std::{
    ops::RangeFrom,
    path::{Path, PathBuf},
};

use sam3_model::{
    ExemplarBox, Instance, Prompt,
    masks::{Rle, polygons},
};
use serde::{Deserialize, Serialize};

use super::{
    How, Loaded,
    loaded::ModelRecord,
    refine::{self, Refined},
    stamp,
};
use crate::output::{serialize_plain, table};

/// How far a simplified outline may be from the mask's, in pixels.
const POLYGON_TOLERANCE: f64 = 0.75;

/// Everything about one image.
pub struct Report<'a> {
    /// The picture; `-` for stdin.
    pub path: &'a Path,
    /// SHA-256 of the picture's bytes.
    pub sha256: String,
    pub width: u32,
    pub height: u32,
    pub loaded: &'a Loaded,
    pub how: How,
    pub timings: Timings,
    pub found: Vec<Found<'a>>,
}

/// What one prompt found.
pub struct Found<'a> {
    pub prompt: &'a Prompt,
    /// Probability that there is any such thing.
    pub presence: f32,
    pub instances: Vec<Instance>,
    /// What refining changed of each; empty without it.
    pub refined: Vec<Refined>,
}

/// Where the time went, in milliseconds; summed over the prompts.
#[derive(Default, Serialize)]
pub struct Timings {
    /// Opening the model: once for all images.
    pub load_ms: f64,
    /// The image encoder.
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

/// What a command found in an image: instances in groups, such as those of a prompt.
pub trait Results {
    /// Each group's label and instances, in the order of the JSON.
    fn groups(&self) -> impl Iterator<Item = (&str, &[Instance])>;

    /// The documented JSON, with outlines where `with_polygons`.
    fn to_json(&self, with_polygons: bool) -> impl Serialize;

    /// Every instance with its group's label, in the order of the JSON.
    fn instances(&self) -> impl Iterator<Item = (&str, &Instance)> {
        self.groups()
            .flat_map(|(label, instances)| instances.iter().map(move |instance| (label, instance)))
    }

    /// [`to_json`](Self::to_json) as a file's bytes.
    fn to_json_file(&self, with_polygons: bool) -> serde_json::Result<Vec<u8>> {
        let mut json = serde_json::to_vec_pretty(&self.to_json(with_polygons))?;
        json.push(b'\n');
        Ok(json)
    }
}

#[derive(Serialize)]
struct Record<'a> {
    generator: &'static str,
    image: ImageRecord<'a>,
    model: ModelRecord<'a>,
    threshold: f32,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    refined: bool,
    timings: &'a Timings,
    prompts: Vec<PromptRecord<'a>>,
}

/// The image's place in the JSON.
#[derive(Serialize)]
pub struct ImageRecord<'a> {
    /// `-` for stdin.
    #[serde(serialize_with = "serialize_plain")]
    pub file: &'a Path,
    /// Of the file's bytes.
    pub sha256: &'a str,
    pub width: u32,
    pub height: u32,
}

#[derive(Serialize)]
struct PromptRecord<'a> {
    prompt: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    boxes: Vec<BoxRecord>,
    presence: f32,
    instances: Vec<FoundRecord>,
}

#[derive(Serialize)]
struct FoundRecord {
    #[serde(flatten)]
    instance: InstanceRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    refined: Option<Refined>,
}

/// An example box.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct BoxRecord {
    #[serde(rename = "box")]
    xyxy: [f32; 4],
    label: u8,
}

impl BoxRecord {
    /// As the JSON has it.
    pub fn of(exemplar: &ExemplarBox) -> Self {
        Self {
            xyxy: exemplar.xyxy,
            label: exemplar.positive.into(),
        }
    }
}

/// An instance's place in the JSON.
#[derive(Serialize)]
pub struct InstanceRecord {
    id: usize,
    score: f32,
    #[serde(rename = "box")]
    xyxy: [f32; 4],
    area: u64,
    segmentation: Rle,
    #[serde(skip_serializing_if = "Option::is_none")]
    polygons: Option<Vec<Vec<f64>>>,
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

impl InstanceRecord {
    /// With the next of the `ids`, and outlines where `with_polygons`.
    pub fn of(ids: &mut RangeFrom<usize>, instance: &Instance, with_polygons: bool) -> Self {
        Self {
            id: ids.next().expect("there is always another number"),
            score: instance.score,
            xyxy: instance.bbox,
            area: instance.mask.area(),
            segmentation: instance.mask.to_rle(),
            polygons: with_polygons.then(|| polygons(&instance.mask, POLYGON_TOLERANCE)),
        }
    }
}

impl Results for Report<'_> {
    fn groups(&self) -> impl Iterator<Item = (&str, &[Instance])> {
        self.found.iter().map(|found| (found.text(), &found.instances[..]))
    }

    fn to_json(&self, with_polygons: bool) -> impl Serialize {
        let mut ids = 1..;
        let mut prompts = Vec::with_capacity(self.found.len());
        for found in &self.found {
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
        Record {
            generator: stamp::GENERATOR,
            image: ImageRecord {
                file: self.path,
                sha256: &self.sha256,
                width: self.width,
                height: self.height,
            },
            model: self.loaded.record(),
            threshold: self.how.threshold,
            refined: self.how.refine,
            timings: &self.timings,
            prompts,
        }
    }
}

impl Report<'_> {
    /// A line a prompt, a line an instance, and the files that were written.
    pub fn to_text(&self, files: &[PathBuf]) -> String {
        let mut text = format!("{}  {} × {}\n", self.path.display(), self.width, self.height);
        for found in &self.found {
            let count = match found.instances.len() {
                1 => "1 instance".to_owned(),
                n => format!("{n} instances"),
            };
            text += &format!("\"{}\": {count}, presence {:.3}\n", found.text(), found.presence);
            if !found.instances.is_empty() {
                text += &table(&instance_rows(&found.instances, "score"));
            }
            if !found.refined.is_empty() {
                text += &refine::sentence(&found.refined);
            }
        }
        let Timings {
            load_ms,
            encode_ms,
            text_ms,
            detect_ms,
            masks_ms,
            refine_ms,
        } = self.timings;
        text += &format!(
            "load {load_ms:.0} ms, encode {encode_ms:.0} ms, text {text_ms:.0} ms, detect {detect_ms:.0} ms, \
             masks {masks_ms:.0} ms"
        );
        if let Some(refine_ms) = refine_ms {
            text += &format!(", refine {refine_ms:.0} ms");
        }
        text.push('\n');
        for file in files {
            text += &format!("wrote {}\n", file.display());
        }
        text
    }
}

/// The instances' rows, with their head, where their score is called `score`.
pub fn instance_rows(instances: &[Instance], score: &str) -> Vec<Vec<String>> {
    let mut rows = vec![["", score, "x1", "y1", "x2", "y2", "area"].map(str::to_owned).to_vec()];
    rows.extend(instances.iter().enumerate().map(|(index, instance)| {
        let mut row = vec![(index + 1).to_string(), format!("{:.3}", instance.score)];
        row.extend(instance.bbox.iter().map(|side| format!("{side:.0}")));
        row.push(instance.mask.area().to_string());
        row
    }));
    rows
}
