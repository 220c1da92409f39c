//! A scripted video, as `tests/goldens/pcs/README.md` describes it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Read,
    path::PathBuf,
};

use flate2::read::GzDecoder;
use serde::Deserialize;

use super::super::{Detection, Direction, MaskSizes, ObjectId, Tracked, Visit};
use crate::{masks::Mask, testing::crate_folder};

/// What was put in, and what the official code made of it. A field that nothing reads is an error.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub name: String,
    #[serde(rename = "note")]
    _note: String,
    pub mask_side: usize,
    /// Width, height.
    pub video_size: [u32; 2],
    pub frames: usize,
    pub prompt_frame: usize,
    pub prompt: Prompt,
    pub max_frames: Option<usize>,
    /// Run lengths along the rows, the first outside.
    masks: Vec<Vec<usize>>,
    /// By frame, in the order of queries: score, mask, logit inside, logit outside.
    detections: BTreeMap<usize, Vec<(f32, usize, f32, f32)>>,
    /// By frame and object.
    tracks: BTreeMap<usize, BTreeMap<ObjectId, ScriptedTrack>>,
    pub passes: Vec<Pass>,
}

/// Mask, logit inside, logit outside, object score logit.
type ScriptedTrack = (usize, f32, f32, f32);

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Prompt {
    Text,
    Box,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pass {
    pub name: Walk,
    pub steps: Vec<Step>,
    pub emitted: Vec<Emitted>,
}

#[derive(Clone, Copy, Deserialize, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Walk {
    AddPrompt,
    Forward,
    Reverse,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub frame: usize,
    pub reverse: bool,
    pub kept: Vec<usize>,
    pub tracks: Vec<ObjectId>,
    pub scores: Vec<f32>,
    pub cleaned: BTreeMap<ObjectId, usize>,
    pub new: Vec<usize>,
    pub new_ids: Vec<ObjectId>,
    pub unmatched: Vec<ObjectId>,
    pub empty: Vec<ObjectId>,
    pub matched: Vec<Vec<ObjectId>>,
    pub high: Vec<(ObjectId, usize)>,
    pub removed: Vec<ObjectId>,
    pub unmatched_counts: BTreeMap<ObjectId, u32>,
    pub pair_counts: Vec<(ObjectId, ObjectId, u32)>,
    pub suppressed: Vec<ObjectId>,
    pub last_occluded: BTreeMap<ObjectId, usize>,
    pub events: Vec<Event>,
    pub objects: Vec<ObjectId>,
    pub groups: Vec<Vec<ObjectId>>,
}

/// What was asked of the tracker. Areas are of masks of four times the side of a low-resolution one.
#[derive(Clone, Deserialize, Debug, PartialEq)]
#[serde(tag = "do", rename_all = "lowercase", deny_unknown_fields)]
pub enum Event {
    Recondition {
        id: ObjectId,
        area: u64,
        group: Vec<ObjectId>,
    },
    New {
        id: ObjectId,
        area: u64,
        group: Vec<ObjectId>,
    },
    Commit {
        group: Vec<ObjectId>,
    },
    Memory {
        group: Vec<ObjectId>,
        area: Vec<u64>,
        score: Vec<f32>,
    },
    Remove {
        id: ObjectId,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emitted {
    pub frame: usize,
    /// The frame that was processed when it came out.
    pub after: usize,
    pub ids: Vec<ObjectId>,
    pub probs: Vec<f32>,
    pub boxes: Vec<[f32; 4]>,
    pub masks: Vec<usize>,
    pub tracked: usize,
    /// Objects that there was no room for.
    pub dropped: usize,
}

impl Script {
    /// Every scripted video, by name.
    pub fn all() -> Vec<Self> {
        let folder = crate_folder().join("tests/goldens/pcs");
        let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|own| own == "gz"))
            .collect();
        paths.sort();
        let read = |path: PathBuf| {
            let mut text = String::new();
            GzDecoder::new(File::open(&path).unwrap())
                .read_to_string(&mut text)
                .unwrap();
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        paths.into_iter().map(read).collect()
    }

    /// The one of this name.
    pub fn named(name: &str) -> Self {
        Self::all().into_iter().find(|script| script.name == name).unwrap()
    }

    pub fn sizes(&self) -> MaskSizes {
        let [width, height] = self.video_size;
        MaskSizes {
            low_res: self.mask_side,
            width,
            height,
        }
    }

    /// What a pass visits, in order.
    pub fn visits(&self, walk: Walk) -> Vec<Visit> {
        let last = self.max_frames.map_or(self.frames, |frames| self.prompt_frame + frames);
        let (frames, direction): (Vec<usize>, _) = match walk {
            Walk::AddPrompt => (vec![self.prompt_frame], Direction::Forward),
            Walk::Forward => (
                (self.prompt_frame..=last.min(self.frames - 1)).collect(),
                Direction::Forward,
            ),
            Walk::Reverse => ((0..self.prompt_frame).rev().collect(), Direction::Backward),
        };
        frames.into_iter().map(|frame| Visit { frame, direction }).collect()
    }

    /// What the detector finds on a frame.
    pub fn detections(&self, frame: usize) -> Vec<Detection> {
        if self.prompt == Prompt::Box && frame != self.prompt_frame {
            return Vec::new();
        }
        let found = self.detections.get(&frame).into_iter().flatten().enumerate();
        found
            .map(|(query, &(score, mask, inside, outside))| Detection {
                query,
                score,
                logits: self.logits(mask, inside, outside),
            })
            .collect()
    }

    /// What the tracker finds of an object on a frame.
    pub fn track(&self, frame: usize, id: ObjectId) -> Tracked {
        let (mask, inside, outside, object_score) = self.tracks[&frame][&id];
        Tracked {
            logits: self.logits(mask, inside, outside),
            object_score,
            iou: None,
        }
    }

    fn logits(&self, mask: usize, inside: f32, outside: f32) -> Vec<f32> {
        let logit = |is_inside| if is_inside { inside } else { outside };
        self.pixels(mask).into_iter().map(logit).collect()
    }

    /// Low-resolution mask number `mask`, or one of the video's size.
    pub fn mask(&self, mask: usize, width: u32, height: u32) -> Mask {
        let pixels = self.pixels(mask);
        assert_eq!(
            pixels.len(),
            width as usize * height as usize,
            "mask {mask} of {}",
            self.name
        );
        Mask::from_fn(width, height, |x, y| pixels[y as usize * width as usize + x as usize])
    }

    fn pixels(&self, mask: usize) -> Vec<bool> {
        let runs = self.masks[mask].iter().enumerate();
        runs.flat_map(|(run, &len)| std::iter::repeat_n(run % 2 == 1, len))
            .collect()
    }
}
