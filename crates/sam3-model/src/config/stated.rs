//! What neither key names nor shapes can tell, as transformers' `config.json` or a package's metadata states it.

use sam3_package::StateDict;
use serde_json::{Value, json};

use super::{Config, DetectorConfig, StackConfig};
use crate::error::{Error, Result};

/// A checkpoint's config, where there is one; a field is named by its path, such as `text_config.num_attention_heads`.
pub struct Stated<'a> {
    dict: &'a StateDict,
}

impl<'a> Stated<'a> {
    pub fn of(dict: &'a StateDict) -> Self {
        Self { dict }
    }

    /// A number from 1 to `most`.
    pub fn number(&self, path: &str, most: usize) -> Result<Option<usize>> {
        let expected = || format!("a whole number from 1 to {most}");
        self.read(path, expected, |value| {
            whole(value).filter(|number| (1..=most).contains(number))
        })
    }

    /// The side of a square, which transformers writes as a number or as a pair.
    pub fn side(&self, path: &str, most: usize) -> Result<Option<usize>> {
        let expected = || format!("the side of a square, a whole number from 1 to {most}");
        let side = |value: &Value| match value.as_array().map(Vec::as_slice) {
            Some([height, width]) => whole(height).filter(|height| whole(width) == Some(*height)),
            Some(_) => None,
            None => whole(value),
        };
        self.read(path, expected, |value| {
            side(value).filter(|side| (1..=most).contains(side))
        })
    }

    /// A list of numbers below `end`, ascending, each once.
    pub fn indices(&self, path: &str, end: usize) -> Result<Option<Vec<usize>>> {
        let expected = || format!("a list of distinct whole numbers below {end}");
        self.read(path, expected, |value| {
            let numbers = value
                .as_array()?
                .iter()
                .map(|value| whole(value).filter(|&number| number < end));
            let mut numbers = numbers.collect::<Option<Vec<_>>>()?;
            numbers.sort_unstable();
            numbers.is_sorted_by(|a, b| a < b).then_some(numbers)
        })
    }

    /// A number between 0 and 1, and neither of these.
    pub fn fraction(&self, path: &str) -> Result<Option<f64>> {
        let expected = || "a number between 0 and 1".to_owned();
        self.read(path, expected, |value| {
            value.as_f64().filter(|&number| 0.0 < number && number < 1.0)
        })
    }

    /// An error where another number is stated than the tensors have.
    pub fn agrees(&self, path: &str, found: usize) -> Result<()> {
        let expected = || format!("{found}, as in the tensors");
        self.read(path, expected, |value| (whole(value)? == found).then_some(()))
            .map(drop)
    }

    /// The field at `path`; none where it is not there or null.
    fn read<T>(
        &self,
        path: &str,
        expected: impl Fn() -> String,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let mut value = self.dict.config();
        let mut steps = path.split('.');
        while let Some(inner) = value.filter(|value| !value.is_null()) {
            let Some(step) = steps.next() else {
                return read(inner)
                    .map(Some)
                    .ok_or_else(|| self.fault(path, &expected(), inner));
            };
            let fields = inner
                .as_object()
                .ok_or_else(|| self.fault(path, "an object around it", inner))?;
            value = fields.get(step);
        }
        Ok(None)
    }

    fn fault(&self, path: &str, expected: &str, found: &Value) -> Error {
        let found = found.to_string();
        let shown: String = found.chars().take(60).collect();
        let ellipsis = if shown.len() < found.len() { "…" } else { "" };
        Error::Checkpoint {
            path: self.dict.path().to_owned(),
            reason: format!(
                "{path} of its config (config.json beside it, or the package's metadata): expected {expected}, \
                 found {shown}{ellipsis}; put the model's own config.json beside it, or package it again"
            ),
        }
    }
}

fn whole(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|number| usize::try_from(number).ok())
}

/// A config in transformers' schema.
pub fn write(config: &Config) -> Value {
    let vit = &config.vit;
    let mut value = json!({
        "model_type": "sam3",
        "vision_config": {
            "fpn_hidden_size": config.d_model,
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": vit.width,
                "intermediate_size": vit.mlp,
                "num_hidden_layers": vit.depth,
                "num_attention_heads": vit.heads,
                "image_size": vit.image_size,
                "patch_size": vit.patch_size,
                "pretrain_image_size": vit.pretrain_grid * vit.patch_size,
                "window_size": vit.window,
                "global_attn_indexes": vit.global_blocks,
                "layer_norm_eps": vit.eps,
            },
        },
    });
    if let Some(detector) = &config.detector {
        write_detector(detector, config.d_model, &mut value);
    }
    value
}

fn write_detector(detector: &DetectorConfig, d_model: usize, value: &mut Value) {
    let stack = |stack: &StackConfig| {
        json!({
            "hidden_size": d_model,
            "num_layers": stack.depth,
            "num_attention_heads": stack.heads,
        })
    };
    value["geometry_encoder_config"] = stack(&detector.geometry);
    value["geometry_encoder_config"]["roi_size"] = json!(detector.roi_size);
    value["detr_encoder_config"] = stack(&detector.fusion);
    value["detr_decoder_config"] = stack(&detector.decoder);
    value["detr_decoder_config"]["num_queries"] = json!(detector.queries);
    value["mask_decoder_config"] = json!({ "hidden_size": d_model, "num_attention_heads": detector.mask_heads });
    if let Some(text) = &detector.text {
        value["text_config"] = json!({
            "model_type": "clip_text_model",
            "hidden_size": text.width,
            "num_hidden_layers": text.depth,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.context,
            "vocab_size": text.vocab,
        });
    }
}
