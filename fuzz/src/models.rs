//! Models to damage by their names, shapes and config: kept as text, from which a checkpoint of zeros is made.
//!
//! A line is a tensor, `name shape`, as in `detector.transformer.decoder.query_embed.weight 7,24`; one that begins with
//! `{` is the metadata of a package.

use std::{fmt::Write as _, fs, path::Path, sync::Arc};

use sam3_model::{Config, Device, Options, Segmenter};
use sam3_package::{
    Precision, StateDict,
    package::{self, BakedPrompts},
};
use serde_json::{Value, json};

/// What is made of an input at most; larger tensors are cut off.
const LARGEST: usize = 8 << 20;

/// What a config may ask for, if the model is to be loaded, too: tables of a gigabyte are not at fault.
const LARGEST_IMAGE: usize = 2048;

/// The miniature of odd sizes: as a checkpoint, and as a package of baked prompts.
pub fn seeds() -> Vec<Vec<u8>> {
    let odd = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/sam3-model/tests/goldens/odd/odd.pt");
    let source = StateDict::open(&odd).expect("the miniature opens");
    let config = Config::of(&source).expect("the miniature is a model").to_json();
    let folder = std::env::temp_dir().join(format!("sam3-fuzz-model-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the seed");
    let path = folder.join("x.safetensors");
    let mut options = package::Options::new(path.clone(), Precision::Fp16);
    options.archive = None;
    options.force = true;
    options.created = 0;
    options.config = Some(config.clone());
    options.baked = Some(BakedPrompts {
        texts: vec!["boat".into(), "visual".into()],
        shape: [2, 32, 24],
        features: vec![0.0; 2 * 32 * 24],
    });
    package::write(&source, &options, &()).expect("the miniature is packaged");
    let package = StateDict::open(&path).expect("the package opens");
    let metadata = package.metadata_json().expect("a package has metadata");
    let mut metadata: Value = serde_json::from_slice(metadata).expect("metadata is JSON");
    metadata["tensors"] = json!([]);
    let seeds = vec![text(&source, &json!({ "config": config })), text(&package, &metadata)];
    fs::remove_dir_all(folder).ok();
    for seed in &seeds {
        let path = std::env::temp_dir().join(format!("sam3-fuzz-model-{}.safetensors", std::process::id()));
        fs::write(&path, file(seed)).expect("write the seed");
        assert!(try_open(&path), "the seed is no model");
        fs::remove_file(path).ok();
    }
    seeds
}

fn text(dict: &StateDict, metadata: &Value) -> Vec<u8> {
    let mut text = format!("{metadata}\n");
    for tensor in dict.tensors() {
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        writeln!(text, "{} {}", tensor.name, shape.join(",")).expect("writing to memory");
    }
    text.into_bytes()
}

/// The checkpoint that a text describes, every tensor in half precision.
pub fn file(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let mut header = serde_json::Map::new();
    let mut end = 0usize;
    for line in text.lines() {
        if line.starts_with('{') {
            header.insert("__metadata__".into(), json!({ "sam3_metadata": line }));
            continue;
        }
        let (name, shape) = line.rsplit_once(' ').unwrap_or((line, ""));
        let shape: Vec<u64> = shape.split(',').filter_map(|extent| extent.parse().ok()).collect();
        let elements = shape
            .iter()
            .fold(1u64, |product, &extent| product.saturating_mul(extent));
        let start = end;
        end = end.saturating_add(usize::try_from(elements.saturating_mul(2)).unwrap_or(usize::MAX));
        let tensor = json!({ "dtype": "F16", "shape": shape, "data_offsets": [start, end] });
        header.insert(name.into(), tensor);
    }
    let header = Value::from(header).to_string();
    let mut file = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    file.resize(file.len() + end.min(LARGEST), 0);
    file
}

/// Reads the architecture, and loads the model where it is a small one.
pub fn try_open(path: &Path) -> bool {
    let Ok(dict) = StateDict::open(path) else {
        return false;
    };
    let Ok(config) = Config::of(&dict) else {
        return false;
    };
    assert_eq!(Config::of(&dict).ok(), Some(config.clone()));
    if config.vit.image_size > LARGEST_IMAGE {
        return false;
    }
    let Ok(segmenter) = Segmenter::load(Arc::new(dict), &Options::new(&Device::Cpu)) else {
        return false;
    };
    assert_eq!(
        segmenter.baked_prompts().is_empty(),
        config.detector.is_none_or(|detector| detector.text.is_some())
    );
    true
}
