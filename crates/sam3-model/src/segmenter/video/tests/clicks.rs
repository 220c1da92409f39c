//! Objects that are clicked: what the official code finds, on each frame.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::atomic::{AtomicUsize, Ordering},
};

use sam3_tensor::Tensor;
use serde_json::Value;

use super::{FRAMES, folder, logits, options, picture, push, session};
use crate::{Clicks, Retention, masks::Mask, testing::read_tensors, tracking::Direction};

/// Of logits, as the goldens recommend; masks that were given have logits up to 1024.
const TOLERANCE: f32 = 0.02;
const SHARE: f32 = 1e-3;

struct Golden {
    cases: Value,
    tensors: HashMap<String, Tensor>,
}

impl Golden {
    fn open() -> Self {
        let text = std::fs::read_to_string(folder().join("pvs.json")).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        Self {
            cases: document["cases"].clone(),
            tensors: read_tensors(&folder().join("pvs.safetensors")),
        }
    }

    /// The clicks of a step, in pixels of the video.
    fn clicks(&self, case: &str, step: usize) -> Clicks {
        let step = &self.cases[case]["steps"][step];
        let numbers = |value: &Value| serde_json::from_value::<Vec<f32>>(value.clone()).unwrap();
        let mut clicks = Clicks::new();
        let points = step["points"].as_array().into_iter().flatten();
        for (point, label) in points.zip(step["labels"].as_array().into_iter().flatten()) {
            let xy = numbers(point);
            let xy = [xy[0] * 160.0, xy[1] * 120.0];
            clicks = match label == 1 {
                true => clicks.point(xy),
                false => clicks.negative_point(xy),
            };
        }
        if !step["box"].is_null() {
            let xyxy = numbers(&step["box"]);
            clicks = clicks.bounding_box([xyxy[0] * 160.0, xyxy[1] * 120.0, xyxy[2] * 160.0, xyxy[3] * 120.0]);
        }
        clicks
    }

    /// The logits of objects on a frame, if they are kept; `[objects, 64, 64]`.
    fn check(&self, key: &str, frame: usize, found: &[Vec<f32>]) -> bool {
        let Some(expected) = self.tensors.get(&format!("{key}.{frame:02}.low_res")) else {
            return false;
        };
        let expected = expected.to_vec::<f32>().unwrap();
        let found = found.concat();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            let tolerance = TOLERANCE + SHARE * expected.abs();
            assert!(
                (found - expected).abs() < tolerance,
                "{key}, frame {frame}: {found}, {expected}"
            );
        }
        true
    }
}

#[test]
fn one_object_is_found_where_the_official_code_finds_it() {
    let golden = Golden::open();
    let mut session = session(options());
    session.look(0, &picture(0)).unwrap();
    let clicked = session.click(None, &golden.clicks("a", 0)).unwrap();
    assert!(clicked.text.is_none() && clicked.mask.area() > 0);
    let frames = &golden.cases["a"]["steps"][2]["frames"];
    let mut checked = 0;
    for frame in 0..FRAMES {
        let result = push(&mut session, frame);
        let low_res = logits(&session, clicked.id);
        checked += usize::from(golden.check("a.2", frame, &[low_res]));
        let [object] = &result.objects[..] else {
            panic!("one object on frame {frame}")
        };
        let score = frames[frame]["score"][0].as_f64().unwrap() as f32;
        assert!((object.object_score.unwrap() - score).abs() < 5e-3, "frame {frame}");
        assert_eq!(
            (result.frame, object.id, object.is_tentative),
            (frame, clicked.id, false)
        );
    }
    assert!(checked > 20, "{checked} frames have logits");
}

/// Two objects, of a click and of a box, share their conditioning frames: a correction of one concerns both.
#[test]
fn objects_are_followed_together_and_corrected() {
    let golden = Golden::open();
    let mut session = session(options().retention(Retention::All));
    session.look(0, &picture(0)).unwrap();
    let first = session.click(None, &golden.clicks("b", 0)).unwrap().id;
    let second = session.click(None, &golden.clicks("b", 1)).unwrap().id;
    // Officially the click of step 2 comes to the box: the box and it, from the mask that the box gave.
    let box_of = golden.cases["b"]["steps"][1]["box"].clone();
    let xyxy = serde_json::from_value::<[f32; 4]>(box_of).unwrap();
    let both = golden.clicks("b", 2);
    let both = both.bounding_box([xyxy[0] * 160.0, xyxy[1] * 120.0, xyxy[2] * 160.0, xyxy[3] * 120.0]);
    session.click(Some(second), &both).unwrap();
    let mut checked = 0;
    let mut follow = |session: &mut super::Session, key: &str| {
        for frame in 0..FRAMES {
            push(session, frame);
            let found = [first, second].map(|id| logits(session, id));
            checked += usize::from(golden.check(key, frame, &found));
        }
    };
    follow(&mut session, "b.4");
    session.look(9, &picture(9)).unwrap();
    session.click(Some(first), &golden.clicks("b", 5)).unwrap();
    session.walk(0, Direction::Forward).unwrap();
    follow(&mut session, "b.7");
    assert!(checked > 10, "{checked} frames have logits");
}

/// Prompts on frames ahead, before anything is followed: objects are absent where nothing is known of them.
#[test]
fn prompts_ahead_are_of_one_group() {
    let golden = Golden::open();
    let mut session = session(options());
    session.look(0, &picture(0)).unwrap();
    let first = session.click(None, &golden.clicks("e", 0)).unwrap().id;
    session.look(2, &picture(2)).unwrap();
    let second = session.click(None, &golden.clicks("e", 1)).unwrap().id;
    for frame in 0..FRAMES {
        let result = push(&mut session, frame);
        let found = [first, second].map(|id| logits(&session, id));
        assert!(golden.check("e.3", frame, &found) || frame == 0 || frame == 2);
        let shown = found.iter().filter(|logits| logits.iter().any(|logit| *logit > 0.0));
        assert_eq!(
            (result.objects.len(), result.tracked),
            (shown.count(), 2),
            "frame {frame}"
        );
    }
}

#[test]
fn a_mask_is_followed_both_ways() {
    let golden = Golden::open();
    let bits = golden.tensors["c.0.mask"].to_vec::<f32>().unwrap();
    let mask = Mask::from_fn(160, 120, |x, y| {
        bits[(y * 20 + x / 8) as usize] as u8 >> (7 - x % 8) & 1 == 1
    });
    for (retention, back) in [(Retention::All, 5), (Retention::ThenBackwardFrom(5), 5)] {
        let mut session = session(options().retention(retention));
        session.look(5, &picture(5)).unwrap();
        let shown = session.mask(None, &mask).unwrap();
        assert_eq!((&shown.mask, shown.object_score), (&mask, Some(10.0)));
        session.walk(5, Direction::Forward).unwrap();
        let mut checked = 0;
        for frame in 5..FRAMES {
            push(&mut session, frame);
            checked += usize::from(golden.check("c.2", frame, &[logits(&session, shown.id)]));
        }
        session.walk(back, Direction::Backward).unwrap();
        for frame in (0..=back).rev() {
            assert_eq!(push(&mut session, frame).frame, frame);
            checked += usize::from(golden.check("c.3", frame, &[logits(&session, shown.id)]));
        }
        assert!(checked > 5, "{checked} frames have logits");
    }
}

#[test]
fn who_comes_late_is_followed_for_itself() {
    let (early, late) = (Clicks::new().point([120.0, 92.0]), Clicks::new().point([40.0, 60.0]));
    let mut alone = session(options());
    alone.look(5, &picture(5)).unwrap();
    let id = alone.click(None, &late).unwrap().id;
    alone.walk(5, Direction::Forward).unwrap();

    let mut both = session(options());
    both.look(0, &picture(0)).unwrap();
    let first = both.click(None, &early).unwrap().id;
    for frame in 0..5 {
        push(&mut both, frame);
    }
    both.look(5, &picture(5)).unwrap();
    let second = both.click(None, &late).unwrap().id;
    assert_ne!(first, second);
    for frame in 5..9 {
        push(&mut alone, frame);
        push(&mut both, frame);
        assert_eq!(logits(&alone, id), logits(&both, second), "frame {frame}");
    }
    assert_eq!(both.objects(), [first, second]);
    assert!(both.remove(first).unwrap() && !both.remove(first).unwrap());
    for frame in 9..11 {
        push(&mut alone, frame);
        let result = push(&mut both, frame);
        assert_eq!((result.tracked, logits(&alone, id)), (1, logits(&both, second)));
    }
    assert!(both.remove(second).unwrap());
    assert_eq!((both.objects(), push(&mut both, 11).tracked), (vec![], 0));
}

#[test]
fn sessions_share_the_model_and_nothing_else() {
    let clicks = Clicks::new().point([120.0, 92.0]);
    let run = |other: bool| {
        let mut own = session(options());
        let mut second = session(options());
        own.look(0, &picture(0)).unwrap();
        own.click(None, &clicks).unwrap();
        let mut found = Vec::new();
        for frame in 0..4 {
            if other {
                second.push(&picture(20 - frame)).unwrap();
                if frame == 0 {
                    second.click(None, &Clicks::new().point([30.0, 30.0])).unwrap();
                }
            }
            push(&mut own, frame);
            found.push(logits(&own, 0));
        }
        found
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn no_frame_is_encoded_twice_nor_before_it_is_needed() {
    let layers = AtomicUsize::new(0);
    let counted = || {
        |_| {
            layers.fetch_add(1, Ordering::Relaxed);
            ControlFlow::Continue(())
        }
    };
    let mut session = session(options());
    session.push_watched(&picture(0), &mut counted()).unwrap();
    assert_eq!(layers.load(Ordering::Relaxed), 0, "nobody is followed");
    // On the frame that was pushed last.
    session.click(None, &Clicks::new().point([120.0, 92.0])).unwrap();
    session.push_watched(&picture(1), &mut counted()).unwrap();
    let of_one = layers.swap(0, Ordering::Relaxed);
    assert!(of_one > 0);
    session.look_watched(2, &picture(2), &mut counted()).unwrap();
    session.click(Some(0), &Clicks::new().point([120.0, 92.0])).unwrap();
    session.push_watched(&picture(2), &mut counted()).unwrap();
    session.look_watched(2, &picture(2), &mut counted()).unwrap();
    assert_eq!(layers.load(Ordering::Relaxed), of_one);
}
