//! The forward pass's stages, for who times them or compares what they hand on.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use sam3_tensor::Tensor;
use serde::Serialize;

/// A stage of the model, in the order of running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The ViT.
    Trunk,
    /// The feature pyramid.
    Neck,
    /// The text encoder.
    Text,
    /// The geometry encoder.
    Geometry,
    /// The fusion encoder.
    Fusion,
    /// The decoder and the scores.
    Decoder,
    /// The mask head.
    MaskHead,
}

impl Stage {
    const ALL: [Self; 7] = [
        Self::Trunk,
        Self::Neck,
        Self::Text,
        Self::Geometry,
        Self::Fusion,
        Self::Decoder,
        Self::MaskHead,
    ];

    /// What people read.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trunk => "vision trunk",
            Self::Neck => "vision neck",
            Self::Text => "text encoder",
            Self::Geometry => "geometry encoder",
            Self::Fusion => "fusion encoder",
            Self::Decoder => "decoder",
            Self::MaskHead => "mask head",
        }
    }
}

/// Is told what each stage hands on, as soon as it is there.
pub trait Observer: Send {
    /// `done` of the `of` layers of `stage` are there. An error ends the run, as one of its own.
    fn layer(&mut self, _stage: Stage, _done: usize, _of: usize) -> crate::Result<()> {
        Ok(())
    }

    /// `stage` made `tensor`, which is its `output` (one of several, perhaps).
    fn made(&mut self, stage: Stage, output: &'static str, tensor: &Tensor);

    /// Whether the logits of all queries' masks are to be made: whoever reads a result makes those of the few that it
    /// keeps.
    fn wants_all_masks(&self) -> bool {
        false
    }

    /// Within a stage, `part`, one of so many `layer`s perhaps, made `tensor`. Nothing is computed for this alone.
    fn passed(&mut self, _part: &'static str, _layer: Option<usize>, _tensor: &Tensor) {}
}

/// Observes nothing.
impl Observer for () {
    fn made(&mut self, _: Stage, _: &'static str, _: &Tensor) {}
}

/// How far a long call is: `done` of the `of` layers of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The stage's name, such as `vision trunk`.
    pub stage: &'static str,
    /// Layers that are there, of a GPU: that were asked for.
    pub done: usize,
    /// Layers that the stage has.
    pub of: usize,
}

/// Who watches a long call, and may end it by [`ControlFlow::Break`] at the next layer.
pub type Watch<'a> = dyn FnMut(Progress) -> ControlFlow<()> + Send + 'a;

/// Tells a [`Watch`] of every layer.
pub struct Watcher<'a, 'b>(pub &'a mut Watch<'b>);

impl Observer for Watcher<'_, '_> {
    fn made(&mut self, _: Stage, _: &'static str, _: &Tensor) {}

    fn layer(&mut self, stage: Stage, done: usize, of: usize) -> crate::Result<()> {
        let stage = stage.name();
        match (self.0)(Progress { stage, done, of }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(crate::Error::Stopped { stage, done, of }),
        }
    }
}

/// Wall time of each stage of one image and one text prompt.
#[derive(Clone, Copy, Debug, Default)]
pub struct StageTimes([Duration; 7]);

impl StageTimes {
    /// Each stage with its name, in order.
    pub fn named(&self) -> [(&'static str, Duration); 7] {
        Stage::ALL.map(|stage| (stage.name(), self.0[stage as usize]))
    }

    /// All stages.
    pub fn total(&self) -> Duration {
        self.0.iter().sum()
    }
}

/// A clock that runs from one output to the next.
pub struct Clock {
    /// So far.
    pub times: StageTimes,
    since: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self {
            times: StageTimes::default(),
            since: Instant::now(),
        }
    }
}

impl Observer for Clock {
    fn wants_all_masks(&self) -> bool {
        true
    }

    fn made(&mut self, stage: Stage, _: &'static str, tensor: &Tensor) {
        // What has failed by then fails again where the result is read.
        let _ = tensor.wait();
        let now = Instant::now();
        self.times.0[stage as usize] += now - self.since;
        self.since = now;
    }
}

/// What every stage handed on.
#[derive(Default)]
pub struct Trace(Vec<(Stage, &'static str, Tensor)>);

impl Observer for Trace {
    fn wants_all_masks(&self) -> bool {
        true
    }

    fn made(&mut self, stage: Stage, output: &'static str, tensor: &Tensor) {
        self.0.push((stage, output, tensor.clone()));
    }
}

/// How far one output of a stage is from a reference's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageError {
    /// The stage's name.
    pub stage: &'static str,
    /// Which of its outputs.
    pub output: &'static str,
    /// The tensor's shape.
    pub shape: Vec<usize>,
    /// Largest difference, as a share of the reference's largest magnitude.
    pub max: f64,
    /// Mean difference, as a share of the reference's mean magnitude.
    pub mean: f64,
}

impl Trace {
    /// Each output's distance from that of `reference`, which is of a model of the same architecture. Where that saw
    /// the picture at another size, outputs of another shape have none.
    ///
    /// # Errors
    /// When the device fails.
    pub fn errors(&self, reference: &Self) -> crate::Result<Vec<StageError>> {
        let pairs = self.0.iter().zip(&reference.0);
        pairs
            .filter(|((_, _, tensor), (_, _, expected))| tensor.dims() == expected.dims())
            .map(|((stage, output, tensor), (_, _, expected))| {
                let (found, expected) = (tensor.to_f32()?, expected.to_f32()?);
                let share = |of: &dyn Fn(&mut dyn Iterator<Item = f64>) -> f64| {
                    let mut differences = found.iter().zip(&expected).map(|(a, b)| f64::from(a - b).abs());
                    let difference = of(&mut differences);
                    let scale = of(&mut expected.iter().map(|b| f64::from(b.abs())));
                    if difference == 0.0 { 0.0 } else { difference / scale }
                };
                Ok(StageError {
                    stage: stage.name(),
                    output,
                    shape: tensor.dims().to_vec(),
                    max: share(&|values| values.fold(0.0, |a: f64, b| if b > a || b.is_nan() { b } else { a })),
                    // The counts are the same: the ratio of the sums is that of the means.
                    mean: share(&|values| values.sum()),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use sam3_tensor::{DType, Device};

    use super::*;

    fn trace(values: &[f32]) -> Trace {
        let mut trace = Trace::default();
        trace.made(
            Stage::Neck,
            "x1",
            &Tensor::from_slice(values, (1, values.len()), &Device::Cpu).unwrap(),
        );
        trace
    }

    #[test]
    fn errors_are_shares_of_the_reference() {
        let errors = trace(&[1.0, -3.0, 0.0]).errors(&trace(&[1.0, -4.0, 1.0])).unwrap();
        assert_eq!((errors[0].stage, errors[0].output), ("vision neck", "x1"));
        assert_eq!((errors[0].max, errors[0].mean), (0.25, 2.0 / 6.0));
        let same = trace(&[0.0]).errors(&trace(&[0.0])).unwrap();
        assert_eq!((same[0].max, same[0].mean), (0.0, 0.0));
        let nan = trace(&[f32::NAN]).errors(&trace(&[1.0])).unwrap();
        assert!(nan[0].max.is_nan() && nan[0].mean.is_nan(), "{nan:?}");
        assert!(trace(&[1.0]).errors(&trace(&[1.0, 2.0])).unwrap().is_empty());
    }

    #[test]
    fn the_clock_gives_each_stage_its_own() {
        let mut clock = Clock::start();
        let nothing = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        clock.made(Stage::Decoder, "boxes", &nothing);
        clock.made(Stage::Decoder, "queries", &nothing);
        let decoder = clock.times.named()[Stage::Decoder as usize];
        assert_eq!(decoder.0, "decoder");
        assert!(decoder.1 >= Duration::from_millis(2));
        assert_eq!(decoder.1, clock.times.total());
    }
}
