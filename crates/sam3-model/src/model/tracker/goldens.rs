//! The click head's parts against what the official code computed, of a seeded miniature (`tests/goldens/tracker`).

use std::{collections::HashMap, sync::Arc};

use sam3_package::StateDict;
use sam3_tensor::{
    Device, Tensor, open_gpu,
    testing::{as_accelerator, emulated},
};

use super::{Clicked, Tracker, TrackerFeatures};
use crate::{
    Compute, Config, Weights,
    model::{Label, Point},
    testing::{ClickCase, ClickedCase, read_tensors},
};

/// Largest difference of tokens, maps and logits: several times what f32 is from f64 there.
const TOLERANCE: f32 = 2e-3;
/// The same of the maps and positions that the decoder starts from.
const INPUT_TOLERANCE: f32 = 1e-4;
/// The same of predicted IoUs.
const IOU_TOLERANCE: f32 = 1e-4;

struct Golden {
    tracker: Tracker,
    expected: HashMap<String, Tensor>,
    features: TrackerFeatures,
}

impl Golden {
    fn open(device: &Device, compute: Compute) -> Self {
        let folder = ClickCase::folder();
        let dict = Arc::new(StateDict::open(&folder.join("mini.pt")).unwrap());
        let config = Config::of(&dict).unwrap();
        let weights = Weights::new(dict, device.clone()).with_compute(compute);
        let tracker = Tracker::load(&weights, &config).unwrap();
        weights.check("clicks need").unwrap();
        let expected = read_tensors(&folder.join("clicks.safetensors"));
        let trunk = expected["trunk"].permute([1, 2, 0]).unwrap().to_device(device).unwrap();
        Self {
            features: tracker.encode(&trunk).unwrap(),
            tracker,
            expected,
        }
    }

    #[track_caller]
    fn check(&self, name: &str, found: &Tensor, tolerance: f32) {
        close(
            &found.to_f32().unwrap(),
            &self.expected[name].to_f32().unwrap(),
            tolerance,
            name,
        );
    }

    /// `[channels, height, width]` as `[height × width, channels]`.
    fn check_map(&self, name: &str, found: &Tensor, tolerance: f32) {
        let (channels, height, width) = self.expected[name].dims3().unwrap();
        let found = found.reshape((height * width, channels)).unwrap();
        self.check(name, &found.t().unwrap(), tolerance);
    }

    fn points(&self, case: &ClickedCase) -> Vec<Point> {
        let place = |[x, y]: [f32; 2], label| Point {
            share: [(f64::from(x), 301.0), (f64::from(y), 227.0)]
                .map(|(at, extent)| (at * 224.0 / extent + 0.5) / 224.0),
            label,
        };
        let corners =
            |[x1, y1, x2, y2]: [f32; 4]| [place([x1, y1], Label::TopLeft), place([x2, y2], Label::BottomRight)];
        let label = |positive| if positive { Label::Positive } else { Label::Negative };
        let points = case.points.iter().map(|(xy, positive)| place(*xy, label(*positive)));
        case.bounding_box.into_iter().flat_map(corners).chain(points).collect()
    }

    /// Compares the cases of these names, or all of them.
    fn run(&self, tolerance: f32, only: &[&str]) {
        let encoder = &self.tracker.sam_prompt_encoder;
        let mut cases = ClickCase::all();
        cases.retain(|name, _| only.is_empty() || only.contains(&name.as_str()));
        for (name, case) in cases {
            let mask = case.mask_input.as_ref().map(|mask| {
                let mask = self.expected[mask].squeeze(0).unwrap();
                mask.to_device(self.features.f.device()).unwrap()
            });
            let (mut tokens, mut masks) = (Vec::new(), Vec::new());
            for (object, clicked) in case.objects().iter().enumerate() {
                let points = self.points(clicked);
                let found = self
                    .tracker
                    .click(
                        &self.features,
                        &Clicked {
                            points: &points,
                            mask: mask.as_ref(),
                        },
                    )
                    .unwrap();
                if !points.is_empty() {
                    let sparse = encoder.embed_points(&points).unwrap();
                    assert_eq!(sparse.dims()[0], case.sparse_tokens, "{name}");
                    tokens.extend(sparse.to_f32().unwrap());
                }
                let ious = found.iou_logits.to_f32().unwrap().into_iter();
                let ious: Vec<f32> = ious.map(|logit| 1.0 / (1.0 + (-logit).exp())).collect();
                close(
                    &ious,
                    &case.all_iou[object],
                    tolerance.max(IOU_TOLERANCE) / 20.0 + IOU_TOLERANCE,
                    &name,
                );
                let score = found.object_score_logit.to_f32().unwrap();
                close(&score, &case.object_score_logit[object..=object], tolerance, &name);
                masks.extend(found.masks.to_f32().unwrap());
            }
            if let Some(expected) = self.expected.get(&format!("{name}.sparse")) {
                close(&tokens, &expected.to_f32().unwrap(), 1e-3, &name);
            }
            if let Some(expected) = self.expected.get(&format!("{name}.all_masks")) {
                close(&masks, &expected.to_f32().unwrap(), tolerance, &name);
            }
            if let Some(mask) = mask.filter(|_| self.expected.contains_key(&format!("{name}.dense"))) {
                let dense = encoder.embed_mask(&mask).unwrap();
                let expected = self.expected[&format!("{name}.dense")].squeeze(0).unwrap();
                let expected = expected.reshape((dense.dim(1).unwrap(), ())).unwrap().t().unwrap();
                close(&dense.to_f32().unwrap(), &expected.to_f32().unwrap(), 1e-3, &name);
            }
        }
    }
}

/// Each value within `tolerance`.
#[track_caller]
fn close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let apart = |(found, expected): (&f32, &f32)| (found - expected).abs();
    let worst = found.iter().zip(expected).map(apart).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{what}: {worst} apart");
    assert!(found.iter().all(|value| value.is_finite()), "{what}");
}

#[test]
fn the_neck_and_the_positions_are_the_official_ones() {
    let golden = Golden::open(&Device::Cpu, Compute::F32);
    let features = &golden.features;
    for (name, found) in [("s0", &features.s0), ("s1", &features.s1), ("f", &features.f)] {
        golden.check_map(name, found, INPUT_TOLERANCE);
    }
    golden.check_map("dense_pe", &features.image_pe, 1e-5);
}

#[test]
fn every_case_is_decoded_as_officially() {
    Golden::open(&Device::Cpu, Compute::F32).run(TOLERANCE, &[]);
}

/// The path that accelerators take, with main memory in the part of theirs, and with the GPU's own kernels.
#[test]
fn every_case_is_decoded_so_on_an_accelerator() {
    as_accelerator(|| {
        Golden::open(&Device::Cpu, Compute::F32).run(TOLERANCE, &[]);
        // Two of them have all kernels in them, which take seconds.
        let two = ["box_and_clicks_single", "mask_only_multi"];
        emulated(|| Golden::open(&Device::Cpu, Compute::F32).run(TOLERANCE, &two));
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU and --features cuda"]
fn every_case_is_decoded_so_on_a_gpu() {
    Golden::open(&open_gpu(0).unwrap(), Compute::F32).run(TOLERANCE, &[]);
}
