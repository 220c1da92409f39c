//! From what the model found to an answer's JSON.

use base64::{Engine, engine::general_purpose::STANDARD};
use sam3_model::{
    Encoded, Prompt,
    masks::Mask,
    report::{self, How, ImageRecord, Segmented, Timings},
};

use crate::{
    failure::Failure,
    model::{Gone, Opened},
    request::{Masks, Wanted},
};

/// An image, for the JSON.
pub struct Picture<'a> {
    pub encoded: &'a Encoded,
    pub sha256: &'a str,
    /// Pixels in a side of what the model saw.
    pub image_size: usize,
}

impl Picture<'_> {
    pub fn record(&self) -> ImageRecord<'_> {
        ImageRecord {
            file: "-".as_ref(),
            sha256: self.sha256,
            width: self.encoded.width(),
            height: self.encoded.height(),
        }
    }
}

/// Looks for what is wanted in an image, and answers as `sam3 segment --json` does.
pub fn segmented(
    opened: &Opened,
    picture: &Picture<'_>,
    wanted: &Wanted,
    mut timings: Timings,
    gone: &Gone,
) -> Result<Vec<u8>, Failure> {
    let prompts: Vec<Prompt> = wanted.prompts();
    let how = How {
        threshold: wanted.threshold,
        refine: wanted.refine,
    };
    timings.load_ms = opened.load_ms;
    let model = &opened.loaded.segmenter;
    let watch = &mut |_| gone.go_on();
    let (found, _) = report::find(model, picture.encoded, &prompts, how, &mut timings, watch)?;
    let record = opened.record(picture.image_size);
    let polygons = wanted.masks == Masks::Polygons;
    let mut answer = Segmented::new(picture.record(), record, how, &timings, &found, polygons);
    if wanted.masks == Masks::Png {
        for (record, found) in answer.prompts.iter_mut().zip(&found) {
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
