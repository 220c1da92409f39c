//! Objects shown by clicks, boxes and masks: every session of the official code, step by step.

use std::collections::BTreeMap;

use sam3_tensor::{DType, open_gpu, testing::as_accelerator};

use super::{
    super::{
        MemoryDtype, Predictor, Retention, Shown,
        bank::{self, Choice, Selection},
        state::{InferenceState, Input},
    },
    Expected, FRAMES, Video, apart, differing,
    script::{Committed, Found, Kind, Points, Script, Step},
};
use crate::{
    masks::Mask,
    model::{Label, Point},
    tracking::{Direction, Tracked, Visit},
};

/// Of logits: what f32 is from f64, some hundred times over, since errors add up from frame to frame; and a thousandth
/// of the value, where those are ±1024.
const LOGITS: f32 = 0.02;
/// Of pointers, memories and scores.
const FEATURES: f32 = 5e-3;
/// Of predicted IoUs.
const IOUS: f32 = 1e-3;
/// Pixels of a mask at the video's size.
const PIXELS: u64 = 8;
/// Pixels in a side of what the model sees.
const IMAGE: f64 = 224.0;

/// A case under way.
struct Replay<'a> {
    video: &'a Video,
    predictor: Predictor,
    state: InferenceState,
    expected: &'a Expected,
    size: (u32, u32),
    /// The largest difference by what it is of.
    worst: BTreeMap<&'static str, f32>,
}

impl Replay<'_> {
    fn compare(&mut self, of: &'static str, found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
        let apart = apart(found, expected, what);
        assert!(apart <= tolerance, "{of} of {what}: {apart} apart");
        let worst = self.worst.entry(of).or_default();
        *worst = worst.max(apart);
    }

    /// Logits, a share of which their tolerance is.
    fn compare_logits(&mut self, found: &[f32], expected: &[f32], what: &str) {
        let scaled = |values: &[f32]| -> Vec<f32> {
            let scale = |expected: &f32| 1.0 + 1e-3 / LOGITS * expected.abs();
            values
                .iter()
                .zip(expected)
                .map(|(x, expected)| x / scale(expected))
                .collect()
        };
        self.compare("logits", &scaled(found), &scaled(expected), LOGITS, what);
    }

    fn compare_masks(&mut self, found: &[Mask], name: &str) {
        let Some(expected) = self.expected.masks(name, self.size) else {
            return;
        };
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.iter().zip(&expected) {
            let differ = differing(found, expected);
            assert!(differ <= PIXELS, "{name}: {differ} pixels differ");
            let worst = self.worst.entry("pixels").or_default();
            *worst = worst.max(differ as f32);
        }
    }

    fn mask(&self, logits: &[f32]) -> Mask {
        let (side, (width, height)) = (self.predictor.side(), self.size);
        Mask::from_logits(logits, (side, side), (height, width)).unwrap()
    }

    fn points(&mut self, step: &Points) {
        let key = &step.key;
        let place = |[x, y]: [f64; 2], label| Point {
            share: [x, y].map(|share| (share * IMAGE + 0.5) / IMAGE),
            label,
        };
        let corners = step
            .bounding_box
            .into_iter()
            .flat_map(|[x1, y1, x2, y2]| [place([x1, y1], Label::TopLeft), place([x2, y2], Label::BottomRight)]);
        let labels = step.labels.iter().flatten().map(|label| match label {
            0 => Label::Negative,
            _ => Label::Positive,
        });
        let points = step.points.iter().flatten().zip(labels);
        let points: Vec<Point> = corners.chain(points.map(|(xy, label)| place(*xy, label))).collect();
        let is_fed = self.state.previous(step.frame, step.object).is_some();
        assert_eq!(is_fed, step.previous_mask_fed, "{key}");
        let frame = self.video.frame(step.frame);
        let on = self.predictor.on(&frame);
        let found = on
            .add_points_or_box(&mut self.state, step.object, &points, step.clear_old_points)
            .unwrap();
        let used = match &self.state.inputs[&(step.frame, step.object)] {
            Input::Points(points) => points.len(),
            Input::Mask | Input::Detection => 0,
        };
        assert_eq!(used, step.points_used, "{key}");
        self.compare("scores", &[found.object_score], &[step.score], FEATURES, key);
        self.compare("ious", &[found.iou.unwrap()], &[step.iou], IOUS, key);
        self.compare_logits(
            &found.logits,
            &self.expected.get(&format!("{key}.low_res")).unwrap(),
            key,
        );
        self.compare_pointer(step.frame, step.object, key);
        self.compare_shown(step.frame, key);
    }

    /// Of what was made of a prompt.
    fn compare_pointer(&mut self, frame: usize, object: u32, key: &str) {
        let pointer = self.state.temporary[&frame].objects[&object].pointer.to_vec().unwrap();
        let expected = self.expected.get(&format!("{key}.pointer")).unwrap();
        self.compare("pointers", &pointer, &expected, FEATURES, key);
    }

    fn compare_shown(&mut self, frame: usize, key: &str) {
        let shown = self.state.shown(frame).unwrap().into_iter();
        let mask = |shown| match shown {
            Shown::Logits(logits) => self.mask(&logits),
            Shown::Mask(mask) => mask,
            Shown::Nothing => Mask::new(self.size.0, self.size.1),
        };
        let masks: Vec<Mask> = shown.map(mask).collect();
        self.compare_masks(&masks, &format!("{key}.video_masks"));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Points(step) => self.points(step),
            Step::Mask {
                frame,
                object,
                mask,
                mask_size: [width, height],
                key,
                score,
            } => {
                let mask = self.expected.masks(mask, (*width, *height)).unwrap().remove(0);
                let seen = self.video.frame(*frame);
                self.predictor
                    .on(&seen)
                    .add_mask_prompt(&mut self.state, *object, &mask)
                    .unwrap();
                let found = self.state.temporary[frame].objects[object].score;
                assert_eq!(found, *score, "{key}");
                self.compare_pointer(*frame, *object, key);
                self.compare_shown(*frame, key);
            }
            Step::Commit {
                frames,
                conditioning_frames,
            } => {
                self.predictor.commit(&mut self.state).unwrap();
                assert_eq!(self.state.conditioning_frames(), *conditioning_frames);
                frames.iter().for_each(|frame| self.committed(frame));
            }
            Step::Propagate {
                start,
                reverse,
                max_frames,
                key,
                object_ids,
                frames,
            } => {
                assert_eq!(self.state.ids(), object_ids);
                let direction = if *reverse {
                    Direction::Backward
                } else {
                    Direction::Forward
                };
                let most = max_frames.map_or(FRAMES, |more| more + 1);
                let walk: Vec<usize> = match direction {
                    Direction::Forward => (*start..FRAMES).take(most).collect(),
                    Direction::Backward => (0..=*start).rev().take(most).collect(),
                };
                assert!(frames.iter().map(|found| found.frame).eq(walk), "{key}");
                for found in frames {
                    self.track(found, direction, key);
                }
            }
        }
    }

    fn committed(&mut self, step: &Committed) {
        let key = &step.key;
        let objects = self.state.bank.cond(step.frame).unwrap().objects.clone();
        let scores: Vec<f32> = objects.iter().map(|object| object.score).collect();
        let ious: Vec<f32> = objects.iter().map(|object| object.iou).collect();
        self.compare("scores", &scores, &step.score, FEATURES, key);
        self.compare("ious", &ious, &step.iou, IOUS, key);
        if let Some(expected) = self.expected.get(&format!("{key}.low_res")) {
            let logits = objects
                .iter()
                .map(|object| object.low_res.as_ref().unwrap().to_vec::<f32>());
            let logits: Vec<f32> = logits.map(Result::unwrap).collect::<Vec<_>>().concat();
            self.compare_logits(&logits, &expected, key);
        }
        self.compare_features(step.frame, key);
    }

    /// Pointers and memories of a frame, where there are some to compare with.
    fn compare_features(&mut self, frame: usize, key: &str) {
        let objects = self.state.bank.get(frame).unwrap().objects.clone();
        if let Some(expected) = self.expected.get(&format!("{key}.pointer")) {
            let found: Vec<f32> = objects
                .iter()
                .flat_map(|object| object.pointer.to_vec::<f32>().unwrap())
                .collect();
            self.compare("pointers", &found, &expected, FEATURES, key);
        }
        if let Some(expected) = self.expected.get(&format!("{key}.memory")) {
            // The official maps have their channels first.
            let memory = |object: &bank::Remembered| {
                let memory = object.memory.as_ref().unwrap().t().unwrap();
                memory.to_vec::<f32>().unwrap()
            };
            let found: Vec<f32> = objects.iter().flat_map(memory).collect();
            self.compare("memories", &found, &expected, FEATURES, key);
        }
    }

    fn track(&mut self, step: &Found, direction: Direction, key: &str) {
        let key = format!("{key}.{:02}", step.frame);
        let visit = Visit {
            frame: step.frame,
            direction,
        };
        let is_cond = self.state.bank.cond(step.frame).is_some();
        assert_eq!(is_cond, step.kind == Kind::Cond, "{key}");
        if !is_cond {
            let selection = self.state.bank.select(visit, Some(FRAMES));
            self.check_selection(step, &selection, &key);
        }
        let frame = self.video.frame(step.frame);
        let found = self.predictor.on(&frame).track(&mut self.state, direction).unwrap();
        let scores: Vec<f32> = found.iter().map(|object| object.object_score).collect();
        self.compare("scores", &scores, &step.score, FEATURES, &key);
        let logits: Vec<f32> = found.iter().flat_map(|object| object.logits.clone()).collect();
        if let Some(expected) = self.expected.get(&format!("{key}.low_res")) {
            self.compare_logits(&logits, &expected, &key);
        }
        let masks: Vec<Mask> = found.iter().map(|object| self.mask(&object.logits)).collect();
        self.compare_masks(&masks, &format!("{key}.video_masks"));
        if is_cond {
            return;
        }
        let ious: Vec<f32> = found.iter().map(|object: &Tracked| object.iou.unwrap()).collect();
        self.compare("ious", &ious, &step.iou, IOUS, &key);
        let eff = self.state.bank.get(step.frame).unwrap().eff();
        self.compare("effs", &[eff], &[step.eff], IOUS, &key);
        self.compare_features(step.frame, &key);
    }

    /// The lists are the official ones, in order; of a state that forgets, as far as it remembers.
    fn check_selection(&self, step: &Found, found: &Selection, key: &str) {
        let kind = |choice: &Choice| match choice.kind {
            bank::Kind::Cond => Kind::Cond,
            bank::Kind::Tracked => Kind::Tracked,
        };
        let list = |choices: &[Choice]| -> Vec<_> {
            choices
                .iter()
                .map(|choice| (choice.frame, kind(choice), choice.place))
                .collect()
        };
        let mut lists = [list(&found.memories), list(&found.pointers)];
        let mut expected = [step.memories.clone(), step.pointers.clone()];
        if self.predictor.options.retention != Retention::All {
            // In another order, where more than four conditioning frames were made.
            lists
                .iter_mut()
                .chain(&mut expected)
                .for_each(|list| list.sort_by_key(|entry| entry.0));
        }
        assert_eq!(found.valid, step.valid, "{key}");
        assert_eq!(lists, expected, "{key}");
    }
}

/// Replays the cases of these names, or all, and returns how far apart they are at the most.
fn run(video: &Video, retention: Retention, only: &[&str]) -> BTreeMap<String, BTreeMap<&'static str, f32>> {
    let (script, expected) = (Script::read(), Expected::open("pvs.safetensors"));
    assert_eq!((script.frames, script.cases.len()), (FRAMES, 7));
    let [width, height] = script.video_size;
    let size = (width, height);
    let mut cases = script.cases;
    cases.retain(|name, _| only.is_empty() || only.contains(&name.as_str()));
    let replay = |(name, case): (String, super::script::Case)| {
        let mut replay = Replay {
            predictor: video.predictor(size, FRAMES, retention),
            state: InferenceState::default(),
            video,
            expected: &expected,
            size,
            worst: BTreeMap::new(),
        };
        case.steps.iter().for_each(|step| replay.step(step));
        (name, replay.worst)
    };
    cases.into_iter().map(replay).collect()
}

#[test]
fn every_session_is_the_official_one() {
    for (case, worst) in run(Video::get(), Retention::All, &[]) {
        // With --nocapture: how far apart, at the most.
        println!("{case}: {worst:?}");
    }
}

/// Walks that go one way, and forward and then back. Which frames are chosen then, `retention` tests with thousands.
#[test]
fn it_is_so_where_frames_are_forgotten() {
    run(Video::get(), Retention::ThisWalk, &["e"]);
    run(Video::get(), Retention::ThenBackwardFrom(5), &["c"]);
}

#[test]
fn memories_of_half_the_size_find_nearly_the_same() {
    let (video, point) = (
        Video::get(),
        [Point {
            share: [0.75, 0.77],
            label: Label::Positive,
        }],
    );
    let [exact, halves] = [MemoryDtype::F32, MemoryDtype::Bf16].map(|memory| {
        let mut predictor = video.predictor((160, 120), FRAMES, Retention::All);
        predictor.options.memory = memory;
        let (mut state, frame) = (predictor.new_state(), video.frame(0));
        predictor
            .on(&frame)
            .add_points_or_box(&mut state, 1, &point, true)
            .unwrap();
        predictor.commit(&mut state).unwrap();
        let stored = state.bank.get(0).unwrap().objects[0].memory.clone().unwrap();
        let frame = video.frame(1);
        let found = predictor.on(&frame).track(&mut state, Direction::Forward).unwrap();
        (stored.dtype(), found[0].logits.clone())
    });
    assert_eq!([exact.0, halves.0], [DType::F32, DType::BF16]);
    let apart = apart(&halves.1, &exact.1, "logits");
    assert!(apart > 0.0 && apart < 0.1, "{apart} apart");
}

/// The path that accelerators take, with main memory in the part of theirs.
#[test]
fn it_is_so_on_an_accelerator() {
    let video = Video::get();
    as_accelerator(|| drop(run(video, Retention::All, &["a"])));
}

#[test]
#[ignore = "needs an NVIDIA GPU and --features cuda"]
fn it_is_so_on_a_gpu() {
    // The shortest: on stand-ins, too, it takes seconds.
    run(&Video::open(&open_gpu(0).unwrap(), 5), Retention::All, &["m"]);
}
