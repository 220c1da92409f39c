//! Every stage against tensors that transformers' `Sam3Model` computed (`tools/goldens/make.py`).

use std::{collections::HashMap, sync::Arc};

use candle_core::{Device, Tensor};
use sam3_package::StateDict;

use super::{BoxPrompt, Detections, Sam3Image};
use crate::{
    Compute, Config, Weights, gpu,
    ops::{as_accelerator, emulated, testing::crate_folder},
};

/// Largest difference allowed, as a share of the expected tensor's largest magnitude: f32 rounding through a dozen layers.
const TOLERANCE: f32 = 2e-5;

/// The same on a GPU.
const GPU_TOLERANCE: f32 = 1e-3;

/// The same where an accelerator multiplies halves: 2⁻¹¹ a rounding with f16, 2⁻⁸ with bf16.
const F16_TOLERANCE: f32 = 5e-3;
const BF16_TOLERANCE: f32 = 3e-2;

struct Golden {
    model: Sam3Image,
    depth: usize,
    expected: HashMap<String, Tensor>,
    tolerance: f32,
    device: Device,
}

impl Golden {
    fn open(checkpoint: &str, expected: &str) -> Self {
        Self::open_on(&Device::Cpu, checkpoint, expected, Compute::F32, TOLERANCE)
    }

    fn open_on(device: &Device, checkpoint: &str, expected: &str, compute: Compute, tolerance: f32) -> Self {
        let root = crate_folder();
        let dict = Arc::new(StateDict::open(&root.join(checkpoint)).unwrap());
        let config = Config::of(&dict).unwrap();
        let weights = Weights::new(dict, device.clone()).with_compute(compute);
        let model = Sam3Image::load(&weights, &config).unwrap();
        assert_eq!(weights.finish().unwrap(), Vec::<String>::new(), "unexpected keys");
        let expected = candle_core::safetensors::load(root.join("tests/goldens").join(expected), &Device::Cpu).unwrap();
        Self {
            model,
            depth: config.vit.depth,
            expected,
            tolerance,
            device: device.clone(),
        }
    }

    fn get(&self, name: &str) -> Tensor {
        self.expected
            .get(name)
            .unwrap_or_else(|| panic!("no golden {name}"))
            .clone()
    }

    /// Compares with the golden of that name, where this golden file has one.
    fn check(&self, name: &str, found: &Tensor) {
        let Some(expected) = self.expected.get(name) else {
            return;
        };
        assert_eq!(
            found.elem_count(),
            expected.elem_count(),
            "{name}: {found:?} {expected:?}"
        );
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (found, expected) = (values(found), values(expected));
        let scale = expected.iter().fold(1e-3f32, |max, v| max.max(v.abs()));
        let worst = (0..found.len())
            .max_by(|&a, &b| {
                (found[a] - expected[a])
                    .abs()
                    .total_cmp(&(found[b] - expected[b]).abs())
            })
            .unwrap();
        let error = (found[worst] - expected[worst]).abs() / scale;
        assert!(
            error <= self.tolerance,
            "{name}[{worst}]: found {}, expected {}; error {error:e} of {scale}",
            found[worst],
            expected[worst]
        );
    }

    /// As `check`, for `[height, width, channels]` against PyTorch's `[1, channels, height, width]`.
    fn check_map(&self, name: &str, found: &Tensor) {
        self.check(name, &found.permute((2, 0, 1)).unwrap().contiguous().unwrap());
    }

    fn run(&self) {
        let pixels = self.pixels().to_device(&self.device).unwrap();
        let trunk = self.model.trunk.forward(&pixels).unwrap();
        self.check(&format!("image/vit.block.{}", self.depth - 1), &trunk);
        let features = self.model.encode_image(&pixels, &mut ()).unwrap();
        self.check_map("image/neck.0", &features.pyramid.x4);
        self.check_map("image/neck.1", &features.pyramid.x2);
        self.check_map("image/neck.2", &features.pyramid.x1);
        for kind in ["text", "boxes", "visual"] {
            let ids: Vec<u32> = self
                .get(&format!("{kind}/input_ids"))
                .flatten_all()
                .unwrap()
                .to_vec1::<i64>()
                .unwrap()
                .into_iter()
                .map(|id| id as u32)
                .collect();
            let text = self.model.text_encoder().unwrap().forward(&ids).unwrap();
            let boxes = self.boxes(kind);
            let geometry = self
                .model
                .geometry_encoder
                .forward(&boxes, &features.pyramid.x1, &self.model.pos)
                .unwrap();
            self.check(&format!("{kind}/geometry.features"), &geometry);
            let found = self.model.forward_grounding(&features, &text, &boxes, &mut ()).unwrap();
            self.check_detections(kind, &found);
        }
    }

    /// `[3, side, side]`, given as it is or as the picture's bytes.
    fn pixels(&self) -> Tensor {
        let Some(rgb) = self.expected.get("image/rgb") else {
            return self.get("image/pixel_values").squeeze(0).unwrap();
        };
        let rgb = rgb.to_dtype(candle_core::DType::F32).unwrap();
        rgb.permute((2, 0, 1))
            .unwrap()
            .affine(2.0 / 255.0, -1.0)
            .unwrap()
            .contiguous()
            .unwrap()
    }

    fn boxes(&self, kind: &str) -> Vec<BoxPrompt> {
        let Some(boxes) = self.expected.get(&format!("{kind}/boxes")) else {
            return Vec::new();
        };
        let labels = self
            .get(&format!("{kind}/labels"))
            .flatten_all()
            .unwrap()
            .to_vec1::<i64>()
            .unwrap();
        let boxes = boxes.to_vec2::<f32>().unwrap();
        boxes
            .into_iter()
            .zip(labels)
            .map(|(b, label)| BoxPrompt {
                cxcywh: [b[0], b[1], b[2], b[3]],
                positive: label == 1,
            })
            .collect()
    }

    fn check_detections(&self, kind: &str, found: &Detections) {
        for (name, tensor) in found.named() {
            assert!(
                self.expected.contains_key(&format!("{kind}/{name}")),
                "no golden {kind}/{name}"
            );
            self.check(&format!("{kind}/{name}"), tensor);
        }
    }
}

#[test]
fn odd_sizes_from_the_transformers_layout() {
    Golden::open("tests/goldens/odd/model.safetensors", "odd_expected.safetensors").run();
}

#[test]
fn odd_sizes_from_the_official_layout() {
    Golden::open("tests/goldens/odd/odd.pt", "odd_expected.safetensors").run();
}

/// Each precision that an accelerator has.
fn run_on(device: &Device, checkpoint: &str, expected: &str) {
    // A GPU adds in another order, and has its own sines and exponentials.
    let f32_tolerance = if device.is_cpu() { TOLERANCE } else { GPU_TOLERANCE };
    for (compute, tolerance) in [
        (Compute::F32, f32_tolerance),
        (Compute::F16, F16_TOLERANCE),
        (Compute::Bf16, BF16_TOLERANCE),
    ] {
        Golden::open_on(device, checkpoint, expected, compute, tolerance).run();
    }
}

/// The path that accelerators take, with main memory in the part of theirs.
#[test]
fn odd_sizes_on_an_accelerator() {
    as_accelerator(|| run_on(&Device::Cpu, "tests/goldens/odd/odd.pt", "odd_expected.safetensors"));
}

/// The same with the GPU's own kernels, compiled for the CPU: in one precision, as they take half a minute.
#[test]
fn odd_sizes_with_emulated_kernels() {
    let (model, expected) = ("tests/goldens/odd/odd.pt", "odd_expected.safetensors");
    as_accelerator(|| {
        emulated(|| Golden::open_on(&Device::Cpu, model, expected, Compute::F16, F16_TOLERANCE).run());
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU and --features cuda"]
fn odd_sizes_on_a_gpu() {
    let gpu = gpu::open(0).unwrap();
    run_on(&gpu, "tests/goldens/odd/odd.pt", "odd_expected.safetensors");
}

#[test]
fn the_trained_miniature() {
    with_trained("cpu", |model, expected| {
        Golden::open(model, expected).run();
        as_accelerator(|| run_on(&Device::Cpu, model, expected));
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU and --features cuda"]
fn the_trained_miniature_on_a_gpu() {
    let gpu = gpu::open(0).unwrap();
    with_trained("gpu", |model, expected| run_on(&gpu, model, expected));
}

fn with_trained(name: &str, run: impl FnOnce(&str, &str)) {
    let assets = crate_folder().join("../sam3-cli/assets/demo");
    let folder = std::env::temp_dir().join(format!("sam3-goldens-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let packed = std::fs::File::open(assets.join("model.safetensors.gz")).unwrap();
    let mut model = std::fs::File::create(folder.join("model.safetensors")).unwrap();
    std::io::copy(&mut flate2::read::GzDecoder::new(packed), &mut model).unwrap();
    std::fs::copy(assets.join("config.json"), folder.join("config.json")).unwrap();
    run(
        folder.join("model.safetensors").to_str().unwrap(),
        "trained_expected.safetensors",
    );
    std::fs::remove_dir_all(folder).unwrap();
}
