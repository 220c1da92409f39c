//! The tracker: memory, click prompts and the SAM mask decoder.

use super::{
    LAYER,
    Op::{Duplicate, Pair, Projections, Row, Same},
    Rule, Section, section,
};

/// Three linear layers.
const MLP3: &[Rule] = &[
    ("layers.0", "proj_in", Pair),
    ("layers.1", "layers.0", Pair),
    ("layers.2", "proj_out", Pair),
];

/// The tracker's sections.
pub(super) const SECTIONS: &[Section] = &[
    section(
        "tracker.",
        "tracker_model.",
        &[
            ("maskmem_tpos_enc", "memory_temporal_positional_encoding", Same),
            ("no_mem_embed", "no_memory_embedding", Same),
            ("no_mem_pos_enc", "no_memory_positional_encoding", Same),
            ("no_obj_ptr", "no_object_pointer", Same),
            ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter", Same),
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
            ("cross_attn_token_to_image.", "cross_attn_token_to_image.", Projections),
            ("norm2", "layer_norm2", Pair),
            ("mlp.lin1", "mlp.proj_in", Pair),
            ("mlp.lin2", "mlp.proj_out", Pair),
            ("norm3", "layer_norm3", Pair),
            ("norm4", "layer_norm4", Pair),
            ("cross_attn_image_to_token.", "cross_attn_image_to_token.", Projections),
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
            ("transformer.norm_final_attn", "transformer.layer_norm_final_attn", Pair),
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
    section("tracker.obj_ptr_proj.", "tracker_model.object_pointer_proj.", MLP3),
    section(
        "tracker.obj_ptr_tpos_proj",
        "tracker_model.temporal_positional_encoding_projection_layer",
        LAYER,
    ),
];
