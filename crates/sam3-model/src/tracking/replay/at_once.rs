//! Frames emitted at once, on the same videos: what is told early is taken back where the official frames do not show
//! it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Emission, FrameResult, ObjectId, Replay, script::Script};

/// The results of each pass but the prompted frame's own, by frame; and the frames in the order that they were
/// processed in.
fn passes(script: &Script, emission: Emission) -> Vec<Vec<(usize, FrameResult)>> {
    let mut replay = Replay::new(script);
    let walk = |pass: &super::script::Pass| replay.walk(pass.name, emission, |_, _, _, _| ());
    script.passes.iter().map(walk).skip(1).collect()
}

fn ids(result: &FrameResult) -> BTreeSet<ObjectId> {
    result.objects.iter().map(|object| object.id).collect()
}

#[test]
fn who_is_not_in_the_final_frames_was_tentative_and_is_removed_later() {
    let (mut taken_back, mut confirmed) = (0, 0);
    for script in &Script::all() {
        let at_once = passes(script, Emission::AtOnce);
        for (at_once, last) in at_once.iter().zip(passes(script, Emission::Final)) {
            let last: BTreeMap<usize, FrameResult> =
                last.into_iter().map(|(_, result)| (result.frame, result)).collect();
            assert_eq!(at_once.len(), last.len());
            let mut gone = BTreeSet::new();
            // From the last frame on: who is gone later was tentative now.
            for (after, result) in at_once.iter().rev() {
                let what = format!("{}, frame {after}", script.name);
                assert_eq!(*after, result.frame, "{what}");
                gone.extend(&result.removed);
                let shown = ids(result);
                let expected: BTreeSet<ObjectId> = shown.difference(&gone).copied().collect();
                assert_eq!(expected, ids(&last[after]), "{what}");
                for object in &result.objects {
                    let is_taken_back = gone.contains(&object.id);
                    assert!(object.is_tentative || !is_taken_back, "{} of {what}", object.id);
                    taken_back += usize::from(is_taken_back);
                    confirmed += usize::from(!object.is_tentative);
                }
                assert!(shown.is_disjoint(&result.removed.iter().copied().collect()), "{what}");
                assert_eq!(
                    (result.tracked, &result.removed),
                    (last[after].tracked, &last[after].removed)
                );
            }
        }
    }
    assert!(taken_back > 100 && confirmed > 500, "{taken_back} and {confirmed}");
}

#[test]
fn an_object_is_tentative_on_fourteen_frames() {
    let script = Script::named("emission");
    let mut tentative: BTreeMap<ObjectId, usize> = BTreeMap::new();
    for (_, result) in &passes(&script, Emission::AtOnce)[0] {
        for object in &result.objects {
            *tentative.entry(object.id).or_default() += usize::from(object.is_tentative);
        }
    }
    assert_eq!(tentative[&0], 14);
    assert!(tentative.values().all(|frames| *frames <= 14), "{tentative:?}");
}
