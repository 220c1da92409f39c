//! From what the model found to an answer's JSON.

use base64::{Engine, engine::general_purpose::STANDARD};
use sam3_model::{
    masks::Mask,
    report::{Found, ImageRecord, Segmented, Timings},
};

use crate::{
    failure::Failure,
    model::Opened,
    request::{Masks, Wanted},
};

/// An image, for the JSON.
pub struct Picture<'a> {
    /// Width and height.
    pub extents: (u32, u32),
    pub sha256: &'a str,
    /// Pixels in a side of what the model saw.
    pub image_size: usize,
}

impl Picture<'_> {
    pub fn record(&self) -> ImageRecord<'_> {
        ImageRecord {
            file: "-".as_ref(),
            sha256: self.sha256,
            width: self.extents.0,
            height: self.extents.1,
        }
    }
}

/// Answers as `sam3 segment --json` does.
pub fn segmented(
    opened: &Opened,
    picture: &Picture<'_>,
    wanted: &Wanted,
    timings: &Timings,
    found: &[Found<'_>],
) -> Result<Vec<u8>, Failure> {
    let timings = Timings {
        load_ms: opened.load_ms,
        ..timings.clone()
    };
    let record = opened.record(picture.image_size);
    let polygons = wanted.masks == Masks::Polygons;
    let mut answer = Segmented::new(picture.record(), record, wanted.how(), &timings, found, polygons);
    if wanted.masks == Masks::Png {
        for (record, found) in answer.prompts.iter_mut().zip(found) {
            for (record, instance) in record.instances.iter_mut().zip(&found.instances) {
                record.instance.png = Some(png(&instance.mask));
            }
        }
    }
    bytes(&answer)
}

/// A mask as a PNG in base64.
pub fn png(mask: &Mask) -> String {
    STANDARD.encode(mask.to_png())
}

pub fn bytes(answer: &impl serde::Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(answer).map_err(|error| Failure::internal(error.to_string()))
}
