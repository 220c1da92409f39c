//! What was clicked and what that means: as JSON for machines, as a table for people.

use std::path::{Path, PathBuf};

use sam3_model::{ClickedObject, Instance};
use serde::Serialize;

use crate::{
    commands::{
        objects::ObjectFlags,
        segment::{ImageRecord, InstanceRecord, Loaded, ModelRecord, Results, instance_rows, stamp},
    },
    output::{serialize_plain, table},
};

/// Everything about one image.
pub struct Report<'a> {
    pub image: ImageRecord<'a>,
    pub loaded: &'a Loaded,
    pub timings: Timings,
    pub objects: Vec<Object<'a>>,
}

/// One object.
pub struct Object<'a> {
    /// `object 1` and so on.
    label: String,
    flags: &'a ObjectFlags,
    /// A logit.
    object_score: f32,
    /// A mask each, with its predicted IoU as the score.
    instances: Vec<Instance>,
}

/// Where the time went, in milliseconds.
#[derive(Serialize)]
pub struct Timings {
    /// Opening the model.
    pub load_ms: f64,
    /// The image encoder.
    pub encode_ms: f64,
    /// The tracker's neck, once, and the click head for each object.
    pub click_ms: f64,
}

#[derive(Serialize)]
struct Record<'a> {
    generator: &'static str,
    image: &'a ImageRecord<'a>,
    model: ModelRecord<'a>,
    timings: &'a Timings,
    objects: Vec<ObjectRecord<'a>>,
}

#[derive(Serialize)]
struct ObjectRecord<'a> {
    clicks: ClicksRecord<'a>,
    instances: Vec<ClickedRecord>,
}

#[derive(Serialize)]
struct ClicksRecord<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    points: Vec<PointRecord>,
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    bounding_box: Option<[f32; 4]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mask: Option<MaskRecord<'a>>,
}

#[derive(Serialize)]
struct PointRecord {
    point: [f32; 2],
    label: u8,
}

/// A file's name, as text.
#[derive(Serialize)]
#[serde(transparent)]
struct MaskRecord<'a>(#[serde(serialize_with = "serialize_plain")] &'a Path);

#[derive(Serialize)]
struct ClickedRecord {
    #[serde(flatten)]
    instance: InstanceRecord,
    iou: f32,
    object_score: f32,
}

impl<'a> Object<'a> {
    /// The `number`th, of what the model says of it.
    pub fn new(number: usize, flags: &'a ObjectFlags, found: &ClickedObject) -> Self {
        let instances = found.masks.iter().map(|found| {
            let bbox = found.mask.bounding_box().unwrap_or_default();
            Instance::new(found.iou, bbox.map(|side| side as f32), found.mask.clone())
        });
        Self {
            label: label(number),
            flags,
            object_score: found.object_score,
            instances: instances.collect(),
        }
    }

    fn clicks(&self) -> ClicksRecord<'a> {
        let points = self.flags.points.iter().map(|&(point, positive)| PointRecord {
            point,
            label: positive.into(),
        });
        ClicksRecord {
            points: points.collect(),
            bounding_box: self.flags.bounding_box,
            mask: self.flags.mask.as_deref().map(MaskRecord),
        }
    }
}

/// What the `number`th object is called.
pub fn label(number: usize) -> String {
    format!("object {number}")
}

impl Results for Report<'_> {
    fn groups(&self) -> impl Iterator<Item = (&str, &[Instance])> {
        self.objects
            .iter()
            .map(|object| (object.label.as_str(), &object.instances[..]))
    }

    fn to_json(&self, with_polygons: bool) -> impl Serialize {
        let mut ids = 1..;
        let mut objects = Vec::with_capacity(self.objects.len());
        for object in &self.objects {
            let instances = object.instances.iter().map(|instance| ClickedRecord {
                instance: InstanceRecord::of(&mut ids, instance, with_polygons),
                iou: instance.score,
                object_score: object.object_score,
            });
            objects.push(ObjectRecord {
                clicks: object.clicks(),
                instances: instances.collect(),
            });
        }
        Record {
            generator: stamp::GENERATOR,
            image: &self.image,
            model: self.loaded.record(),
            timings: &self.timings,
            objects,
        }
    }
}

impl Report<'_> {
    /// A line an object, a line a mask, and the files that were written.
    pub fn to_text(&self, files: &[PathBuf]) -> String {
        let ImageRecord {
            file, width, height, ..
        } = self.image;
        let mut text = format!("{}  {width} × {height}\n", file.display());
        for object in &self.objects {
            text += &format!("{}: object score {:.2}\n", object.label, object.object_score);
            text += &table(&instance_rows(&object.instances, "iou"));
        }
        let Timings {
            load_ms,
            encode_ms,
            click_ms,
        } = self.timings;
        text += &format!("load {load_ms:.0} ms, encode {encode_ms:.0} ms, click {click_ms:.0} ms\n");
        for file in files {
            text += &format!("wrote {}\n", file.display());
        }
        text
    }
}
