//! One instance in the JSON, and one example box.

use std::ops::RangeFrom;

use serde::{Deserialize, Serialize};

use crate::{
    masks::{POLYGON_TOLERANCE, Rle, polygons},
    segmenter::{ExemplarBox, Instance},
};

/// An instance's place in the JSON.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceRecord {
    /// Counts from 1 over all prompts or objects.
    pub id: usize,
    /// Confidence, 0 to 1.
    pub score: f32,
    /// `x1, y1, x2, y2` in pixels.
    #[serde(rename = "box")]
    pub xyxy: [f32; 4],
    /// Pixels of the mask.
    pub area: u64,
    /// The mask.
    pub segmentation: Rle,
    /// Its outlines, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polygons: Option<Vec<Vec<f64>>>,
    /// The mask as a PNG in base64, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub png: Option<String>,
}

impl InstanceRecord {
    /// With the next of the `ids`, and outlines where `with_polygons`.
    ///
    /// # Panics
    /// Never: there is always another number.
    pub fn of(ids: &mut RangeFrom<usize>, instance: &Instance, with_polygons: bool) -> Self {
        Self {
            id: ids.next().expect("there is always another number"),
            score: instance.score,
            xyxy: instance.bbox,
            area: instance.mask.area(),
            segmentation: instance.mask.to_rle(),
            polygons: with_polygons.then(|| polygons(&instance.mask, POLYGON_TOLERANCE)),
            png: None,
        }
    }
}

/// An example box.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoxRecord {
    /// `x1, y1, x2, y2` in pixels.
    #[serde(rename = "box")]
    pub xyxy: [f32; 4],
    /// 1 of what is meant, 0 of what is not.
    pub label: u8,
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
