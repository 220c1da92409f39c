//! Checkpoints of SAM 3's relatives and of adapters for it, told by their names, and refused by theirs.

use crate::checkpoint::clip;

/// What is read instead.
const EXPECTED: &str = "expected SAM 3's sam3.pt or model.safetensors (facebook/sam3, facebook/sam3.1)";

/// How a family's checkpoints are told: one of the alternatives, of which each piece is in some name.
struct Family {
    name: &'static str,
    what: &'static str,
    signs: &'static [&'static [&'static str]],
}

/// The first that matches counts. A piece is found between dots: `.image_encoder.trunk.` in `x.image_encoder.trunk.y`.
const FAMILIES: [Family; 5] = [
    Family {
        name: "an EfficientSAM3",
        what: "its image encoder is EfficientViT, RepViT or TinyViT, which this program does not run",
        signs: &[&[".vision_backbone.trunk.model."], &[".student_trunk."]],
    },
    Family {
        name: "a SAM3-LiteText",
        what: "its text encoder is MobileCLIP's, which this program does not run",
        signs: &[
            &[".language_backbone.encoder.", ".pre_norm_mha."],
            &[".language_backbone.projector."],
            &[".text_encoder.layers.", ".attn_norm."],
        ],
    },
    Family {
        name: "a SAM 2.1",
        what: "SAM 2 takes clicks and no text, and is another model",
        signs: &[
            &[".image_encoder.trunk.", ".no_obj_embed_spatial."],
            &[".image_encoder.trunk.", ".obj_ptr_tpos_proj."],
            &[
                ".vision_encoder.backbone.blocks.",
                ".occlusion_spatial_embedding_parameter.",
            ],
        ],
    },
    Family {
        name: "a SAM 2",
        what: "SAM 2 takes clicks and no text, and is another model",
        signs: &[
            &[".image_encoder.trunk.", ".image_encoder.neck."],
            &[".memory_attention.", ".memory_encoder.", ".sam_mask_decoder."],
            &[".vision_encoder.backbone.blocks."],
        ],
    },
    Family {
        name: "a SAM 1",
        what: "SAM 1 takes clicks and boxes and no text, and is another model",
        signs: &[
            &[".image_encoder.", ".prompt_encoder.", ".mask_decoder."],
            &[".vision_encoder.layers.", ".prompt_encoder.", ".mask_decoder."],
            &[".image_encoder.patch_embed.", ".image_encoder.blocks."],
        ],
    },
];

/// The sentence that says whose checkpoint it is; `None` where it may be SAM 3's.
pub(super) fn refuse(names: &[String]) -> Option<String> {
    adapter(names).or_else(|| relative(names))
}

/// LoRA in any of its spellings, and the layers that it wraps.
fn adapter(names: &[String]) -> Option<String> {
    let is_part = |part: &str| part == "lora" || part == "base_layer" || part.to_ascii_lowercase().starts_with("lora_");
    let of_adapter: Vec<&String> = names.iter().filter(|name| name.split('.').any(is_part)).collect();
    let small = |name: &&&String| !name.contains(".base_layer.");
    let tensors: Vec<&&String> = of_adapter.iter().filter(small).collect();
    let first = clip(of_adapter.first()?);
    let count = match tensors.len() {
        0 | 1 => "1 tensor".to_owned(),
        many => format!("{many} tensors"),
    };
    Some(
        if 2 * of_adapter.len() > names.len() && tensors.len() == of_adapter.len() {
            format!(
                "it is a LoRA adapter ({count}, such as \"{first}\") without the model that it changes: in Python, \
             load the model with the adapter, call merge_and_unload() on it, and save its state dict again"
            )
        } else {
            format!(
                "a LoRA adapter lies unmerged in it ({count}, such as \"{first}\"): in Python, call merge_and_unload() \
             on the model and save its state dict again"
            )
        },
    )
}

fn relative(names: &[String]) -> Option<String> {
    let dotted: Vec<String> = names.iter().map(|name| format!(".{name}.")).collect();
    // SAM 3's tracker holds a SAM 2: names below it tell nothing.
    let own = [".tracker.", ".tracker_model.", ".sam2_predictor."];
    let dotted: Vec<&String> = dotted
        .iter()
        .filter(|name| !own.iter().any(|part| name.contains(part)))
        .collect();
    let holds = |piece: &&str| dotted.iter().any(|name| name.contains(piece));
    let family = FAMILIES
        .iter()
        .find(|family| family.signs.iter().any(|sign| sign.iter().all(holds)))?;
    Some(format!("it is {} checkpoint: {}; {EXPECTED}", family.name, family.what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(names: &[&str]) -> Option<String> {
        refuse(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn relatives_are_told_by_their_names() {
        for (names, family) in [
            (
                &["detector.backbone.vision_backbone.trunk.model.backbone.model.features.0.0.c.weight"][..],
                "EfficientSAM3",
            ),
            (
                &["module.student_trunk.backbone.model.stages.0.weight"],
                "EfficientSAM3",
            ),
            (
                &[
                    "detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.weight",
                    "detector.backbone.language_backbone.encoder.transformer.1.pre_norm_mha.1.qkv_proj.weight",
                ],
                "SAM3-LiteText",
            ),
            (
                &[
                    "detector_model.vision_encoder.backbone.layers.0.attention.q_proj.weight",
                    "detector_model.text_encoder.layers.1.attn_norm.weight",
                ],
                "SAM3-LiteText",
            ),
            (
                &[
                    "image_encoder.trunk.blocks.0.attn.qkv.weight",
                    "obj_ptr_tpos_proj.weight",
                ],
                "SAM 2.1",
            ),
            (
                &[
                    "image_encoder.trunk.pos_embed",
                    "no_obj_embed_spatial",
                    "memory_attention.norm.weight",
                ],
                "SAM 2.1",
            ),
            (
                &[
                    "image_encoder.trunk.pos_embed",
                    "image_encoder.neck.convs.0.conv.weight",
                ],
                "SAM 2 ",
            ),
            (
                &[
                    "vision_encoder.backbone.blocks.0.attn.qkv.weight",
                    "mask_decoder.iou_token.weight",
                ],
                "SAM 2 ",
            ),
            (
                &[
                    "image_encoder.blocks.0.attn.rel_pos_h",
                    "image_encoder.patch_embed.proj.weight",
                ],
                "SAM 1",
            ),
            (
                &[
                    "image_encoder.layers.0.blocks.0.conv1.c.weight",
                    "prompt_encoder.no_mask_embed.weight",
                    "mask_decoder.iou_token.weight",
                ],
                "SAM 1",
            ),
            (
                &[
                    "vision_encoder.layers.0.attn.rel_pos_h",
                    "prompt_encoder.no_mask_embed.weight",
                    "mask_decoder.iou_token.weight",
                ],
                "SAM 1",
            ),
        ] {
            let why = refused(names).unwrap_or_else(|| panic!("{names:?} pass"));
            assert!(
                why.contains(family) && why.contains("expected SAM 3's"),
                "{names:?}: {why}"
            );
        }
    }

    #[test]
    fn adapters_are_refused_by_name() {
        let alone = refused(&[
            "base_model.model.backbone.vision_backbone.trunk.blocks.0.attn.qkv.lora_A.weight",
            "base_model.model.backbone.vision_backbone.trunk.blocks.0.attn.qkv.lora_B.weight",
        ]);
        let alone = alone.unwrap();
        assert!(
            alone.contains("LoRA adapter (2 tensors") && alone.contains("merge_and_unload()"),
            "{alone}"
        );
        let unmerged = refused(&[
            "detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.base_layer.weight",
            "detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.lora_A.default.weight",
            "detector.backbone.vision_backbone.trunk.blocks.0.attn.qkv.lora_B.default.weight",
            "detector.backbone.vision_backbone.trunk.blocks.0.norm1.weight",
        ]);
        let unmerged = unmerged.unwrap();
        assert!(
            unmerged.contains("unmerged") && unmerged.contains("merge_and_unload()"),
            "{unmerged}"
        );
    }
}
