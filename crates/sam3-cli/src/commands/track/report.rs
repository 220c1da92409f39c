//! What is told of a frame, as a line of JSON, and of the whole video, for people.

use std::collections::BTreeMap;

use sam3_model::{
    masks::Rle,
    report::GENERATOR,
    tracking::{FrameObject, FrameResult, ObjectId},
};
use serde::Serialize;

use crate::output::table;

#[derive(Serialize)]
struct Line<'a> {
    /// First: by it, `sam3` knows the file again.
    generator: &'static str,
    frame: usize,
    time_ms: Option<f64>,
    compute_ms: f64,
    objects: Vec<ObjectRecord<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ObjectRecord<'a> {
    Seen {
        id: ObjectId,
        prompt: &'a str,
        score: f32,
        object_score: Option<f32>,
        iou: Option<f32>,
        #[serde(rename = "box")]
        xyxy: [u32; 4],
        segmentation: Rle,
        state: State,
    },
    Removed {
        id: ObjectId,
        prompt: &'a str,
        state: State,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Tracked,
    /// A later frame may remove it.
    Tentative,
    /// Earlier frames showed it, and it was none.
    Removed,
}

/// When a frame was shown and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub number: usize,
    pub time_ms: Option<f64>,
    pub compute_ms: f64,
}

/// What was seen of all objects so far.
#[derive(Debug, Default)]
pub struct Objects {
    seen: BTreeMap<ObjectId, Object>,
    pub frames: usize,
    compute_ms: f64,
}

#[derive(Debug)]
struct Object {
    prompt: String,
    first: usize,
    last: usize,
    frames: usize,
}

impl Objects {
    /// Counts a frame in; `label` tells what an object is called.
    pub fn count(&mut self, result: &FrameResult, timing: Timing, label: impl Fn(&FrameObject) -> String) {
        self.frames += 1;
        self.compute_ms += timing.compute_ms;
        for object in &result.objects {
            let number = timing.number;
            let seen = self.seen.entry(object.id).or_insert_with(|| Object {
                prompt: label(object),
                first: number,
                last: number,
                frames: 0,
            });
            seen.first = seen.first.min(number);
            seen.last = seen.last.max(number);
            seen.frames += 1;
        }
    }

    /// What an object is called that was counted.
    pub fn label(&self, id: ObjectId) -> Option<&str> {
        self.seen.get(&id).map(|object| object.prompt.as_str())
    }

    /// The line of a frame that was counted, with the end of a line.
    pub fn line(&self, result: &FrameResult, timing: Timing) -> serde_json::Result<String> {
        let seen = result.objects.iter().map(|object| ObjectRecord::Seen {
            id: object.id,
            prompt: self.label(object.id).unwrap_or_default(),
            score: object.score,
            object_score: object.object_score,
            iou: object.iou,
            xyxy: object.bbox,
            segmentation: object.mask.to_rle(),
            state: match object.is_tentative {
                true => State::Tentative,
                false => State::Tracked,
            },
        });
        // Who was never shown is nobody's loss.
        let removed = result.removed.iter().filter_map(|&id| {
            Some(ObjectRecord::Removed {
                id,
                prompt: self.label(id)?,
                state: State::Removed,
            })
        });
        let line = Line {
            generator: GENERATOR,
            frame: timing.number,
            time_ms: timing.time_ms,
            compute_ms: timing.compute_ms,
            objects: seen.chain(removed).collect(),
        };
        Ok(serde_json::to_string(&line)? + "\n")
    }

    /// A line an object, and how long it took.
    pub fn to_text(&self) -> String {
        let mut rows = vec![["", "object", "first", "last", "frames"].map(str::to_owned).to_vec()];
        rows.extend(self.seen.iter().map(|(id, object)| {
            let numbers = [object.first, object.last, object.frames].map(|number| number.to_string());
            [vec![id.to_string(), object.prompt.clone()], numbers.to_vec()].concat()
        }));
        let each = self.compute_ms / self.frames.max(1) as f64;
        let count = match self.frames {
            1 => "1 frame".to_owned(),
            frames => format!("{frames} frames"),
        };
        let objects = match self.seen.len() {
            0 => "nothing found\n".to_owned(),
            _ => table(&rows),
        };
        format!("{objects}{count}, {each:.0} ms each\n")
    }
}
