"""Names and shapes of SAM 3's tracker (309 tensors), which the image model does not use but a package carries.

`official_shapes()` gives them in state-dict order without `tracker.`; `transformers_rules()` gives transformers' names for
the same tensors.
"""

import re

WIDTH, MEMORY, HALF, FFN = 256, 64, 128, 2048


def layer(name, *shape, bias=None):
    """A weight and its bias (as long as the weight's first axis unless said)."""
    return [(f"{name}.weight", shape), (f"{name}.bias", (bias or shape[0],))]


def attention(name, inner=WIDTH, key_width=WIDTH):
    """Separate q, k, v and output projections."""
    widths = dict(q_proj=WIDTH, k_proj=key_width, v_proj=key_width)
    rows = [row for part, width in widths.items() for row in layer(f"{name}.{part}", inner, width)]
    return rows + layer(f"{name}.out_proj", WIDTH, inner)


def mlp(name, *outputs):
    """A three-layer MLP from `WIDTH`."""
    widths = (WIDTH, *outputs)
    return [row for i, out in enumerate(outputs) for row in layer(f"{name}.layers.{i}", out, widths[i])]


def memory_attention():
    rows = []
    for index in range(4):
        name = f"transformer.encoder.layers.{index}"
        rows += attention(f"{name}.self_attn") + attention(f"{name}.cross_attn_image", key_width=MEMORY)
        rows += layer(f"{name}.linear1", FFN, WIDTH) + layer(f"{name}.linear2", WIDTH, FFN)
        rows += [row for norm in (1, 2, 3) for row in layer(f"{name}.norm{norm}", WIDTH)]
    return rows + layer("transformer.encoder.norm", WIDTH)


def memory_encoder():
    rows, channels = [], [1, 4, 16, 64, 256]
    for index, (before, after) in enumerate(zip(channels, channels[1:])):
        rows += layer(f"maskmem_backbone.mask_downsampler.encoder.{3 * index}", after, before, 3, 3)
        rows += layer(f"maskmem_backbone.mask_downsampler.encoder.{3 * index + 1}", after)
    rows += layer("maskmem_backbone.mask_downsampler.encoder.12", WIDTH, WIDTH, 1, 1)
    rows += layer("maskmem_backbone.pix_feat_proj", WIDTH, WIDTH, 1, 1)
    for index in range(2):
        name = f"maskmem_backbone.fuser.layers.{index}"
        rows += [(f"{name}.gamma", (WIDTH,))] + layer(f"{name}.dwconv", WIDTH, 1, 7, 7) + layer(f"{name}.norm", WIDTH)
        rows += layer(f"{name}.pwconv1", 1024, WIDTH) + layer(f"{name}.pwconv2", WIDTH, 1024)
    return rows + layer("maskmem_backbone.out_proj", MEMORY, WIDTH, 1, 1)


def prompt_encoder():
    name = "sam_prompt_encoder"
    rows = [(f"{name}.pe_layer.positional_encoding_gaussian_matrix", (2, HALF))]
    rows += [(f"{name}.point_embeddings.{index}.weight", (1, WIDTH)) for index in range(4)]
    rows += [(f"{name}.not_a_point_embed.weight", (1, WIDTH))]
    rows += layer(f"{name}.mask_downscaling.0", 4, 1, 2, 2) + layer(f"{name}.mask_downscaling.1", 4)
    rows += layer(f"{name}.mask_downscaling.3", 16, 4, 2, 2) + layer(f"{name}.mask_downscaling.4", 16)
    return rows + layer(f"{name}.mask_downscaling.6", WIDTH, 16, 1, 1) + [(f"{name}.no_mask_embed.weight", (1, WIDTH))]


def mask_decoder():
    name, rows = "sam_mask_decoder", []
    for index in range(2):
        block = f"{name}.transformer.layers.{index}"
        rows += attention(f"{block}.self_attn") + layer(f"{block}.norm1", WIDTH)
        rows += attention(f"{block}.cross_attn_token_to_image", HALF) + layer(f"{block}.norm2", WIDTH)
        rows += layer(f"{block}.mlp.lin1", FFN, WIDTH) + layer(f"{block}.mlp.lin2", WIDTH, FFN)
        rows += layer(f"{block}.norm3", WIDTH) + layer(f"{block}.norm4", WIDTH)
        rows += attention(f"{block}.cross_attn_image_to_token", HALF)
    rows += attention(f"{name}.transformer.final_attn_token_to_image", HALF)
    rows += layer(f"{name}.transformer.norm_final_attn", WIDTH)
    for token, count in (("iou_token", 1), ("mask_tokens", 4), ("obj_score_token", 1)):
        rows += [(f"{name}.{token}.weight", (count, WIDTH))]
    rows += layer(f"{name}.output_upscaling.0", WIDTH, 64, 2, 2, bias=64) + layer(f"{name}.output_upscaling.1", 64)
    rows += layer(f"{name}.output_upscaling.3", 64, 32, 2, 2, bias=32)
    rows += layer(f"{name}.conv_s0", 32, WIDTH, 1, 1) + layer(f"{name}.conv_s1", 64, WIDTH, 1, 1)
    for index in range(4):
        rows += mlp(f"{name}.output_hypernetworks_mlps.{index}", WIDTH, WIDTH, 32)
    return (
        rows + mlp(f"{name}.iou_prediction_head", WIDTH, WIDTH, 4) + mlp(f"{name}.pred_obj_score_head", WIDTH, WIDTH, 1)
    )


def official_shapes():
    """(name without `tracker.`, shape) in the official order."""
    rows = [
        ("maskmem_tpos_enc", (7, 1, 1, MEMORY)),
        ("no_mem_embed", (1, 1, WIDTH)),
        ("no_mem_pos_enc", (1, 1, WIDTH)),
        ("no_obj_ptr", (1, WIDTH)),
        ("no_obj_embed_spatial", (1, MEMORY)),
        *layer("mask_downsample", 1, 1, 4, 4),
    ]
    rows += memory_attention() + memory_encoder() + prompt_encoder() + mask_decoder()
    return rows + mlp("obj_ptr_proj", WIDTH, WIDTH, WIDTH) + layer("obj_ptr_tpos_proj", MEMORY, WIDTH)


GAUSSIAN = "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
POINTS = "sam_prompt_encoder.point_embeddings"

# Official name -> transformers name, applied in this order.
RENAMES = [
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
    (r"^obj_ptr_tpos_proj", "temporal_positional_encoding_projection_layer"),
    (r"^transformer\.encoder", "memory_attention"),
    (r"^maskmem_backbone\.fuser", "memory_encoder.memory_fuser"),
    (r"^maskmem_backbone\.pix_feat_proj", "memory_encoder.feature_projection"),
    (r"^maskmem_backbone\.out_proj", "memory_encoder.projection"),
    (r"^maskmem_backbone", "memory_encoder"),
    (r"mask_downsampler\.encoder\.12", "mask_downsampler.final_conv"),
    (r"mask_downsampler\.encoder\.(0|3|6|9)\b", lambda m: f"mask_downsampler.layers.{int(m[1]) // 3}.conv"),
    (r"mask_downsampler\.encoder\.(1|4|7|10)\b", lambda m: f"mask_downsampler.layers.{int(m[1]) // 3}.layer_norm"),
    (r"\.gamma$", ".scale"),
    (r"\.dwconv", ".depthwise_conv"),
    (r"\.pwconv", ".pointwise_conv"),
    (r"^sam_prompt_encoder", "prompt_encoder"),
    (r"mask_downscaling\.(0|3|6)", lambda m: f"mask_embed.conv{int(m[1]) // 3 + 1}"),
    (r"mask_downscaling\.(1|4)", lambda m: f"mask_embed.layer_norm{int(m[1]) // 3 + 1}"),
    (r"^sam_mask_decoder", "mask_decoder"),
    (r"output_upscaling\.0", "upscale_conv1"),
    (r"output_upscaling\.1", "upscale_layer_norm"),
    (r"output_upscaling\.3", "upscale_conv2"),
    (r"^obj_ptr_proj", "object_pointer_proj"),
    (
        r"(mlps\.\d|head|pointer_proj)\.layers\.([012])",
        lambda m: f"{m[1]}.{('proj_in', 'layers.0', 'proj_out')[int(m[2])]}",
    ),
    (r"mlp\.lin1", "mlp.proj_in"),
    (r"mlp\.lin2", "mlp.proj_out"),
    (r"\.out_proj", ".o_proj"),
    (r"\.norm(\d?)\b", r".layer_norm\1"),
    (r"\.norm_final_attn", ".layer_norm_final_attn"),
]


def transformers_rules():
    """(transformers name, official names, shape); several official names are rows of one tensor."""
    points = []
    for name, shape in official_shapes():
        if name.startswith(POINTS):
            points.append(name)
        elif name == GAUSSIAN:
            for target in ("prompt_encoder.shared_embedding", "shared_image_embedding"):
                yield f"tracker_model.{target}.positional_embedding", [name], shape
        else:
            renamed = name
            for pattern, replacement in RENAMES:
                renamed = re.sub(pattern, replacement, renamed)
            yield f"tracker_model.{renamed}", [name], shape
    yield "tracker_model.prompt_encoder.point_embed.weight", points, (len(points), WIDTH)
