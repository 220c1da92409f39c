//! What a model answers to the scenes, and how right that is: the three numbers of `tools/demo_model/evaluate.py`.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use sam3_model::{Instance, Segmenter, masks::Mask, matching::match_masks, report::Loaded};
use serde::Serialize;

use super::scenes::Scene;
use crate::{failure::Failure, output::Output};

/// A model's answer to one scene.
pub struct Answer {
    pub instances: Vec<Instance>,
    /// Whether it says that there is any such thing.
    pub present: bool,
}

/// How right a model's answers are, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Harmonic mean of precision and recall, a match being a mask IoU above 0.5.
    f1: f64,
    /// Mean mask IoU of the matches.
    mean_iou: f64,
    /// Share of scenes where it is right whether there is any such thing.
    presence: f64,
}

/// Answers every scene, one on each core: the miniature's operations are too small to share among cores.
pub fn answers(loaded: &Loaded, scenes: &[Scene], output: &Output) -> anyhow::Result<Vec<Answer>> {
    let spinner = output.spinner("scoring");
    let done = AtomicUsize::new(0);
    let answer = |scene: &Scene| {
        let answer = answer(&loaded.segmenter, scene);
        let count = done.fetch_add(1, Ordering::Relaxed) + 1;
        spinner.say(format!(
            "scoring {}: {count} of {} scenes",
            loaded.path().display(),
            scenes.len()
        ));
        answer
    };
    let workers = rayon::current_num_threads();
    thread::scope(|scope| {
        let parts = scenes.chunks(scenes.len().div_ceil(workers).max(1));
        let threads = parts.map(|part| {
            let answers = || part.iter().map(answer).collect::<anyhow::Result<Vec<_>>>();
            thread::Builder::new().spawn_scoped(scope, answers)
        });
        let threads = threads.collect::<io::Result<Vec<_>>>().map_err(Failure::threads)?;
        let parts = threads
            .into_iter()
            .map(|thread| thread.join().expect("answering does not panic"));
        Ok(parts
            .collect::<anyhow::Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect())
    })
}

fn answer(segmenter: &Segmenter, scene: &Scene) -> anyhow::Result<Answer> {
    let encoded = segmenter.encode(&scene.image)?;
    let detections = segmenter.detect(&encoded, &scene.prompt)?;
    Ok(Answer {
        present: detections.presence()? > 0.5,
        instances: detections.instances(&encoded, Segmenter::THRESHOLD)?,
    })
}

impl Score {
    /// Scores the answers to `scenes`, in their order.
    pub fn of(answers: &[Answer], scenes: &[Scene]) -> Self {
        let (mut found, mut wanted, mut right_presence) = (0, 0, 0);
        let mut ious = Vec::new();
        for (answer, scene) in answers.iter().zip(scenes) {
            let masks: Vec<&Mask> = answer.instances.iter().map(|instance| &instance.mask).collect();
            let truth: Vec<&Mask> = scene.truth.iter().collect();
            ious.extend(match_masks(&masks, &truth).iter().map(|pair| pair.iou));
            found += masks.len();
            wanted += truth.len();
            right_presence += usize::from(answer.present != truth.is_empty());
        }
        let share = |part: f64, whole: usize| part / whole.max(1) as f64;
        Self {
            f1: share(2.0 * ious.len() as f64, found + wanted),
            mean_iou: share(ious.iter().sum(), ious.len()),
            presence: share(right_presence as f64, scenes.len()),
        }
    }

    /// Each number with its name.
    pub fn named(&self) -> [(&'static str, f64); 3] {
        [
            ("F1", self.f1),
            ("mean IoU", self.mean_iou),
            ("presence", self.presence),
        ]
    }

    /// How far it is above another, in points of a hundred.
    pub fn points_above(&self, other: &Self) -> Self {
        let points = |a: f64, b: f64| 100.0 * (a - b);
        Self {
            f1: points(self.f1, other.f1),
            mean_iou: points(self.mean_iou, other.mean_iou),
            presence: points(self.presence, other.presence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::eval::scenes;

    /// Answers as one who knows the truth, but for what `spoil` does to the instances of each scene.
    fn score(spoil: impl Fn(usize, &mut Vec<Instance>)) -> Score {
        let scenes = scenes::draw(40).unwrap();
        let answer = |(index, scene): (usize, &Scene)| {
            let instance = |mask: &Mask| Instance::new(1.0, [0.0; 4], mask.clone());
            let mut instances = scene.truth.iter().map(instance).collect();
            spoil(index, &mut instances);
            Answer {
                present: !instances.is_empty(),
                instances,
            }
        };
        let answers: Vec<Answer> = scenes.iter().enumerate().map(answer).collect();
        Score::of(&answers, &scenes)
    }

    #[test]
    fn the_truth_is_right_and_nothing_is_not() {
        let all = score(|_, _| {});
        assert_eq!(all.named().map(|(_, value)| value), [1.0; 3]);
        let none = score(|_, instances| instances.clear());
        assert_eq!((none.f1, none.mean_iou), (0.0, 0.0));
        assert!(0.0 < none.presence && none.presence < 0.5, "{none:?}");
        assert_eq!(none.points_above(&all).f1, -100.0);
    }

    #[test]
    fn what_is_missed_and_what_is_too_much_count_alike() {
        let missed = score(|_, instances| drop(instances.pop()));
        let twice = score(|_, instances| instances.extend(instances.last().cloned()));
        assert!(
            missed.f1 < 1.0 && missed.mean_iou == 1.0 && missed.presence < 1.0,
            "{missed:?}"
        );
        assert!(
            twice.f1 < 1.0 && twice.mean_iou == 1.0 && twice.presence == 1.0,
            "{twice:?}"
        );
    }
}
