//! `pvs.json`: what was done, and what the official code found then.

use std::{collections::BTreeMap, fs};

use serde::Deserialize;

use super::folder;
use crate::tracking::ObjectId;

/// All cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub video_size: [u32; 2],
    pub frames: usize,
    pub cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
pub struct Case {
    pub steps: Vec<Step>,
}

/// One step of a case.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Step {
    Points(Points),
    Mask {
        frame: usize,
        object: ObjectId,
        /// The tensor.
        mask: String,
        /// Width, height.
        mask_size: [u32; 2],
        key: String,
        score: f32,
    },
    Commit {
        frames: Vec<Committed>,
        conditioning_frames: Vec<usize>,
    },
    Propagate {
        start: usize,
        reverse: bool,
        max_frames: Option<usize>,
        key: String,
        object_ids: Vec<ObjectId>,
        frames: Vec<Found>,
    },
}

#[derive(Deserialize)]
pub struct Points {
    pub frame: usize,
    pub object: ObjectId,
    /// Shares of the sides.
    pub points: Option<Vec<[f64; 2]>>,
    pub labels: Option<Vec<u8>>,
    #[serde(rename = "box")]
    pub bounding_box: Option<[f64; 4]>,
    pub clear_old_points: bool,
    pub key: String,
    pub points_used: usize,
    pub previous_mask_fed: bool,
    pub score: f32,
    pub iou: f32,
}

#[derive(Deserialize)]
pub struct Committed {
    pub frame: usize,
    pub key: String,
    pub score: Vec<f32>,
    pub iou: Vec<f32>,
}

/// What was found on a frame.
#[derive(Deserialize)]
pub struct Found {
    pub frame: usize,
    pub kind: Kind,
    pub score: Vec<f32>,
    #[serde(default)]
    pub iou: Vec<f32>,
    #[serde(default)]
    pub eff: f32,
    #[serde(default)]
    pub valid: Vec<usize>,
    /// Frame, kind, row.
    #[serde(default)]
    pub memories: Vec<(usize, Kind, usize)>,
    /// Frame, kind, distance.
    #[serde(default)]
    pub pointers: Vec<(usize, Kind, usize)>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Cond,
    Tracked,
}

impl Script {
    pub fn read() -> Self {
        let text = fs::read_to_string(folder().join("pvs.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}
