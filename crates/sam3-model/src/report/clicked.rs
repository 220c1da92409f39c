//! What clicks found in an image.

use serde::Serialize;

use super::{GENERATOR, ImageRecord, InstanceRecord, ModelRecord};

/// The JSON of `sam3 click`.
#[derive(Debug, Serialize)]
pub struct Clicked<'a> {
    generator: &'static str,
    image: ImageRecord<'a>,
    model: ModelRecord<'a>,
    timings: &'a ClickTimings,
    objects: Vec<ObjectRecord>,
}

/// Where the time went, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ClickTimings {
    /// Opening the model.
    pub load_ms: f64,
    /// The image encoder; nothing for an image that was encoded before.
    pub encode_ms: f64,
    /// The tracker's neck, once, and the click head for each object.
    pub click_ms: f64,
}

/// An object's place in the JSON.
#[derive(Debug, Serialize)]
pub struct ObjectRecord {
    /// What it was found by.
    pub clicks: ClicksRecord,
    /// Under what name a server keeps the logits of its best mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logits: Option<String>,
    /// One mask, or three.
    pub instances: Vec<ClickedRecord>,
}

/// What an object was found by.
#[derive(Debug, Default, Serialize)]
pub struct ClicksRecord {
    /// On it and beside it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<PointRecord>,
    /// `x1, y1, x2, y2` in pixels.
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    pub bounding_box: Option<[f32; 4]>,
    /// The name of the mask that was known of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
}

/// A point.
#[derive(Debug, Serialize)]
pub struct PointRecord {
    /// `x, y` in pixels.
    pub point: [f32; 2],
    /// 1 of the object, 0 of what is not.
    pub label: u8,
}

/// A mask's place in the JSON; its score is the predicted IoU.
#[derive(Debug, Serialize)]
pub struct ClickedRecord {
    /// As any other instance.
    #[serde(flatten)]
    pub instance: InstanceRecord,
    /// The mask's predicted IoU with the object.
    pub iou: f32,
    /// The logit of whether the object is there.
    pub object_score: f32,
    /// Of everything: the share of the mask's area that is certain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stability: Option<f32>,
}

impl<'a> Clicked<'a> {
    /// Of what was found in one image by one model.
    pub fn new(
        image: ImageRecord<'a>,
        model: ModelRecord<'a>,
        timings: &'a ClickTimings,
        objects: Vec<ObjectRecord>,
    ) -> Self {
        Self {
            generator: GENERATOR,
            image,
            model,
            timings,
            objects,
        }
    }
}

impl PointRecord {
    /// As the JSON has it.
    pub fn of(&(point, positive): &([f32; 2], bool)) -> Self {
        Self {
            point,
            label: positive.into(),
        }
    }
}
