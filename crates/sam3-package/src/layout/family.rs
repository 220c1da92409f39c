//! Recognises checkpoints of related models, and adapters, by the names of their tensors, and refuses them by the
//! model's name.

use crate::checkpoint::clip;

/// What can be read.
const EXPECTED: &str = "expected SAM 3's sam3.pt or model.safetensors (facebook/sam3, facebook/sam3.1)";

/// How a family's checkpoints are recognised: by one of several alternatives. An alternative is a list of pieces, each
/// of which must occur in the name of some tensor.
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

/// With what a part of an adapter's names begins, in small letters, and what the adapter is.
const ADAPTERS: [(&str, &str); 11] = [
    ("lora_", "a LoRA"),
    ("lycoris_", "a LyCORIS"),
    ("ia3_", "an IA³"),
    ("hada_", "a LoHa"),
    ("lokr_", "a LoKr"),
    ("oft_", "an OFT"),
    ("boft_", "a BOFT"),
    ("vera_", "a VeRA"),
    ("randlora_", "a RandLora"),
    ("fourierft_", "a FourierFT"),
    ("hra_", "an HRA"),
];

/// LoRA as SAMed writes it: the two factors beside q and v.
const SAMED: [&str; 6] = [
    "linear_a_q",
    "linear_b_q",
    "linear_a_k",
    "linear_b_k",
    "linear_a_v",
    "linear_b_v",
];

/// What is done about an adapter: with the library that made it, or by hand.
const MERGE: &str = "call merge_and_unload() on";
const MULTIPLY: &str = "add each product B·A to the rows of q or v in the qkv.weight that it changes in";

/// The adapter that a part of a name is of, and how it is merged.
fn adapter_of(part: &str) -> Option<(&'static str, &'static str)> {
    let factor = part.strip_prefix("w_a_").or_else(|| part.strip_prefix("w_b_"));
    if SAMED.contains(&part) || factor.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit())) {
        return Some(("a LoRA", MULTIPLY));
    }
    if part == "lora" || part == "base_layer" {
        return Some(("a LoRA", MERGE));
    }
    let part = part.to_ascii_lowercase();
    let known = ADAPTERS.iter().find(|(begin, _)| part.starts_with(begin));
    known.map(|&(_, what)| (what, MERGE))
}

/// An adapter in any of its spellings, and the layers that it wraps.
fn adapter(names: &[String]) -> Option<String> {
    let of_adapter: Vec<_> = names
        .iter()
        .filter_map(|name| Some((name, name.split('.').find_map(adapter_of)?)))
        .collect();
    let is_wrapped = |name: &str| name.contains(".base_layer.");
    // A wrapped layer does not tell what wraps it.
    let own: Vec<_> = of_adapter.iter().filter(|(name, _)| !is_wrapped(name)).collect();
    let (first, (what, merge)) = own.first().copied().or(of_adapter.first())?;
    let first = clip(first);
    let count = match own.len() {
        0 | 1 => "1 tensor".to_owned(),
        many => format!("{many} tensors"),
    };
    Some(if 2 * of_adapter.len() > names.len() && own.len() == of_adapter.len() {
        format!(
            "it is {what} adapter ({count}, such as \"{first}\") without the model that it changes: in Python, \
                 load the model with the adapter, {merge} it, and save its state dict again"
        )
    } else {
        format!(
            "{what} adapter lies unmerged in it ({count}, such as \"{first}\"): in Python, {merge} \
                 the model and save its state dict again{}",
            if *merge == MULTIPLY { " without the factors" } else { "" }
        )
    })
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
    fn adapters_of_every_kind_are_refused() {
        const BLOCK: &str = "detector.backbone.vision_backbone.trunk.blocks.0";
        for (leaf, what) in [
            ("ia3_l", "an IA³"),
            ("ia3_l.default", "an IA³"),
            ("hada_w1_a", "a LoHa"),
            ("hada_t2", "a LoHa"),
            ("lokr_w1", "a LoKr"),
            ("lokr_w2_b.default", "a LoKr"),
            ("oft_r", "an OFT"),
            ("oft_R.weight", "an OFT"),
            ("boft_R", "a BOFT"),
            ("boft_s", "a BOFT"),
            ("vera_lambda_b", "a VeRA"),
            ("lora_magnitude_vector", "a LoRA"),
            ("linear_a_q.weight", "a LoRA"),
            ("linear_b_v.weight", "a LoRA"),
        ] {
            let tensor = format!("{BLOCK}.attn.qkv.{leaf}");
            let alone = refused(&[&tensor]).unwrap();
            assert!(
                alone.starts_with(&format!("it is {what} adapter (1 tensor")) && alone.contains("in Python"),
                "{alone}"
            );
            let plain = [format!("{BLOCK}.attn.qkv.weight"), format!("{BLOCK}.norm1.weight")];
            let unmerged = refused(&[&plain[0], &plain[1], &tensor]).unwrap();
            assert!(
                unmerged.starts_with(&format!("{what} adapter lies unmerged")),
                "{unmerged}"
            );
        }
        let factors = refused(&["w_a_000", "w_b_000", "w_a_001", "w_b_001"]).unwrap();
        assert!(
            factors.contains("a LoRA adapter (4 tensors, such as \"w_a_000\")") && factors.contains("product B·A"),
            "{factors}"
        );
        let plain = ["detector.backbone.soft_mask", "w_a_x", "detector.linear_a_queue.weight"];
        assert_eq!(refused(&plain), None);
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
