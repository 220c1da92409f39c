//! A frame of a stream that was looked at, as it is shown to those who watch.

use std::sync::OnceLock;

use axum::body::Bytes;
use sam3_model::{
    image::Image,
    masks::{OverlayInstance, overlay},
    report::FrameTiming,
    tracking::FrameObject,
};
use serde::Serialize;

/// Of 100: fine detail stays, at a tenth of a PNG's size.
const QUALITY: u8 = 85;

/// The frame, made into what is asked for once and when somebody asks.
pub struct Seen {
    pub look: Look,
    /// What is told of it, in JSON.
    pub record: Bytes,
    image: Image,
    /// The objects on it, and what they are called.
    objects: Vec<(FrameObject, String)>,
    plain: OnceLock<Bytes>,
    drawn: OnceLock<Bytes>,
}

/// A frame's numbers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Look {
    /// Its number, of all that the source sent.
    pub frame: usize,
    pub width: u32,
    pub height: u32,
    /// Objects on it.
    pub objects: usize,
    pub compute_ms: f64,
    /// From its last byte to its record.
    pub latency_ms: f64,
}

impl Seen {
    pub fn new(look: Look, record: Vec<u8>, image: Image, objects: Vec<(FrameObject, String)>) -> Self {
        Self {
            look,
            record: record.into(),
            image,
            objects,
            plain: OnceLock::new(),
            drawn: OnceLock::new(),
        }
    }

    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Its number, for what is told of it again.
    pub fn timing(&self) -> FrameTiming {
        FrameTiming {
            number: self.look.frame,
            time_ms: None,
            compute_ms: 0.0,
            live: None,
        }
    }

    /// The frame as it came, as a JPEG; none where it is larger than a JPEG can be.
    pub fn plain(&self) -> Option<Bytes> {
        made(&self.plain, || jpeg(&self.image))
    }

    /// The frame with its objects drawn on it.
    pub fn drawn(&self) -> Option<Bytes> {
        made(&self.drawn, || {
            let instances: Vec<_> = self.objects.iter().map(drawn).collect();
            jpeg(&overlay(&self.image, &instances))
        })
    }
}

fn drawn((object, label): &(FrameObject, String)) -> OverlayInstance<'_> {
    OverlayInstance {
        mask: &object.mask,
        bounding_box: None,
        label,
        score: Some(object.score),
        color: object.id as usize,
    }
}

fn made(kept: &OnceLock<Bytes>, make: impl FnOnce() -> Option<Vec<u8>>) -> Option<Bytes> {
    let bytes = kept.get_or_init(|| make().unwrap_or_default().into());
    (!bytes.is_empty()).then(|| bytes.clone())
}

/// None where it is larger than a JPEG can be.
fn jpeg(image: &Image) -> Option<Vec<u8>> {
    let is_jpeg = |side: u32| (1..=u32::from(u16::MAX)).contains(&side);
    (is_jpeg(image.width()) && is_jpeg(image.height())).then(|| image.to_jpeg(QUALITY))
}
