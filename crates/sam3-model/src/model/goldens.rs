//! Every stage against tensors that transformers' `Sam3Model` computed (`tools/goldens/make.py`).

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use sam3_package::StateDict;
use sam3_tensor::{
    Device, Tensor, open_gpu,
    testing::{as_accelerator, emulated},
};

use super::{BoxPrompt, Detections, Observer, Sam3Image, Stage, ViT};
use crate::{
    Compute, Config, Weights,
    input_size::InputSize,
    testing::{crate_folder, read_tensors},
};

/// Largest difference allowed, as a share of the expected tensor's largest magnitude: f32 rounding through a dozen
/// layers.
const TOLERANCE: f32 = 2e-5;

/// The same on a GPU.
const GPU_TOLERANCE: f32 = 1e-3;

/// The same where an accelerator multiplies halves: 2⁻¹¹ a rounding with f16, 2⁻⁸ with bf16.
const F16_TOLERANCE: f32 = 5e-3;
const BF16_TOLERANCE: f32 = 3e-2;

/// A file of goldens, and which stages of a case it holds: `make.py` has the same lists.
#[derive(Clone, Copy)]
struct Recorded {
    file: &'static str,
    /// Where it is not the model's own.
    image_size: Option<usize>,
    holds: fn(case: &str, stage: &str) -> bool,
}

const ODD: Recorded = Recorded {
    file: "odd_expected.safetensors",
    image_size: None,
    holds: |case, stage| case == "boxes" || !["mask.prompt_attention", "mask.pixel_decoder"].contains(&stage),
};

/// The same model at other image sizes: in windows that the grid does not fill, and larger than its own.
const ODD_98: Recorded = Recorded {
    file: "odd_98_expected.safetensors",
    image_size: Some(98),
    holds: depends_on_size,
};
const ODD_196: Recorded = Recorded {
    file: "odd_196_expected.safetensors",
    image_size: Some(196),
    holds: depends_on_size,
};

fn depends_on_size(_: &str, stage: &str) -> bool {
    let stages = [
        "vit.",
        "neck.position",
        "geometry.features",
        "fusion.output",
        "decoder.boxes.",
    ];
    let outputs = ["pred_", "presence_logits", "semantic_seg"];
    stages.iter().chain(&outputs).any(|name| stage.starts_with(name))
}

const TRAINED: Recorded = Recorded {
    file: "trained_expected.safetensors",
    image_size: None,
    holds: |_, stage| {
        let stages = [
            "vit.patch_embed",
            "vit.block.3",
            "neck.2",
            "text.features",
            "geometry.features",
        ];
        let outputs = ["fusion.output", "pred_", "presence_logits", "semantic_seg"];
        stages.contains(&stage) || stage.starts_with("decoder.") || outputs.iter().any(|name| stage.starts_with(name))
    },
};

struct Golden {
    trunk: ViT,
    model: Sam3Image,
    recorded: Recorded,
    expected: HashMap<String, Tensor>,
    /// Names in `expected` that were looked at.
    used: Mutex<BTreeSet<String>>,
    tolerance: f32,
    device: Device,
    size: Arc<InputSize>,
}

impl Golden {
    fn open(checkpoint: &str, recorded: Recorded) -> Self {
        Self::open_on(&Device::Cpu, checkpoint, recorded, Compute::F32, TOLERANCE)
    }

    fn open_on(device: &Device, checkpoint: &str, recorded: Recorded, compute: Compute, tolerance: f32) -> Self {
        let root = crate_folder();
        let dict = Arc::new(StateDict::open(&root.join(checkpoint)).unwrap());
        let config = Config::of(&dict).unwrap();
        let weights = Weights::new(dict, device.clone()).with_compute(compute);
        let trunk = ViT::load(&weights.pp("detector.backbone.vision_backbone.trunk"), &config.vit).unwrap();
        let model = Sam3Image::load(&weights, &weights, &config, config.detector.as_ref().unwrap()).unwrap();
        assert_eq!(weights.finish().unwrap(), Vec::<String>::new(), "unexpected keys");
        let goldens = root.join("tests/goldens").join(recorded.file);
        let image_size = recorded.image_size.unwrap_or(config.vit.image_size);
        Self {
            trunk,
            model,
            recorded,
            expected: read_tensors(&goldens),
            used: Mutex::default(),
            tolerance,
            device: device.clone(),
            size: Arc::new(InputSize::new(image_size, &config, device).unwrap()),
        }
    }

    fn get(&self, name: &str) -> &Tensor {
        self.used.lock().unwrap().insert(name.to_owned());
        self.expected.get(name).unwrap_or_else(|| panic!("no golden {name}"))
    }

    /// Compares with the golden of that name, if this is one of those in the file.
    fn check(&self, case: &str, stage: &str, found: &Tensor) {
        if !(self.recorded.holds)(case, stage) {
            return;
        }
        let name = format!("{case}/{stage}");
        let expected = self.get(&name);
        assert_eq!(
            found.elem_count(),
            expected.elem_count(),
            "{name}: {found:?} {expected:?}"
        );
        let values = |tensor: &Tensor| tensor.to_f32().unwrap();
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
    fn check_map(&self, case: &str, stage: &str, found: &Tensor) {
        self.check(case, stage, &found.permute([2, 0, 1]).unwrap());
    }

    /// Every tensor in the file is an input or is compared.
    fn run(&self) {
        let model = &self.model;
        let pixels = self.pixels().to_device(&self.device).unwrap();
        let watch = &mut Watch::new(self, "image");
        let trunk = self.trunk.forward(pixels, &self.size, watch).unwrap();
        let features = model.encode_image(trunk, &self.size, watch).unwrap();
        let grid = self.size.cells.side();
        let pos = self.size.pos.reshape((grid, grid, ())).unwrap();
        self.check_map("image", "neck.position", &pos);
        for case in ["text", "boxes", "visual"] {
            let mut watch = Watch::new(self, case);
            let text = model
                .text_encoder()
                .unwrap()
                .forward(&self.ids(case), &mut watch)
                .unwrap();
            self.check(case, "text.features", &text.features);
            let boxes = self.boxes(case);
            let found = model.forward_grounding(&features, &text, &boxes, &mut watch).unwrap();
            self.check_detections(case, &found);
        }
        let used = self.used.lock().unwrap();
        let unused: Vec<_> = self.expected.keys().filter(|name| !used.contains(*name)).collect();
        assert!(unused.is_empty(), "nothing was compared with {unused:?}");
    }

    /// `[3, side, side]`, given as it is or as the picture's bytes.
    fn pixels(&self) -> Tensor {
        if !self.expected.contains_key("image/rgb") {
            return self.get("image/pixel_values").squeeze(0).unwrap();
        }
        let rgb = self.get("image/rgb").permute([2, 0, 1]).unwrap();
        rgb.affine(2.0 / 255.0, -1.0).unwrap()
    }

    fn ids(&self, case: &str) -> Vec<u32> {
        let ids = self.get(&format!("{case}/input_ids")).to_vec::<f32>().unwrap();
        ids.into_iter().map(|id| id as u32).collect()
    }

    fn boxes(&self, case: &str) -> Vec<BoxPrompt> {
        if case == "text" {
            return Vec::new();
        }
        let labels = self.get(&format!("{case}/labels")).to_vec::<f32>().unwrap();
        let boxes = self.get(&format!("{case}/boxes")).to_vec::<f32>().unwrap();
        let boxes = boxes.as_chunks().0.iter().zip(labels);
        boxes
            .map(|(cxcywh, label)| BoxPrompt {
                cxcywh: *cxcywh,
                positive: label == 1.0,
            })
            .collect()
    }

    fn check_detections(&self, case: &str, found: &Detections) {
        for (name, tensor) in found.named().unwrap() {
            self.check(case, name, &tensor);
        }
    }
}

/// Compares what a run passes by.
struct Watch<'a> {
    golden: &'a Golden,
    case: &'a str,
    /// What the fusion encoder made.
    memory: Option<Tensor>,
}

impl<'a> Watch<'a> {
    fn new(golden: &'a Golden, case: &'a str) -> Self {
        Self {
            golden,
            case,
            memory: None,
        }
    }
}

impl Observer for Watch<'_> {
    fn made(&mut self, _: Stage, output: &'static str, tensor: &Tensor) {
        match output {
            "x4" => self.golden.check_map(self.case, "neck.0", tensor),
            "x2" => self.golden.check_map(self.case, "neck.1", tensor),
            "x1" => self.golden.check_map(self.case, "neck.2", tensor),
            "memory" => {
                self.golden.check(self.case, "fusion.output", tensor);
                self.memory = Some(tensor.clone());
            }
            _ => {}
        }
    }

    fn passed(&mut self, part: &'static str, layer: Option<usize>, tensor: &Tensor) {
        let name = layer.map_or(part.to_owned(), |layer| format!("{part}.{layer}"));
        match part {
            "mask.pixel_decoder" => self.golden.check_map(self.case, &name, tensor),
            // The golden is what attention adds to its input.
            "mask.coarse" => {
                let memory = self.memory.as_ref().expect("the fusion encoder comes first");
                let added = (tensor.reshape(memory.dims()).unwrap() - memory).unwrap();
                self.golden.check(self.case, "mask.prompt_attention", &added);
            }
            "decoder.layer" => {
                let presence = self.golden.model.decoder.presence_logit(tensor).unwrap();
                let name = name.replace("layer", "presence");
                self.golden.check(self.case, &name, &presence);
            }
            _ => self.golden.check(self.case, &name, tensor),
        }
    }
}

#[test]
fn odd_sizes_from_the_transformers_layout() {
    Golden::open("tests/goldens/odd/model.safetensors", ODD).run();
}

#[test]
fn odd_sizes_from_the_official_layout() {
    Golden::open("tests/goldens/odd/odd.pt", ODD).run();
}

#[test]
fn other_image_sizes() {
    let model = "tests/goldens/odd/odd.pt";
    for recorded in [ODD_98, ODD_196] {
        Golden::open(model, recorded).run();
        as_accelerator(|| run_on(&Device::Cpu, model, recorded));
    }
    as_accelerator(|| {
        emulated(|| Golden::open_on(&Device::Cpu, model, ODD_98, Compute::F16, F16_TOLERANCE).run());
    });
}

/// The official scores are clamped there; those of the goldens are nearer to 0.
#[test]
fn logits_end_at_twelve() {
    let golden = Golden::open("tests/goldens/odd/odd.pt", ODD);
    let model = &golden.model;
    let trunk = golden.trunk.forward(golden.pixels(), &golden.size, &mut ()).unwrap();
    let features = model.encode_image(trunk, &golden.size, &mut ()).unwrap();
    let text = model
        .text_encoder()
        .unwrap()
        .forward(&golden.ids("text"), &mut ())
        .unwrap();
    let geometry = model.encode_geometry(&features, &[], &mut ()).unwrap();
    let prompt = super::Prompt::of(&text, &geometry).unwrap();
    let logits = |queries: f64| -> Vec<f32> {
        let queries = (golden.get("text/decoder.hidden.2").squeeze(0).unwrap() * queries).unwrap();
        let logits = model.dot_prod_scoring.forward(&queries, &prompt, &mut ()).unwrap();
        logits.to_vec().unwrap()
    };
    for logit in logits(1e6) {
        assert_eq!(logit.abs(), 12.0);
    }
    assert!(logits(f64::NAN).iter().all(|logit| logit.is_nan()));
}

/// Each precision that an accelerator has.
fn run_on(device: &Device, checkpoint: &str, expected: Recorded) {
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
    as_accelerator(|| run_on(&Device::Cpu, "tests/goldens/odd/odd.pt", ODD));
}

/// The same with the GPU's own kernels, compiled for the CPU: in one precision, as they take half a minute.
#[test]
fn odd_sizes_with_emulated_kernels() {
    let model = "tests/goldens/odd/odd.pt";
    as_accelerator(|| {
        emulated(|| Golden::open_on(&Device::Cpu, model, ODD, Compute::F16, F16_TOLERANCE).run());
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU and --features cuda"]
fn odd_sizes_on_a_gpu() {
    let gpu = open_gpu(0).unwrap();
    for recorded in [ODD, ODD_98, ODD_196] {
        run_on(&gpu, "tests/goldens/odd/odd.pt", recorded);
    }
}

#[test]
fn the_trained_miniature() {
    with_trained("cpu", |model| {
        Golden::open(model, TRAINED).run();
        as_accelerator(|| run_on(&Device::Cpu, model, TRAINED));
    });
}

#[test]
#[ignore = "needs an NVIDIA GPU and --features cuda"]
fn the_trained_miniature_on_a_gpu() {
    let gpu = open_gpu(0).unwrap();
    with_trained("gpu", |model| run_on(&gpu, model, TRAINED));
}

fn with_trained(name: &str, run: impl FnOnce(&str)) {
    let assets = crate_folder().join("../sam3-cli/assets/demo");
    let folder = std::env::temp_dir().join(format!("sam3-goldens-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let packed = std::fs::File::open(assets.join("model.safetensors.gz")).unwrap();
    let mut model = std::fs::File::create(folder.join("model.safetensors")).unwrap();
    std::io::copy(&mut flate2::read::GzDecoder::new(packed), &mut model).unwrap();
    std::fs::copy(assets.join("config.json"), folder.join("config.json")).unwrap();
    run(folder.join("model.safetensors").to_str().unwrap());
    std::fs::remove_dir_all(folder).unwrap();
}
