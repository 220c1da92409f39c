//! The config that a package carries: what neither key names nor shapes can tell, in transformers' schema.

use serde_json::{Value, json};

use super::{Config, DetectorConfig, StackConfig};

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
