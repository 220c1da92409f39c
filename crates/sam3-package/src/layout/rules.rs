//! How transformers renamed SAM 3, as rules: a table of sections in the official order.
//!
//! Reading the table top to bottom, each repeated section for layer 0, 1, 2… while the file has it, yields the
//! official state dict in its own order; that is how a transformers checkpoint becomes an official one. `{}` in a
//! prefix is the layer's number, `{+}` the number plus one.

/// How official tensors are made of transformers' tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// The same tensor.
    Same,
    /// The same tensor, of which the file holds an equal copy under this name too.
    Duplicate(&'static str),
    /// `.weight` and `.bias`, each the same.
    Pair,
    /// As [`Op::Pair`], where the file has this sibling.
    PairBeside(&'static str),
    /// `qkv.weight`, `qkv.bias`: the rows of `q_proj`, `k_proj`, `v_proj`.
    Qkv,
    /// `in_proj_weight`, `in_proj_bias`: the same, as torch's MultiheadAttention names it.
    InProj,
    /// Four pairs, separate in both files: `q_proj`, `k_proj`, `v_proj`, and `out_proj` from `o_proj`.
    Projections,
    /// `[1, n, c]` becomes `[1, n + 1, c]`: the class token's row, unused and dropped, is zero again.
    ClassRow,
    /// A matrix, transposed.
    Transpose,
    /// Of a matrix, the row of the layer's number, as `[1, c]`.
    Row,
    /// Not in the file: the rotary table of a ViT block that has this tensor.
    FreqsCis,
    /// Not in the file: zero weight and bias of a point projection, where the file has its sibling for boxes. The
    /// input is this wide, or as wide as the output.
    Points(Option<usize>),
}

/// Official name, transformers' name, what lies between.
pub(super) type Rule = (&'static str, &'static str, Op);

/// Rules under one prefix.
pub(super) struct Section {
    pub official: &'static str,
    pub transformers: &'static str,
    pub rules: &'static [Rule],
}

use Op::{
    ClassRow, Duplicate, FreqsCis, InProj, Pair, PairBeside, Points, Projections, Qkv, Row, Same,
    Transpose,
};

const fn section(
    official: &'static str,
    transformers: &'static str,
    rules: &'static [Rule],
) -> Section {
    Section {
        official,
        transformers,
        rules,
    }
}

/// One FPN level: the first has two deconvolutions, the second one, the others none.
const FPN_LEVEL: &[Rule] = &[
    (
        "dconv_2x2_0",
        "scale_layers.0",
        PairBeside("scale_layers.2.weight"),
    ),
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

/// Three linear layers.
const MLP3: &[Rule] = &[
    ("layers.0", "proj_in", Pair),
    ("layers.1", "layers.0", Pair),
    ("layers.2", "proj_out", Pair),
];

/// A layer that is its section's prefix and no more.
const LAYER: &[Rule] = &[("", "", Pair)];

/// Every section, in the official order.
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
            (
                "encoder.ln_final",
                "text_encoder.text_model.final_layer_norm",
                Pair,
            ),
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
            (
                "points_direct_project",
                "boxes_direct_project.bias",
                Points(Some(2)),
            ),
            (
                "points_pool_project",
                "boxes_pool_project.bias",
                Points(None),
            ),
            (
                "points_pos_enc_project",
                "boxes_pos_enc_project.bias",
                Points(None),
            ),
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
            (
                "cross_attend_prompt.out_proj",
                "prompt_cross_attn.o_proj",
                Pair,
            ),
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
    section(
        "tracker.",
        "tracker_model.",
        &[
            (
                "maskmem_tpos_enc",
                "memory_temporal_positional_encoding",
                Same,
            ),
            ("no_mem_embed", "no_memory_embedding", Same),
            ("no_mem_pos_enc", "no_memory_positional_encoding", Same),
            ("no_obj_ptr", "no_object_pointer", Same),
            (
                "no_obj_embed_spatial",
                "occlusion_spatial_embedding_parameter",
                Same,
            ),
            ("mask_downsample", "mask_downsample", Pair),
        ],
    ),
    section(
        "tracker.transformer.encoder.layers.{}.",
        "tracker_model.memory_attention.layers.{}.",
        &[
            ("self_attn.", "self_attn.", Projections),
            ("cross_attn_image.", "cross_attn_image.", Projections),
            ("linear1", "linear1", Pair),
            ("linear2", "linear2", Pair),
            ("norm1", "layer_norm1", Pair),
            ("norm2", "layer_norm2", Pair),
            ("norm3", "layer_norm3", Pair),
        ],
    ),
    section(
        "tracker.transformer.encoder.norm",
        "tracker_model.memory_attention.layer_norm",
        LAYER,
    ),
    section(
        "tracker.maskmem_backbone.mask_downsampler.encoder.",
        "tracker_model.memory_encoder.mask_downsampler.",
        &[
            ("0", "layers.0.conv", Pair),
            ("1", "layers.0.layer_norm", Pair),
            ("3", "layers.1.conv", Pair),
            ("4", "layers.1.layer_norm", Pair),
            ("6", "layers.2.conv", Pair),
            ("7", "layers.2.layer_norm", Pair),
            ("9", "layers.3.conv", Pair),
            ("10", "layers.3.layer_norm", Pair),
            ("12", "final_conv", Pair),
        ],
    ),
    section(
        "tracker.maskmem_backbone.pix_feat_proj",
        "tracker_model.memory_encoder.feature_projection",
        LAYER,
    ),
    section(
        "tracker.maskmem_backbone.fuser.layers.{}.",
        "tracker_model.memory_encoder.memory_fuser.layers.{}.",
        &[
            ("gamma", "scale", Same),
            ("dwconv", "depthwise_conv", Pair),
            ("norm", "layer_norm", Pair),
            ("pwconv1", "pointwise_conv1", Pair),
            ("pwconv2", "pointwise_conv2", Pair),
        ],
    ),
    section(
        "tracker.maskmem_backbone.out_proj",
        "tracker_model.memory_encoder.projection",
        LAYER,
    ),
    section(
        "tracker.sam_prompt_encoder.pe_layer.",
        "tracker_model.",
        &[(
            "positional_encoding_gaussian_matrix",
            "prompt_encoder.shared_embedding.positional_embedding",
            Duplicate("shared_image_embedding.positional_embedding"),
        )],
    ),
    section(
        "tracker.sam_prompt_encoder.point_embeddings.{}.",
        "tracker_model.prompt_encoder.",
        &[("weight", "point_embed.weight", Row)],
    ),
    section(
        "tracker.sam_prompt_encoder.",
        "tracker_model.prompt_encoder.",
        &[
            ("not_a_point_embed.weight", "not_a_point_embed.weight", Same),
            ("mask_downscaling.0", "mask_embed.conv1", Pair),
            ("mask_downscaling.1", "mask_embed.layer_norm1", Pair),
            ("mask_downscaling.3", "mask_embed.conv2", Pair),
            ("mask_downscaling.4", "mask_embed.layer_norm2", Pair),
            ("mask_downscaling.6", "mask_embed.conv3", Pair),
            ("no_mask_embed.weight", "no_mask_embed.weight", Same),
        ],
    ),
    section(
        "tracker.sam_mask_decoder.transformer.layers.{}.",
        "tracker_model.mask_decoder.transformer.layers.{}.",
        &[
            ("self_attn.", "self_attn.", Projections),
            ("norm1", "layer_norm1", Pair),
            (
                "cross_attn_token_to_image.",
                "cross_attn_token_to_image.",
                Projections,
            ),
            ("norm2", "layer_norm2", Pair),
            ("mlp.lin1", "mlp.proj_in", Pair),
            ("mlp.lin2", "mlp.proj_out", Pair),
            ("norm3", "layer_norm3", Pair),
            ("norm4", "layer_norm4", Pair),
            (
                "cross_attn_image_to_token.",
                "cross_attn_image_to_token.",
                Projections,
            ),
        ],
    ),
    section(
        "tracker.sam_mask_decoder.",
        "tracker_model.mask_decoder.",
        &[
            (
                "transformer.final_attn_token_to_image.",
                "transformer.final_attn_token_to_image.",
                Projections,
            ),
            (
                "transformer.norm_final_attn",
                "transformer.layer_norm_final_attn",
                Pair,
            ),
            ("iou_token.weight", "iou_token.weight", Same),
            ("mask_tokens.weight", "mask_tokens.weight", Same),
            ("obj_score_token.weight", "obj_score_token.weight", Same),
            ("output_upscaling.0", "upscale_conv1", Pair),
            ("output_upscaling.1", "upscale_layer_norm", Pair),
            ("output_upscaling.3", "upscale_conv2", Pair),
            ("conv_s0", "conv_s0", Pair),
            ("conv_s1", "conv_s1", Pair),
        ],
    ),
    section(
        "tracker.sam_mask_decoder.output_hypernetworks_mlps.{}.",
        "tracker_model.mask_decoder.output_hypernetworks_mlps.{}.",
        MLP3,
    ),
    section(
        "tracker.sam_mask_decoder.iou_prediction_head.",
        "tracker_model.mask_decoder.iou_prediction_head.",
        MLP3,
    ),
    section(
        "tracker.sam_mask_decoder.pred_obj_score_head.",
        "tracker_model.mask_decoder.pred_obj_score_head.",
        MLP3,
    ),
    section(
        "tracker.obj_ptr_proj.",
        "tracker_model.object_pointer_proj.",
        MLP3,
    ),
    section(
        "tracker.obj_ptr_tpos_proj",
        "tracker_model.temporal_positional_encoding_projection_layer",
        LAYER,
    ),
];
