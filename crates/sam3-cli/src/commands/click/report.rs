//! What was clicked and what that means: as JSON for machines, as a table for people.

use std::path::PathBuf;

use sam3_model::{
    ClickedObject, Instance, Segment,
    masks::Mask,
    report::{
        ClickTimings, Clicked, ClickedRecord, ClicksRecord, ImageRecord, InstanceRecord, Loaded, ObjectRecord,
        PointRecord,
    },
};
use serde::Serialize;

use crate::{
    commands::{
        objects::ObjectFlags,
        segment::{Results, instance_rows},
    },
    output::{plain, table},
};

/// Everything about one image.
pub struct Report<'a> {
    pub image: ImageRecord<'a>,
    pub loaded: &'a Loaded,
    pub timings: ClickTimings,
    pub groups: Vec<Group>,
}

/// What has a label of its own: one object, or everything in the image.
pub struct Group {
    label: String,
    objects: Vec<Object>,
    /// Those of the objects in turn: a mask each, with its predicted IoU as the score.
    instances: Vec<Instance>,
}

/// One object.
struct Object {
    shown: ObjectFlags,
    /// A logit.
    object_score: f32,
    /// Of everything.
    stability: Option<f32>,
    /// How many of the instances are its.
    masks: usize,
}

impl Group {
    /// The object of that number, of what the model says of it.
    pub fn of_object(number: usize, shown: &ObjectFlags, found: &ClickedObject) -> Self {
        let object = Object {
            shown: shown.clone(),
            object_score: found.object_score,
            stability: None,
            masks: found.masks.len(),
        };
        let instances = found.masks.iter().map(|found| instance(found.iou, &found.mask));
        Self {
            label: label(number),
            objects: vec![object],
            instances: instances.collect(),
        }
    }

    /// Everything.
    pub fn of_segments(segments: &[Segment]) -> Self {
        let object = |segment: &Segment| Object {
            shown: ObjectFlags {
                points: vec![(segment.point, true)],
                ..ObjectFlags::default()
            },
            object_score: segment.object_score,
            stability: Some(segment.stability),
            masks: 1,
        };
        Self {
            label: SEGMENT.to_owned(),
            objects: segments.iter().map(object).collect(),
            instances: segments.iter().map(|found| instance(found.iou, &found.mask)).collect(),
        }
    }

    fn head(&self) -> String {
        match &self.objects[..] {
            [
                Object {
                    object_score,
                    stability: None,
                    ..
                },
            ] => format!("{}: object score {object_score:.2}\n", self.label),
            [_] => "1 segment\n".to_owned(),
            objects => format!("{} segments\n", objects.len()),
        }
    }
}

fn instance(iou: f32, mask: &Mask) -> Instance {
    let bbox = mask.bounding_box().unwrap_or_default();
    Instance::new(iou, bbox.map(|side| side as f32), mask.clone())
}

impl Object {
    fn clicks(&self) -> ClicksRecord {
        ClicksRecord {
            points: self.shown.points.iter().map(PointRecord::of).collect(),
            bounding_box: self.shown.bounding_box,
            mask: self.shown.mask.as_deref().map(plain),
        }
    }
}

/// What each of everything is called.
pub const SEGMENT: &str = "segment";

/// What the `number`th object is called.
pub fn label(number: usize) -> String {
    format!("object {number}")
}

impl Results for Report<'_> {
    fn groups(&self) -> impl Iterator<Item = (&str, &[Instance])> {
        self.groups
            .iter()
            .map(|group| (group.label.as_str(), &group.instances[..]))
    }

    fn to_json(&self, with_polygons: bool) -> impl Serialize {
        let mut ids = 1..;
        let mut objects = Vec::new();
        for group in &self.groups {
            let mut instances = group.instances.iter();
            for object in &group.objects {
                let own = instances.by_ref().take(object.masks).map(|instance| ClickedRecord {
                    instance: InstanceRecord::of(&mut ids, instance, with_polygons),
                    iou: instance.score,
                    object_score: object.object_score,
                    stability: object.stability,
                });
                objects.push(ObjectRecord {
                    clicks: object.clicks(),
                    logits: None,
                    instances: own.collect(),
                });
            }
        }
        Clicked::new(self.image, self.loaded.record(), &self.timings, objects)
    }
}

impl Report<'_> {
    /// A line an object, a line a mask, and the files that were written.
    pub fn to_text(&self, files: &[PathBuf]) -> String {
        let ImageRecord {
            file, width, height, ..
        } = self.image;
        let mut text = format!("{}  {width} × {height}\n", file.display());
        for group in &self.groups {
            text += &group.head();
            if !group.instances.is_empty() {
                text += &table(&instance_rows(&group.instances, "iou"));
            }
        }
        let ClickTimings {
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
