//! Objects found by a text: detector and tracker together on twelve frames, decision by decision.

use std::fs;

use serde::Deserialize;

use super::{
    super::{InferenceState, OnFrame, Predictor, Retention},
    Expected, Video, apart, differing, folder, picture,
};
use crate::{
    Detections, Result,
    masks::Mask,
    tracking::{
        Detection, Direction, Emission, EmissionBuffer, FrameResult, MaskPrompt, MaskSizes, MemoryMask, ObjectId,
        ObjectIds, TextFrame, TextTracking, Tracked, Tracker, Visit, clean, video_score,
    },
};

/// Frames of the video.
const FRAMES: usize = 12;
/// Logits in a side of a mask.
const SIDE: usize = 64;
/// Tokens of a prompt, padding included.
const CONTEXT: usize = 12;
/// Of logits, as for clicks.
const LOGITS: f32 = 0.02;
/// Of the detector's probabilities and of the tracker's scores.
const PROBABILITIES: f32 = 1e-5;
const SCORES: f32 = 5e-3;
/// Pixels of a mask.
const PIXELS: u64 = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Script {
    tokens: Vec<u32>,
    frames: usize,
    video_size: [u32; 2],
    passes: Vec<Pass>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pass {
    name: String,
    steps: Vec<Step>,
    emitted: Vec<Emitted>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    frame: usize,
    p: Vec<f32>,
    presence: f32,
    kept: Vec<usize>,
    scores: Vec<f32>,
    tracks: Vec<ObjectId>,
    new: Vec<usize>,
    unmatched: Vec<ObjectId>,
    matched: Vec<Vec<ObjectId>>,
    high: Vec<(ObjectId, usize)>,
    empty: Vec<ObjectId>,
    new_ids: Vec<ObjectId>,
    removed: Vec<ObjectId>,
    suppressed: Vec<ObjectId>,
    objects: Vec<ObjectId>,
    groups: Vec<Vec<ObjectId>>,
    conditioning_frames: Vec<Vec<usize>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Emitted {
    frame: usize,
    ids: Vec<ObjectId>,
    probs: Vec<f32>,
    boxes: Vec<[f32; 4]>,
    #[serde(default)]
    areas: Vec<u64>,
    tracked: usize,
}

/// Asks the networks, and writes down what they found.
struct Recorded<'a> {
    on: OnFrame<'a>,
    tracked: Vec<Tracked>,
}

impl Tracker for Recorded<'_> {
    type Group = InferenceState;

    fn new_group(&mut self) -> InferenceState {
        self.on.new_group()
    }

    fn propagate(&mut self, group: &mut InferenceState, visit: Visit) -> Result<Vec<Tracked>> {
        let tracked = Tracker::propagate(&mut self.on, group, visit)?;
        self.tracked.extend(tracked.clone());
        Ok(tracked)
    }

    fn add_mask(&mut self, group: &mut InferenceState, frame: usize, prompt: &MaskPrompt<'_>) -> Result<()> {
        self.on.add_mask(group, frame, prompt)
    }

    fn commit(&mut self, group: &mut InferenceState, frame: usize) -> Result<()> {
        self.on.commit(group, frame)
    }

    fn encode_memory(&mut self, group: &mut InferenceState, frame: usize, masks: &[MemoryMask<'_>]) -> Result<()> {
        self.on.encode_memory(group, frame, masks)
    }

    fn remove(&mut self, group: &mut InferenceState, id: ObjectId) -> Result<()> {
        self.on.remove(group, id)
    }
}

/// What the detector finds on a frame, all of it and what is above the threshold.
fn detect(video: &Video, frame: usize, tokens: &[u32]) -> (Detections, Vec<Detection>) {
    let encoded = video.model.encode(&picture(frame)).unwrap();
    let found = video.model.detect_ids(&encoded, tokens).unwrap();
    let scores = scores(&found);
    let queries: Vec<usize> = (0..scores.len()).filter(|&query| scores[query] > 0.5).collect();
    let detection = |&query: &usize| Detection {
        query,
        score: scores[query],
        logits: found.pred_masks.of(&[query]).unwrap().to_vec().unwrap(),
    };
    let detections = queries.iter().map(detection).collect();
    (found, detections)
}

fn scores(found: &Detections) -> Vec<f32> {
    let presence = found.presence_logits.to_vec::<f32>().unwrap()[0];
    let logits = found.pred_logits.to_vec::<f32>().unwrap().into_iter();
    logits.map(|logit| video_score(logit, presence)).collect()
}

fn check_detections(expected: &Expected, step: &Step, found: &Detections, detections: &[Detection], key: &str) {
    let presence = found.presence_logits.to_vec().unwrap();
    assert!(apart(&presence, &[step.presence], key) < 1e-4, "presence of {key}");
    let difference = apart(&scores(found), &step.p, key);
    assert!(
        difference <= PROBABILITIES,
        "probabilities of {key}: {difference} apart"
    );
    let kept: Vec<&Detection> = step
        .kept
        .iter()
        .map(|kept| detections.iter().find(|detection| detection.query == *kept).unwrap())
        .collect();
    let masks = kept.iter().map(|detection| mask(&detection.logits)).collect::<Vec<_>>();
    check_masks(expected, &masks, &format!("{key}.det_masks"), SIDE as u32);
    if let Some(expected) = expected.get(&format!("{key}.det_logits")) {
        let found: Vec<f32> = kept.iter().flat_map(|detection| detection.logits.clone()).collect();
        let difference = apart(&found, &expected, key);
        assert!(difference <= LOGITS, "detections of {key}: {difference} apart");
    }
}

fn mask(logits: &[f32]) -> Mask {
    let inside = |x: u32, y: u32| logits[y as usize * SIDE + x as usize] > 0.0;
    Mask::from_fn(SIDE as u32, SIDE as u32, inside)
}

fn check_masks(expected: &Expected, found: &[Mask], name: &str, side: u32) {
    let Some(expected) = expected.masks(name, (side, side)) else {
        return;
    };
    assert_eq!(found.len(), expected.len(), "{name}");
    for (found, expected) in found.iter().zip(&expected) {
        let differ = differing(found, expected);
        assert!(differ <= PIXELS, "{name}: {differ} pixels differ");
    }
}

fn check_step(step: &Step, found: &TextFrame, text: &TextTracking<InferenceState>, key: &str) {
    let decisions = &found.decisions;
    let unmatched: Vec<ObjectId> = decisions.unmatched.iter().map(|(id, _)| *id).collect();
    for (what, found, expected) in [
        ("tracks", &decisions.tracks, &step.tracks),
        ("empty", &decisions.empty, &step.empty),
        ("unmatched", &unmatched, &step.unmatched),
        ("new", &decisions.new_ids, &step.new_ids),
        ("removed", &decisions.removed, &step.removed),
        ("suppressed", &decisions.suppressed, &step.suppressed),
    ] {
        assert_eq!(found, expected, "{what}: {key}");
    }
    assert_eq!((&decisions.kept, &decisions.new), (&step.kept, &step.new), "{key}");
    assert_eq!(
        (&decisions.matched, &decisions.high),
        (&step.matched, &step.high),
        "{key}"
    );
    let groups: Vec<Vec<ObjectId>> = text.groups().collect();
    assert_eq!(
        (&groups, groups.concat()),
        (&step.groups, step.objects.clone()),
        "{key}"
    );
    assert!(
        text.states()
            .map(InferenceState::ids)
            .eq(groups.iter().map(Vec::as_slice)),
        "{key}"
    );
    let conditioning: Vec<Vec<usize>> = text.states().map(InferenceState::conditioning_frames).collect();
    assert_eq!(conditioning, step.conditioning_frames, "{key}");
}

fn check_tracked(expected: &Expected, step: &Step, tracked: &[Tracked], key: &str) {
    let found: Vec<f32> = tracked.iter().map(|track| track.object_score).collect();
    let difference = apart(&found, &step.scores, key);
    assert!(difference <= SCORES, "scores of {key}: {difference} apart");
    let mut logits: Vec<Vec<f32>> = tracked.iter().map(|track| track.logits.clone()).collect();
    logits.iter_mut().for_each(|logits| drop(clean(logits, SIDE)));
    let masks: Vec<Mask> = logits.iter().map(|logits| mask(logits)).collect();
    check_masks(expected, &masks, &format!("{key}.track_masks"), SIDE as u32);
    if let Some(expected) = expected.get(&format!("{key}.track_logits")) {
        let difference = apart(&logits.concat(), &expected, key);
        assert!(difference <= LOGITS, "tracks of {key}: {difference} apart");
    }
}

fn check_emitted(expected: &Expected, step: &Emitted, found: &FrameResult, pass: &str, side: u32) {
    let key = format!("{pass}.{:02}", step.frame);
    assert_eq!((found.frame, found.tracked), (step.frame, step.tracked), "{key}");
    let ids: Vec<ObjectId> = found.objects.iter().map(|object| object.id).collect();
    assert_eq!(ids, step.ids, "{key}");
    for ((object, prob), expected) in found.objects.iter().zip(&step.probs).zip(&step.boxes) {
        assert!((object.score - prob).abs() <= PROBABILITIES, "{key}");
        assert!(apart(&object.bbox_xywh(), expected, &key) < 1e-6, "box of {key}");
    }
    for (object, area) in found.objects.iter().zip(&step.areas) {
        assert!(object.mask.area().abs_diff(*area) <= PIXELS, "area of {key}");
    }
    let masks: Vec<Mask> = found.objects.iter().map(|object| object.mask.clone()).collect();
    check_masks(expected, &masks, &format!("{key}.masks"), side);
}

/// Walks through both passes with a state of which so much is kept.
fn run(video: &Video, retention: Retention) {
    let script = fs::read_to_string(folder().join("e2e.json")).unwrap();
    let script: Script = serde_json::from_str(&script).unwrap();
    let expected = Expected::open("e2e.safetensors");
    let [width, height] = script.video_size;
    assert_eq!((script.frames, script.passes.len()), (FRAMES, 2));
    let mut tokens = script.tokens.clone();
    tokens.resize(CONTEXT, 0);
    let found: Vec<_> = (0..FRAMES).map(|frame| detect(video, frame, &tokens)).collect();
    let predictor: Predictor = video.predictor((width, height), FRAMES, retention);
    let mut ids = ObjectIds::default();
    let mut text = TextTracking::new(MaskSizes {
        low_res: SIDE,
        width,
        height,
    });
    for pass in &script.passes {
        let mut buffer = EmissionBuffer::new(Emission::Final);
        let mut emitted = Vec::new();
        for step in &pass.steps {
            let key = format!("{}.{:02}", pass.name, step.frame);
            let (all, detections) = &found[step.frame];
            check_detections(&expected, step, all, detections, &key);
            let frame = video.frame(step.frame);
            let visit = Visit {
                frame: step.frame,
                direction: Direction::Forward,
            };
            let mut tracker = Recorded {
                on: predictor.on(&frame),
                tracked: Vec::new(),
            };
            let found = text.step(&mut tracker, &mut ids, visit, detections).unwrap();
            check_tracked(&expected, step, &tracker.tracked, &key);
            check_step(step, &found, &text, &key);
            emitted.extend(buffer.push(step.frame, vec![found]));
        }
        emitted.extend(buffer.finish());
        assert_eq!(emitted.len(), pass.emitted.len(), "{}", pass.name);
        for (step, found) in pass.emitted.iter().zip(&emitted) {
            check_emitted(&expected, step, found, &pass.name, width);
        }
    }
}

#[test]
fn every_decision_is_the_official_one() {
    run(Video::get(), Retention::All);
}

#[test]
fn it_is_so_where_frames_are_forgotten() {
    run(Video::get(), Retention::ThisWalk);
}
