//! The part of transformers' `config.json` that neither key names nor shapes can tell.

use sam3_package::StateDict;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Config;
use crate::error::{Error, Result};

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Sam3Config {
    pub vision_config: Vision,
    pub text_config: Stack,
    pub geometry_encoder_config: Stack,
    pub detr_encoder_config: Stack,
    pub detr_decoder_config: Stack,
    pub mask_decoder_config: Stack,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Vision {
    pub backbone_config: Backbone,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Backbone {
    pub image_size: Option<Size>,
    pub num_attention_heads: Option<usize>,
    pub window_size: Option<usize>,
    pub global_attn_indexes: Option<Vec<usize>>,
    pub layer_norm_eps: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Stack {
    pub num_attention_heads: Option<usize>,
}

/// transformers writes a square as a number or as a pair.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
pub enum Size {
    Side(usize),
    Pair([usize; 2]),
}

impl Size {
    pub fn side(self) -> usize {
        match self {
            Self::Side(side) | Self::Pair([side, _]) => side,
        }
    }
}

impl Sam3Config {
    /// The config that came with the checkpoint; all defaults where none did.
    pub fn of(dict: &StateDict) -> Result<Self> {
        let Some(value) = dict.config() else {
            return Ok(Self::default());
        };
        Self::deserialize(value).map_err(|error| Error::Checkpoint {
            path: dict.path().to_owned(),
            reason: format!("its config (metadata or config.json) is not a SAM 3 config: {error}"),
        })
    }
}

pub fn write(config: &Config) -> Value {
    let vit = &config.vit;
    let stack = |stack: &super::StackConfig| {
        json!({
            "hidden_size": config.d_model,
            "num_layers": stack.depth,
            "num_attention_heads": stack.heads,
        })
    };
    let mut geometry = stack(&config.geometry);
    geometry["roi_size"] = json!(config.roi_size);
    let mut decoder = stack(&config.decoder);
    decoder["num_queries"] = json!(config.queries);
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
        "geometry_encoder_config": geometry,
        "detr_encoder_config": stack(&config.fusion),
        "detr_decoder_config": decoder,
        "mask_decoder_config": { "hidden_size": config.d_model, "num_attention_heads": config.mask_heads },
    });
    if let Some(text) = &config.text {
        value["text_config"] = json!({
            "model_type": "clip_text_model",
            "hidden_size": text.width,
            "num_hidden_layers": text.depth,
            "num_attention_heads": text.heads,
            "max_position_embeddings": text.context,
            "vocab_size": text.vocab,
        });
    }
    value
}
