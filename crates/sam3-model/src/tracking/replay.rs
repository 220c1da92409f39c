//! Scripted videos that the official code went through: every decision and every emitted pixel is the same.

mod at_once;
mod script;
mod table;

use std::collections::BTreeMap;

use super::{Emission, EmissionBuffer, FrameResult, ObjectId, ObjectIds, TextFrame, TextTracking, cleaning::clean};
use script::{Emitted, Event, Script, Step, Walk};
use table::Table;

/// Probabilities and boxes are quotients and sums of few terms in f32.
const TOLERANCE: f32 = 1e-5;

/// One session on a script.
struct Replay<'a> {
    script: &'a Script,
    ids: ObjectIds,
    text: TextTracking<Vec<ObjectId>>,
}

impl<'a> Replay<'a> {
    fn new(script: &'a Script) -> Self {
        Self {
            script,
            ids: ObjectIds::default(),
            text: TextTracking::new(script.sizes()),
        }
    }

    /// Goes through the visits of a pass. `step` sees each with what was decided and asked of the tracker; what is
    /// returned are the emitted frames, each with the one that was processed when it came out.
    fn walk(
        &mut self,
        walk: Walk,
        emission: Emission,
        mut step: impl FnMut(usize, &TextFrame, &[Event], &TextTracking<Vec<ObjectId>>),
    ) -> Vec<(usize, FrameResult)> {
        let mut buffer = EmissionBuffer::new(emission);
        let mut emitted = Vec::new();
        let visits = self.script.visits(walk);
        for (index, &visit) in visits.iter().enumerate() {
            let mut table = Table {
                script: self.script,
                events: Vec::new(),
            };
            let detections = self.script.detections(visit.frame);
            let frame = self.text.step(&mut table, &mut self.ids, visit, &detections).unwrap();
            step(index, &frame, &table.events, &self.text);
            emitted.extend(
                buffer
                    .push(visit.frame, vec![frame])
                    .map(|result| (visit.frame, result)),
            );
        }
        let last = visits[visits.len() - 1].frame;
        emitted.extend(buffer.finish().into_iter().map(|result| (last, result)));
        emitted
    }
}

/// Officially the prompted frame comes out as it is prompted.
fn official(walk: Walk) -> Emission {
    match walk {
        Walk::AddPrompt => Emission::AtOnce,
        _ => Emission::Final,
    }
}

fn check_step(script: &Script, expected: &Step, found: &TextFrame, events: &[Event]) {
    let what = format!(
        "{}, frame {}, reverse {}",
        script.name, expected.frame, expected.reverse
    );
    let decisions = &found.decisions;
    assert_eq!(decisions.kept, expected.kept, "kept: {what}");
    assert_eq!(decisions.tracks, expected.tracks, "tracks: {what}");
    let scores = expected
        .tracks
        .iter()
        .map(|&id| script.track(expected.frame, id).object_score);
    assert!(scores.eq(expected.scores.iter().copied()), "scores: {what}");
    assert_eq!(decisions.new, expected.new, "new: {what}");
    assert_eq!(decisions.new_ids, expected.new_ids, "new ids: {what}");
    let unmatched: Vec<ObjectId> = decisions.unmatched.iter().map(|(id, _)| *id).collect();
    assert_eq!(unmatched, expected.unmatched, "unmatched: {what}");
    let counts: BTreeMap<ObjectId, u32> = decisions.unmatched.iter().copied().collect();
    assert_eq!(counts, expected.unmatched_counts, "counts of unmatched: {what}");
    let [mut pairs, mut expected_pairs] = [&decisions.duplicates, &expected.pair_counts].map(Vec::clone);
    pairs.sort_unstable();
    expected_pairs.sort_unstable();
    assert_eq!(pairs, expected_pairs, "counts of pairs: {what}");
    assert_eq!(decisions.empty, expected.empty, "empty: {what}");
    assert_eq!(decisions.matched, expected.matched, "matched: {what}");
    assert_eq!(decisions.high, expected.high, "high: {what}");
    assert_eq!(decisions.removed, expected.removed, "removed: {what}");
    assert_eq!(decisions.suppressed, expected.suppressed, "suppressed: {what}");
    check_events(events, &expected.events, &what);
    let of = |event: &Event| match event {
        Event::Recondition { id, .. } => Some(*id),
        _ => None,
    };
    assert!(
        expected
            .events
            .iter()
            .filter_map(of)
            .eq(decisions.reconditioned.iter().copied()),
        "{what}"
    );
    assert_eq!(found.tracked, expected.objects.len(), "tracked: {what}");
    check_cleaning(script, expected, &decisions.cleaned, &what);
}

/// In order, but for removals, which come last and in any order.
fn check_events(found: &[Event], expected: &[Event], what: &str) {
    let order = |events: &[Event]| {
        let mut events = events.to_vec();
        let is_removal = |event: &Event| matches!(event, Event::Remove { .. });
        let first = events.iter().position(is_removal).unwrap_or(events.len());
        assert!(events[first..].iter().all(is_removal), "removals come last: {what}");
        events[first..].sort_by_key(|event| match event {
            Event::Remove { id } => *id,
            _ => 0,
        });
        events
    };
    assert_eq!(order(found), order(expected), "events: {what}");
}

fn check_cleaning(script: &Script, expected: &Step, cleaned: &[ObjectId], what: &str) {
    let side = script.mask_side;
    let mut ids: Vec<ObjectId> = expected.cleaned.keys().copied().collect();
    ids.sort_by_key(|id| expected.tracks.iter().position(|track| track == id));
    assert_eq!(cleaned, ids, "cleaned: {what}");
    for (&id, &mask) in &expected.cleaned {
        let (found, _) = clean(&mut script.track(expected.frame, id).logits, side);
        let mask = script.mask(mask, side as u32, side as u32);
        assert_eq!(*found.mask(), mask, "cleaned {id}: {what}");
    }
}

fn check_emitted(script: &Script, expected: &Emitted, (after, found): &(usize, FrameResult)) {
    let what = format!("{}, emitted frame {} after {after}", script.name, found.frame);
    assert_eq!((found.frame, *after), (expected.frame, expected.after), "{what}");
    let ids: Vec<ObjectId> = found.objects.iter().map(|object| object.id).collect();
    assert_eq!(ids, expected.ids, "ids: {what}");
    assert_eq!(
        (found.tracked, found.dropped),
        (expected.tracked, expected.dropped),
        "{what}"
    );
    let [width, height] = script.video_size;
    let expected_objects = expected.probs.iter().zip(&expected.boxes).zip(&expected.masks);
    assert_eq!(expected_objects.len(), found.objects.len(), "{what}");
    for (object, ((prob, expected_box), &mask)) in found.objects.iter().zip(expected_objects) {
        let what = format!("{}: {what}", object.id);
        assert!((object.score - prob).abs() < TOLERANCE, "score of {what}");
        let sides = object.bbox_xywh().into_iter().zip(expected_box);
        let differ = sides.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(differ < TOLERANCE, "box {:?} of {what}", object.bbox_xywh());
        assert_eq!(object.mask, script.mask(mask, width, height), "mask of {what}");
    }
}

#[test]
fn every_decision_is_the_official_one() {
    let scripts = Script::all();
    assert_eq!(scripts.len(), 21);
    for script in &scripts {
        let mut replay = Replay::new(script);
        for pass in &script.passes {
            let mut steps = 0;
            let emitted = replay.walk(pass.name, official(pass.name), |index, frame, events, text| {
                let expected = &pass.steps[index];
                check_step(script, expected, frame, events);
                let what = format!("{}, frame {}", script.name, expected.frame);
                assert!(text.groups().eq(expected.groups.iter().cloned()), "groups: {what}");
                let objects = text.objects();
                assert!(
                    objects
                        .iter()
                        .map(|object| object.id)
                        .eq(expected.objects.iter().copied()),
                    "{what}"
                );
                let last = objects
                    .iter()
                    .filter_map(|object| Some((object.id, object.last_occluded?)));
                assert_eq!(
                    last.collect::<BTreeMap<_, _>>(),
                    expected.last_occluded,
                    "last occluded: {what}"
                );
                steps += 1;
            });
            assert_eq!(steps, pass.steps.len(), "{}: steps of {:?}", script.name, pass.name);
            assert_eq!(
                emitted.len(),
                pass.emitted.len(),
                "{}: frames of {:?}",
                script.name,
                pass.name
            );
            emitted
                .iter()
                .zip(&pass.emitted)
                .for_each(|(found, expected)| check_emitted(script, expected, found));
        }
    }
}
