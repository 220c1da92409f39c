//! The image detector: ViT, neck, text, geometry, encoder, decoder, mask head, scoring.

use super::{
    LAYER,
    Op::{ClassRow, FreqsCis, InProj, Pair, PairBeside, Points, Qkv, Same, Transpose},
    Rule, Section, section,
};

/// One FPN level: the first has two deconvolutions, the second one, the others none.
const FPN_LEVEL: &[Rule] = &[
    ("dconv_2x2_0", "scale_layers.0", PairBeside("scale_layers.2.weight")),
    ("dconv_2x2_1", "scale_layers.2", Pair),
    ("dconv_2x2", "scale_layers.0", Pair),
    ("conv_1x1", "proj1", Pair),
    ("conv_3x3", "proj2", Pair),
];

/// A layer of the geometry encoder and of the fusion encoder.
const ENCODER_LAYER: &[Rule] = &[
    ("self_attn.", "self_attn.", InProj),
    ("self_attn.out_proj", "self_attn.o_proj", Pair),
    ("cross_attn_image.", "cross_attn.", InProj),
    ("cross_attn_image.out_proj", "cross_attn.o_proj", Pair),
    ("linear1", "mlp.fc1", Pair),
    ("linear2", "mlp.fc2", Pair),
    ("norm1", "layer_norm1", Pair),
    ("norm2", "layer_norm2", Pair),
    ("norm3", "layer_norm3", Pair),
];

/// The detector's sections and, where the official order has it, the tracker's neck.
pub(super) const SECTIONS: &[Section] = &[
    section(
        "detector.backbone.vision_backbone.trunk.",
        "detector_model.vision_encoder.backbone.",
        &[
            ("pos_embed", "embeddings.position_embeddings", ClassRow),
            (
                "patch_embed.proj.weight",
                "embeddings.patch_embeddings.projection.weight",
                Same,
            ),
        ],
    ),
    section(
        "detector.backbone.vision_backbone.trunk.blocks.{}.",
        "detector_model.vision_encoder.backbone.layers.{}.",
        &[
            ("norm1", "layer_norm1", Pair),
            ("attn.freqs_cis", "attention.q_proj.weight", FreqsCis),
            ("attn.qkv", "attention.", Qkv),
            ("attn.proj", "attention.o_proj", Pair),
            ("norm2", "layer_norm2", Pair),
            ("mlp.fc1", "mlp.fc1", Pair),
            ("mlp.fc2", "mlp.fc2", Pair),
        ],
    ),
    section(
        "detector.backbone.vision_backbone.trunk.ln_pre",
        "detector_model.vision_encoder.backbone.layer_norm",
        LAYER,
    ),
    section(
        "detector.backbone.vision_backbone.convs.{}.",
        "detector_model.vision_encoder.neck.fpn_layers.{}.",
        FPN_LEVEL,
    ),
    section(
        "detector.backbone.vision_backbone.sam2_convs.{}.",
        "tracker_neck.fpn_layers.{}.",
        FPN_LEVEL,
    ),
    section(
        "detector.backbone.language_backbone.encoder.",
        "detector_model.text_encoder.",
        &[
            (
                "positional_embedding",
                "text_model.embeddings.position_embedding.weight",
                Same,
            ),
            ("text_projection", "text_projection.weight", Transpose),
            (
                "token_embedding.weight",
                "text_model.embeddings.token_embedding.weight",
                Same,
            ),
        ],
    ),
    section(
        "detector.backbone.language_backbone.encoder.transformer.resblocks.{}.",
        "detector_model.text_encoder.text_model.encoder.layers.{}.",
        &[
            ("attn.", "self_attn.", InProj),
            ("attn.out_proj", "self_attn.out_proj", Pair),
            ("ln_1", "layer_norm1", Pair),
            ("ln_2", "layer_norm2", Pair),
            ("mlp.c_fc", "mlp.fc1", Pair),
            ("mlp.c_proj", "mlp.fc2", Pair),
        ],
    ),
    section(
        "detector.backbone.language_backbone.",
        "detector_model.",
        &[
            ("encoder.ln_final", "text_encoder.text_model.final_layer_norm", Pair),
            // Not `text_encoder.text_projection`, which is another matrix.
            ("resizer", "text_projection", Pair),
        ],
    ),
    section(
        "detector.geometry_encoder.",
        "detector_model.geometry_encoder.",
        &[
            ("label_embed.weight", "label_embed.weight", Same),
            ("cls_embed.weight", "cls_embed.weight", Same),
            ("points_direct_project", "boxes_direct_project.bias", Points(Some(2))),
            ("points_pool_project", "boxes_pool_project.bias", Points(None)),
            ("points_pos_enc_project", "boxes_pos_enc_project.bias", Points(None)),
            ("boxes_direct_project", "boxes_direct_project", Pair),
            ("boxes_pool_project", "boxes_pool_project", Pair),
            ("boxes_pos_enc_project", "boxes_pos_enc_project", Pair),
            ("final_proj", "final_proj", Pair),
            ("norm", "prompt_layer_norm", Pair),
            ("img_pre_norm", "vision_layer_norm", Pair),
        ],
    ),
    section(
        "detector.geometry_encoder.encode.{}.",
        "detector_model.geometry_encoder.layers.{}.",
        ENCODER_LAYER,
    ),
    section(
        "detector.geometry_encoder.encode_norm",
        "detector_model.geometry_encoder.output_layer_norm",
        LAYER,
    ),
    section(
        "detector.transformer.encoder.layers.{}.",
        "detector_model.detr_encoder.layers.{}.",
        ENCODER_LAYER,
    ),
    section(
        "detector.transformer.decoder.layers.{}.",
        "detector_model.detr_decoder.layers.{}.",
        &[
            ("cross_attn.", "vision_cross_attn.", InProj),
            ("cross_attn.out_proj", "vision_cross_attn.o_proj", Pair),
            ("norm1", "vision_cross_attn_layer_norm", Pair),
            ("ca_text.", "text_cross_attn.", InProj),
            ("ca_text.out_proj", "text_cross_attn.o_proj", Pair),
            ("catext_norm", "text_cross_attn_layer_norm", Pair),
            ("self_attn.", "self_attn.", InProj),
            ("self_attn.out_proj", "self_attn.o_proj", Pair),
            ("norm2", "self_attn_layer_norm", Pair),
            ("linear1", "mlp.fc1", Pair),
            ("linear2", "mlp.fc2", Pair),
            ("norm3", "mlp_layer_norm", Pair),
        ],
    ),
    section(
        "detector.transformer.decoder.norm",
        "detector_model.detr_decoder.output_layer_norm",
        LAYER,
    ),
    section(
        "detector.transformer.decoder.bbox_embed.layers.{}",
        "detector_model.detr_decoder.box_head.layer{+}",
        LAYER,
    ),
    section(
        "detector.transformer.decoder.",
        "detector_model.detr_decoder.",
        &[
            ("query_embed.weight", "query_embed.weight", Same),
            ("reference_points.weight", "reference_points.weight", Same),
        ],
    ),
    section(
        "detector.transformer.decoder.boxRPB_embed_x.layers.{}",
        "detector_model.detr_decoder.box_rpb_embed_x.layer{+}",
        LAYER,
    ),
    section(
        "detector.transformer.decoder.boxRPB_embed_y.layers.{}",
        "detector_model.detr_decoder.box_rpb_embed_y.layer{+}",
        LAYER,
    ),
    section(
        "detector.transformer.decoder.",
        "detector_model.detr_decoder.",
        &[("presence_token.weight", "presence_token.weight", Same)],
    ),
    section(
        "detector.transformer.decoder.presence_token_head.layers.{}",
        "detector_model.detr_decoder.presence_head.layer{+}",
        LAYER,
    ),
    section(
        "detector.transformer.decoder.presence_token_out_norm",
        "detector_model.detr_decoder.presence_layer_norm",
        LAYER,
    ),
    section(
        "detector.transformer.decoder.ref_point_head.layers.{}",
        "detector_model.detr_decoder.ref_point_head.layer{+}",
        LAYER,
    ),
    section(
        "detector.segmentation_head.pixel_decoder.conv_layers.{}",
        "detector_model.mask_decoder.pixel_decoder.conv_layers.{}",
        LAYER,
    ),
    section(
        "detector.segmentation_head.pixel_decoder.norms.{}",
        "detector_model.mask_decoder.pixel_decoder.norms.{}",
        LAYER,
    ),
    section(
        "detector.segmentation_head.mask_predictor.mask_embed.layers.{}",
        "detector_model.mask_decoder.mask_embedder.layers.{}",
        LAYER,
    ),
    section(
        "detector.segmentation_head.",
        "detector_model.mask_decoder.",
        &[
            ("cross_attend_prompt.", "prompt_cross_attn.", InProj),
            ("cross_attend_prompt.out_proj", "prompt_cross_attn.o_proj", Pair),
            ("cross_attn_norm", "prompt_cross_attn_norm", Pair),
            ("semantic_seg_head", "semantic_projection", Pair),
            ("instance_seg_head", "instance_projection", Pair),
        ],
    ),
    section(
        "detector.dot_prod_scoring.prompt_mlp.layers.{}",
        "detector_model.dot_product_scoring.text_mlp.layer{+}",
        LAYER,
    ),
    section(
        "detector.dot_prod_scoring.",
        "detector_model.dot_product_scoring.",
        &[
            ("prompt_mlp.out_norm", "text_mlp_out_norm", Pair),
            ("prompt_proj", "text_proj", Pair),
            ("hs_proj", "query_proj", Pair),
        ],
    ),
];
