//! The architecture's config: inside a package, or `config.json` beside a checkpoint; only if it is SAM 3's.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{Checkpoint, Error, Result};

/// A config beside a checkpoint or in a package; the published one has 7 kB.
pub(crate) const MAX_BYTES: u64 = 256 << 10;

/// `model_type` of the image model's config and of the video model's, which holds the former.
const MODEL_TYPES: [&str; 2] = ["sam3", "sam3_video"];

/// What only SAM 3's config has, where it says neither `model_type` nor `architectures`.
const OWN_KEYS: [&str; 4] = [
    "detector_config",
    "geometry_encoder_config",
    "detr_encoder_config",
    "detr_decoder_config",
];

/// The `config` of embedded metadata; without metadata, `config.json` beside the file.
///
/// A config of another model is left out, with a warning. It is no error: such a file lies in many a folder of
/// downloads, the tensors tell most of the architecture, and SAM 3's own numbers are right for the rest.
pub(super) fn read(checkpoint: &Checkpoint, warnings: &mut Vec<String>) -> Result<Option<Value>> {
    let (config, place) = match inside(checkpoint)? {
        Some(config) => (Some(config), "the config in its metadata".to_owned()),
        None => {
            let path = checkpoint.path().with_file_name("config.json");
            let place = format!("{}", path.display());
            (beside(path)?, place)
        }
    };
    let Some(config) = config else {
        return Ok(None);
    };
    if let Err(whose) = is_sam3(&config) {
        warnings.push(format!(
            "{place} is the config of another model ({whose}), expected model_type \"sam3\": it is ignored, and \
             SAM 3's own numbers are taken"
        ));
        return Ok(None);
    }
    Ok(Some(detector(config)))
}

/// In the words of the config, whose it is where it is another model's.
fn is_sam3(config: &Value) -> Result<(), String> {
    let inner = config.get("detector_config").filter(|inner| inner.is_object());
    for config in [Some(config), inner].into_iter().flatten() {
        judge(config)?;
    }
    Ok(())
}

fn judge(config: &Value) -> Result<(), String> {
    let (kind, architectures) = (config.get("model_type"), config.get("architectures"));
    if let Some(kind) = kind
        && !kind.as_str().is_some_and(|kind| MODEL_TYPES.contains(&kind))
    {
        return Err(short("model_type", kind));
    }
    if let Some(Value::Array(names)) = architectures
        && !names.is_empty()
        && !names.iter().filter_map(Value::as_str).any(is_architecture)
    {
        return Err(short("architectures", &names[0]));
    }
    let backbone = config.pointer("/vision_config/backbone_config");
    if let Some(kind) = backbone.and_then(|backbone| backbone.get("model_type"))
        && kind != "sam3_vit_model"
    {
        return Err(short("the vision backbone's model_type", kind));
    }
    let says = kind.is_some() || architectures.is_some_and(|names| names.as_array().is_some_and(|n| !n.is_empty()));
    if says || backbone.is_some() || OWN_KEYS.iter().any(|key| config.get(key).is_some()) {
        Ok(())
    } else {
        Err("it has neither model_type nor any part of SAM 3's".into())
    }
}

/// `Sam3Model`, `Sam3VideoModel`, and what others derive from them; the tracker alone has other heads.
fn is_architecture(name: &str) -> bool {
    name.starts_with("Sam3") && !["Tracker", "LiteText"].iter().any(|other| name.contains(other))
}

/// A field of a file that may hold anything, for a message.
fn short(field: &str, value: &Value) -> String {
    let text: String = value.to_string().chars().filter(|c| !c.is_control()).take(60).collect();
    format!("{field} {text}")
}

/// A video model's config holds the image model's as `detector_config`.
fn detector(mut config: Value) -> Value {
    match config.get_mut("detector_config") {
        Some(inner) if inner.is_object() => inner.take(),
        _ => config,
    }
}

fn inside(checkpoint: &Checkpoint) -> Result<Option<Value>> {
    #[derive(Deserialize)]
    struct Embedded<'a> {
        #[serde(borrow)]
        config: Option<&'a RawValue>,
    }
    let Some(metadata) = checkpoint.metadata_json() else {
        return Ok(None);
    };
    let path = checkpoint.path();
    let broken = |e: serde_json::Error| Error::invalid(path, format!("the metadata inside it is malformed: {e}"));
    let embedded: Embedded<'_> = serde_json::from_slice(metadata).map_err(broken)?;
    let Some(config) = embedded.config else {
        return Ok(None);
    };
    let text = config.get();
    if text.len() as u64 > MAX_BYTES {
        let bytes = text.len();
        return Err(Error::invalid(
            path,
            format!("the config inside it has {bytes} bytes; at most {MAX_BYTES} are read"),
        ));
    }
    serde_json::from_str(text).map_err(broken).map(Some)
}

fn beside(path: PathBuf) -> Result<Option<Value>> {
    let meta = match std::fs::metadata(&path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", &path, e)),
    };
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(Error::invalid(
            &path,
            format!("it should be a JSON file of at most {MAX_BYTES} bytes: move it away from the checkpoint"),
        ));
    }
    let text = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
    let config: Value = serde_json::from_slice(&text).map_err(|e| {
        Error::invalid(
            &path,
            format!("it is not valid JSON ({e}): repair it or move it away from the checkpoint"),
        )
    })?;
    if !config.is_object() {
        return Err(Error::invalid(
            &path,
            "it should be a JSON object: repair it or move it away from the checkpoint",
        ));
    }
    Ok(Some(config))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_sam3s_own_configs_count() {
        for config in [
            json!({"model_type": "sam3"}),
            json!({"model_type": "sam3_video", "detector_config": {"model_type": "sam3"}}),
            json!({"model_type": "sam3", "architectures": ["Sam3Model"]}),
            json!({"architectures": ["Sam3VideoModel"]}),
            json!({"detector_config": {"vision_config": {"backbone_config": {"window_size": 24}}}}),
            json!({"vision_config": {"backbone_config": {"model_type": "sam3_vit_model"}}}),
            json!({"detr_decoder_config": {"num_attention_heads": 8}}),
        ] {
            assert_eq!(is_sam3(&config), Ok(()), "{config}");
        }
        for (config, whose) in [
            (
                json!({"model_type": "clip", "architectures": ["CLIPModel"]}),
                "model_type \"clip\"",
            ),
            (json!({"model_type": "sam2_video"}), "sam2_video"),
            (json!({"model_type": "sam3_tracker_video"}), "sam3_tracker_video"),
            (json!({"model_type": "sam3_lite_text"}), "sam3_lite_text"),
            (json!({"model_type": 3}), "model_type 3"),
            (
                json!({"architectures": ["CLIPModel"], "text_config": {"num_attention_heads": 8}}),
                "CLIPModel",
            ),
            (json!({"architectures": ["Sam3TrackerModel"]}), "Sam3TrackerModel"),
            (
                json!({"model_type": "sam3", "architectures": ["CLIPModel"]}),
                "CLIPModel",
            ),
            (
                json!({"model_type": "clip", "detector_config": {"model_type": "sam3"}}),
                "clip",
            ),
            (
                json!({"model_type": "sam3_video", "detector_config": {"model_type": "detr"}}),
                "detr",
            ),
            (
                json!({"vision_config": {"backbone_config": {"model_type": "hiera"}}}),
                "hiera",
            ),
            (json!({"text_config": {"num_attention_heads": 8}}), "neither"),
            (json!({}), "neither"),
        ] {
            let found = is_sam3(&config).expect_err("another model's");
            assert!(found.contains(whose), "{config}: {found}");
        }
    }
}
