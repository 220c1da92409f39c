//! What is told of a frame of a video.

use std::time::Instant;

use serde::Serialize;

use super::GENERATOR;
use crate::{
    masks::Rle,
    tracking::{FrameObject, FrameResult, ObjectId},
};

/// A line of `sam3 track`: the objects on one frame.
#[derive(Debug, Serialize)]
pub struct FrameRecord<'a> {
    /// First: by it, `sam3` knows the file again.
    generator: &'static str,
    frame: usize,
    time_ms: Option<f64>,
    compute_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
    objects: Vec<FollowedRecord<'a>>,
}

/// When a frame was shown and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct FrameTiming {
    /// The frame's number in its source.
    pub number: usize,
    /// In milliseconds from the first; none where the source has no rate.
    pub time_ms: Option<f64>,
    /// Milliseconds that the model took.
    pub compute_ms: f64,
    /// Where its source does not wait.
    pub live: Option<LiveTiming>,
}

/// When a frame came, of a source that does not wait.
#[derive(Clone, Copy, Debug)]
pub struct LiveTiming {
    /// When its last byte came: the latency is counted from there until its line is made.
    pub came: Instant,
    /// Frames that came since the one before it, and that nobody looked at.
    pub dropped: usize,
}

impl FrameTiming {
    /// Milliseconds since the frame came, where its source does not wait.
    pub fn latency_ms(&self) -> Option<f64> {
        self.live.map(|live| live.came.elapsed().as_secs_f64() * 1e3)
    }
}

/// An object's place in the JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum FollowedRecord<'a> {
    /// It has a mask on the frame.
    Seen(SeenRecord<'a>),
    /// Earlier frames showed it, and it was none.
    Removed {
        /// The object.
        id: ObjectId,
        /// What it is called.
        prompt: &'a str,
        /// That it was removed.
        state: State,
    },
}

/// An object that has a mask on a frame.
#[derive(Debug, Serialize)]
pub struct SeenRecord<'a> {
    id: ObjectId,
    prompt: &'a str,
    score: f32,
    object_score: Option<f32>,
    iou: Option<f32>,
    #[serde(rename = "box")]
    xyxy: [u32; 4],
    segmentation: Rle,
    state: State,
}

/// Whether an object stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does.
    Tracked,
    /// A later frame may remove it.
    Tentative,
    /// It was removed.
    Removed,
}

impl<'a> FrameRecord<'a> {
    /// Of a frame; `label` tells what an object is called, if any frame showed it.
    pub fn new(result: &FrameResult, timing: FrameTiming, label: impl Fn(ObjectId) -> Option<&'a str>) -> Self {
        let seen = result.objects.iter().map(|object| {
            let prompt = label(object.id).unwrap_or_default();
            FollowedRecord::Seen(SeenRecord::of(object, prompt))
        });
        // Who was never shown is nobody's loss.
        let removed = result.removed.iter().filter_map(|&id| {
            Some(FollowedRecord::Removed {
                id,
                prompt: label(id)?,
                state: State::Removed,
            })
        });
        Self {
            generator: GENERATOR,
            frame: timing.number,
            time_ms: timing.time_ms,
            compute_ms: timing.compute_ms,
            dropped: timing.live.map(|live| live.dropped),
            latency_ms: timing.latency_ms(),
            objects: seen.chain(removed).collect(),
        }
    }
}

impl<'a> SeenRecord<'a> {
    /// Of an object that is called `prompt`.
    pub fn of(object: &FrameObject, prompt: &'a str) -> Self {
        Self {
            id: object.id,
            prompt,
            score: object.score,
            object_score: object.object_score,
            iou: object.iou,
            xyxy: object.bbox,
            segmentation: object.mask.to_rle(),
            state: match object.is_tentative {
                true => State::Tentative,
                false => State::Tracked,
            },
        }
    }
}
