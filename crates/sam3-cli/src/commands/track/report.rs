//! What is told of a frame, as a line of JSON, and of the whole video, for people.

use std::collections::BTreeMap;

use sam3_model::{
    report::{FrameRecord, FrameTiming},
    tracking::{FrameObject, FrameResult, ObjectId},
};

use crate::output::table;

/// What was seen of all objects so far.
#[derive(Debug, Default)]
pub struct Objects {
    seen: BTreeMap<ObjectId, Object>,
    pub frames: usize,
    compute_ms: f64,
    /// Frames of a live source that nobody looked at, and the latencies of those that were.
    dropped: usize,
    latency_ms: Vec<f64>,
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
    pub fn count(&mut self, result: &FrameResult, timing: FrameTiming, label: impl Fn(&FrameObject) -> String) {
        self.frames += 1;
        self.compute_ms += timing.compute_ms;
        self.dropped += timing.live.map_or(0, |live| live.dropped);
        self.latency_ms.extend(timing.latency_ms());
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
    pub fn line(&self, result: &FrameResult, timing: FrameTiming) -> serde_json::Result<String> {
        let line = FrameRecord::new(result, timing, |id| self.label(id));
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
        format!("{objects}{count}, {each:.0} ms each{}\n", self.live())
    }

    fn live(&self) -> String {
        let mut latency = self.latency_ms.clone();
        latency.sort_by(f64::total_cmp);
        match latency.get(latency.len() / 2) {
            Some(median) => format!("; {} dropped, latency {median:.0} ms in the median", self.dropped),
            None => String::new(),
        }
    }
}
