//! The demo's model from end to end on the path that accelerators take: with main memory in the part of theirs, and on
//! a GPU.

use std::{fs, path::PathBuf, sync::Arc};

use sam3_package::{Precision, StateDict, package};
use sam3_tensor::{Device, open_gpu, testing::as_accelerator};

use super::{ExemplarBox, Instance, Options, Prompt, Segmenter};
use crate::{Compute, Error, auto_compute, image::Image, testing::crate_folder};

/// Of scores, and of boxes as shares of the picture.
const F32_TOLERANCE: f32 = 1e-3;

/// A copy of the demo's model, and packages of it, in a folder of one test's own.
pub(super) struct Demo {
    pub folder: PathBuf,
    pub scene: Image,
}

impl Demo {
    pub fn new(name: &str) -> Self {
        let assets = crate_folder().join("../sam3-cli/assets/demo");
        let folder = std::env::temp_dir().join(format!("sam3-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let packed = fs::File::open(assets.join("model.safetensors.gz")).unwrap();
        let mut model = fs::File::create(folder.join("model.safetensors")).unwrap();
        std::io::copy(&mut flate2::read::GzDecoder::new(packed), &mut model).unwrap();
        fs::copy(assets.join("config.json"), folder.join("config.json")).unwrap();
        Self {
            folder,
            scene: Image::open(assets.join("scene.png")).unwrap(),
        }
    }

    pub fn checkpoint(&self) -> Arc<StateDict> {
        Arc::new(StateDict::open(&self.folder.join("model.safetensors")).unwrap())
    }

    fn package(&self, precision: Precision) -> Arc<StateDict> {
        let source = self.checkpoint();
        let path = self.folder.join(format!("{}.pth", precision.name()));
        let mut options = package::Options::new(path.clone(), precision);
        options.config = Some(crate::Config::of(&source).unwrap().to_json());
        options.archive = None;
        if !path.exists() {
            package::write(&source, &options, &()).unwrap();
        }
        Arc::new(StateDict::open(&path).unwrap())
    }

    /// What is found by a text, by a box, and by both.
    fn segment(&self, dict: &Arc<StateDict>, device: &Device, compute: Compute) -> Vec<Vec<Instance>> {
        let model = Segmenter::load(dict.clone(), &Options::new(device).compute(compute)).unwrap();
        let encoded = model.encode(&self.scene).unwrap();
        let exemplar = ExemplarBox::positive([308.0, 49.0, 453.0, 199.0]);
        let prompts = [
            Prompt::text("boat"),
            Prompt::boxes([exemplar]),
            Prompt::text("boat").with_boxes([exemplar]),
        ];
        let segment = |prompt| model.segment(&encoded, prompt).unwrap();
        prompts.iter().map(segment).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The same queries, and `tolerance` between their scores and, as a share of the picture, their boxes.
fn assert_same(found: &[Vec<Instance>], expected: &[Vec<Instance>], tolerance: f32, what: &str) {
    for (prompt, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(!expected.is_empty(), "{what}, prompt {prompt}: nothing to compare");
        assert_eq!(found.len(), expected.len(), "{what}, prompt {prompt}");
        for (found, expected) in found.iter().zip(expected) {
            let apart = (found.score - expected.score).abs();
            assert!(apart <= tolerance, "{what}, prompt {prompt}: score {apart} apart");
            let iou = found.mask.iou(&expected.mask).unwrap();
            assert!(
                iou >= 1.0 - f64::from(3.0 * tolerance),
                "{what}, prompt {prompt}: IoU {iou}"
            );
            let sides = found.bbox.iter().zip(expected.bbox);
            let apart = sides.fold(0f32, |apart, (a, b)| apart.max((a - b).abs())) / 672.0;
            assert!(apart <= tolerance, "{what}, prompt {prompt}: box {apart} apart");
        }
    }
}

#[test]
fn every_kind_of_package_finds_the_same_there() {
    let demo = Demo::new("accelerator");
    check(&demo, |dict, compute| {
        as_accelerator(|| demo.segment(dict, &Device::Cpu, compute))
    });
    as_accelerator(|| {
        for (precision, auto) in [
            (Precision::Fp16, Compute::F16),
            (Precision::Bf16, Compute::Bf16),
            (Precision::Int8, Compute::F16),
        ] {
            assert_eq!(auto_compute(&demo.package(precision), &Device::Cpu), auto);
        }
        assert_eq!(auto_compute(&demo.checkpoint(), &Device::Cpu), Compute::F32);
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU and --features cuda"]
fn every_kind_of_package_finds_the_same_on_a_gpu() {
    let (demo, gpu) = (Demo::new("gpu"), open_gpu(0).unwrap());
    check(&demo, |dict, compute| demo.segment(dict, &gpu, compute));
}

/// Compares with the CPU in f32, package by package.
fn check(demo: &Demo, segment: impl Fn(&Arc<StateDict>, Compute) -> Vec<Vec<Instance>>) {
    let checkpoint = demo.checkpoint();
    let expected = demo.segment(&checkpoint, &Device::Cpu, Compute::F32);
    assert_same(&segment(&checkpoint, Compute::F32), &expected, F32_TOLERANCE, "f32");
    for (precision, compute, tolerance) in [
        (Precision::Fp16, Compute::F32, F32_TOLERANCE),
        (Precision::Fp16, Compute::F16, 5e-3),
        (Precision::Bf16, Compute::Bf16, 2e-2),
        (Precision::Int8, Compute::F32, F32_TOLERANCE),
        (Precision::Int8, Compute::F16, 5e-3),
    ] {
        let package = demo.package(precision);
        let expected = demo.segment(&package, &Device::Cpu, Compute::F32);
        let what = format!("{} in {}", precision.name(), compute.name());
        assert_same(&segment(&package, compute), &expected, tolerance, &what);
    }
}

#[test]
fn a_precision_that_the_device_lacks_is_refused() {
    let demo = Demo::new("precision");
    let load = |compute| match Segmenter::load(demo.checkpoint(), &Options::new(&Device::Cpu).compute(compute)) {
        Err(Error::Precision(reason)) => reason,
        Err(other) => panic!("{other}"),
        Ok(_) => String::new(),
    };
    assert!(load(Compute::F16).starts_with("f16 products: the CPU has none"));
    assert_eq!(load(Compute::Int8), "");
    as_accelerator(|| {
        assert!(load(Compute::Int8).starts_with("int8 products: a GPU has none here"));
        assert_eq!(load(Compute::F16), "");
    });
}
