"""The official state dict, as rules over a configuration: names, order, and where each tensor comes from in transformers.

`detector_rules(config)` yields `(official name, operation, transformers names)` in state-dict order. Operations:

- `copy`: one tensor, unchanged                    - `stack`: q, k and v joined on dimension 0
- `transpose`: a matrix, transposed                - `position`: a CLS row put before the position table
- `freqs`: the RoPE table, computed                - `own`: no transformers tensor; transformers does not have it
"""

import torch

PARAMETERS = ("weight", "bias")


def copies(official, transformers):
    """A module whose weight and bias are copied."""
    for kind in PARAMETERS:
        yield f"{official}.{kind}", "copy", [f"{transformers}.{kind}"]


def attention(official, transformers, out="o_proj"):
    """An `nn.MultiheadAttention` from three projections."""
    for kind in PARAMETERS:
        yield f"{official}.in_proj_{kind}", "stack", [f"{transformers}.{p}_proj.{kind}" for p in "qkv"]
    yield from copies(f"{official}.out_proj", f"{transformers}.{out}")


def mlp(official, transformers, layers):
    """An official `MLP`: numbered from 0 there, from 1 in transformers."""
    for index in range(layers):
        yield from copies(f"{official}.layers.{index}", f"{transformers}.layer{index + 1}")


def vit(config):
    """The ViT trunk."""
    theirs, ours = "detector.backbone.vision_backbone.trunk", "vision_encoder.backbone"
    yield f"{theirs}.pos_embed", "position", [f"{ours}.embeddings.position_embeddings"]
    yield f"{theirs}.patch_embed.proj.weight", "copy", [f"{ours}.embeddings.patch_embeddings.projection.weight"]
    for index in range(config.num_hidden_layers):
        block, layer = f"{theirs}.blocks.{index}", f"{ours}.layers.{index}"
        yield from copies(f"{block}.norm1", f"{layer}.layer_norm1")
        yield f"{block}.attn.freqs_cis", "freqs", [index]
        for kind in PARAMETERS:
            yield f"{block}.attn.qkv.{kind}", "stack", [f"{layer}.attention.{p}_proj.{kind}" for p in "qkv"]
        yield from copies(f"{block}.attn.proj", f"{layer}.attention.o_proj")
        yield from copies(f"{block}.norm2", f"{layer}.layer_norm2")
        yield from copies(f"{block}.mlp.fc1", f"{layer}.mlp.fc1")
        yield from copies(f"{block}.mlp.fc2", f"{layer}.mlp.fc2")
    yield from copies(f"{theirs}.ln_pre", f"{ours}.layer_norm")


def neck(official, transformers, levels=4):
    """One neck; `transformers` None where transformers has no such tensors."""
    upsampling = {0: [("dconv_2x2_0", 0), ("dconv_2x2_1", 2)], 1: [("dconv_2x2", 0)]}
    for level in range(levels):
        theirs = f"detector.backbone.vision_backbone.{official}.{level}"
        for name, index in upsampling.get(level, []):
            yield from copies(f"{theirs}.{name}", f"{transformers}.{level}.scale_layers.{index}")
        yield from copies(f"{theirs}.conv_1x1", f"{transformers}.{level}.proj1")
        yield from copies(f"{theirs}.conv_3x3", f"{transformers}.{level}.proj2")


def text(config):
    """The text encoder and its resizer, which transformers calls `text_projection`."""
    theirs, ours = "detector.backbone.language_backbone", "text_encoder.text_model"
    yield f"{theirs}.encoder.positional_embedding", "copy", [f"{ours}.embeddings.position_embedding.weight"]
    yield f"{theirs}.encoder.text_projection", "transpose", ["text_encoder.text_projection.weight"]
    yield f"{theirs}.encoder.token_embedding.weight", "copy", [f"{ours}.embeddings.token_embedding.weight"]
    for index in range(config.num_hidden_layers):
        block, layer = f"{theirs}.encoder.transformer.resblocks.{index}", f"{ours}.encoder.layers.{index}"
        yield from attention(f"{block}.attn", f"{layer}.self_attn", out="out_proj")
        yield from copies(f"{block}.ln_1", f"{layer}.layer_norm1")
        yield from copies(f"{block}.ln_2", f"{layer}.layer_norm2")
        yield from copies(f"{block}.mlp.c_fc", f"{layer}.mlp.fc1")
        yield from copies(f"{block}.mlp.c_proj", f"{layer}.mlp.fc2")
    yield from copies(f"{theirs}.encoder.ln_final", f"{ours}.final_layer_norm")
    yield from copies(f"{theirs}.resizer", "text_projection")


def encoder_layer(official, transformers):
    """A pre-norm layer of the geometry and fusion encoders."""
    yield from attention(f"{official}.self_attn", f"{transformers}.self_attn")
    yield from attention(f"{official}.cross_attn_image", f"{transformers}.cross_attn")
    yield from copies(f"{official}.linear1", f"{transformers}.mlp.fc1")
    yield from copies(f"{official}.linear2", f"{transformers}.mlp.fc2")
    for index in (1, 2, 3):
        yield from copies(f"{official}.norm{index}", f"{transformers}.layer_norm{index}")


def geometry(config):
    """The geometry encoder, with the point projections that transformers leaves out."""
    theirs, ours = "detector.geometry_encoder", "geometry_encoder"
    for name in ("label_embed", "cls_embed"):
        yield f"{theirs}.{name}.weight", "copy", [f"{ours}.{name}.weight"]
    for name in ("direct_project", "pool_project", "pos_enc_project"):
        for kind in PARAMETERS:
            yield f"{theirs}.points_{name}.{kind}", "own", []
    for name in ("direct_project", "pool_project", "pos_enc_project"):
        yield from copies(f"{theirs}.boxes_{name}", f"{ours}.boxes_{name}")
    yield from copies(f"{theirs}.final_proj", f"{ours}.final_proj")
    yield from copies(f"{theirs}.norm", f"{ours}.prompt_layer_norm")
    yield from copies(f"{theirs}.img_pre_norm", f"{ours}.vision_layer_norm")
    for index in range(config.num_layers):
        yield from encoder_layer(f"{theirs}.encode.{index}", f"{ours}.layers.{index}")
    yield from copies(f"{theirs}.encode_norm", f"{ours}.output_layer_norm")


def decoder(config):
    """The query decoder."""
    theirs, ours = "detector.transformer.decoder", "detr_decoder"
    for index in range(config.num_layers):
        t, o = f"{theirs}.layers.{index}", f"{ours}.layers.{index}"
        yield from attention(f"{t}.cross_attn", f"{o}.vision_cross_attn")
        yield from copies(f"{t}.norm1", f"{o}.vision_cross_attn_layer_norm")
        yield from attention(f"{t}.ca_text", f"{o}.text_cross_attn")
        yield from copies(f"{t}.catext_norm", f"{o}.text_cross_attn_layer_norm")
        yield from attention(f"{t}.self_attn", f"{o}.self_attn")
        yield from copies(f"{t}.norm2", f"{o}.self_attn_layer_norm")
        yield from copies(f"{t}.linear1", f"{o}.mlp.fc1")
        yield from copies(f"{t}.linear2", f"{o}.mlp.fc2")
        yield from copies(f"{t}.norm3", f"{o}.mlp_layer_norm")
    yield from copies(f"{theirs}.norm", f"{ours}.output_layer_norm")
    yield from mlp(f"{theirs}.bbox_embed", f"{ours}.box_head", 3)
    for name in ("query_embed", "reference_points"):
        yield f"{theirs}.{name}.weight", "copy", [f"{ours}.{name}.weight"]
    for axis in "xy":
        yield from mlp(f"{theirs}.boxRPB_embed_{axis}", f"{ours}.box_rpb_embed_{axis}", 2)
    yield f"{theirs}.presence_token.weight", "copy", [f"{ours}.presence_token.weight"]
    yield from mlp(f"{theirs}.presence_token_head", f"{ours}.presence_head", 3)
    yield from copies(f"{theirs}.presence_token_out_norm", f"{ours}.presence_layer_norm")
    yield from mlp(f"{theirs}.ref_point_head", f"{ours}.ref_point_head", 2)


def heads(stages):
    """The segmentation head and the dot-product scoring."""
    theirs, ours = "detector.segmentation_head", "mask_decoder"
    for part in ("conv_layers", "norms"):
        for index in range(stages):
            yield from copies(f"{theirs}.pixel_decoder.{part}.{index}", f"{ours}.pixel_decoder.{part}.{index}")
    for index in range(3):
        yield from copies(f"{theirs}.mask_predictor.mask_embed.layers.{index}", f"{ours}.mask_embedder.layers.{index}")
    yield from attention(f"{theirs}.cross_attend_prompt", f"{ours}.prompt_cross_attn")
    yield from copies(f"{theirs}.cross_attn_norm", f"{ours}.prompt_cross_attn_norm")
    yield from copies(f"{theirs}.semantic_seg_head", f"{ours}.semantic_projection")
    yield from copies(f"{theirs}.instance_seg_head", f"{ours}.instance_projection")
    theirs, ours = "detector.dot_prod_scoring", "dot_product_scoring"
    yield from mlp(f"{theirs}.prompt_mlp", f"{ours}.text_mlp", 2)
    yield from copies(f"{theirs}.prompt_mlp.out_norm", f"{ours}.text_mlp_out_norm")
    yield from copies(f"{theirs}.prompt_proj", f"{ours}.text_proj")
    yield from copies(f"{theirs}.hs_proj", f"{ours}.query_proj")


def detector_rules(config, tracker_neck=False, levels=4):
    """Every `detector.` tensor of a `Sam3Config`, in the official order.

    `tracker_neck` adds `sam2_convs`; SAM 3.1 has `levels` 3 and two other necks, see `checkpoints.py`.
    """
    yield from vit(config.vision_config.backbone_config)
    yield from neck("convs", "vision_encoder.neck.fpn_layers", levels)
    if tracker_neck:
        yield from neck("sam2_convs", "tracker_neck.fpn_layers", levels)
    yield from text(config.text_config)
    yield from geometry(config.geometry_encoder_config)
    for index in range(config.detr_encoder_config.num_layers):
        yield from encoder_layer(f"detector.transformer.encoder.layers.{index}", f"detr_encoder.layers.{index}")
    yield from decoder(config.detr_decoder_config)
    yield from heads(config.mask_decoder_config.num_upsampling_stages)


def to_transformers(state, config):
    """The transformers state dict of an official one (the tracker and what transformers lacks left out)."""
    tensors = {}
    for name, operation, sources in detector_rules(config):
        if operation == "copy":
            tensors[sources[0]] = state[name]
        elif operation == "stack":
            tensors.update(zip(sources, state[name].chunk(3)))
        elif operation == "transpose":
            tensors[sources[0]] = state[name].T
        elif operation == "position":
            tensors[sources[0]] = state[name][:, 1:]
    return tensors


def rope_table(config, block):
    """`freqs_cis` of one ViT block: complex64 [positions, head_dim / 2], x pairs first, then y pairs."""
    head_dim = config.hidden_size // config.num_attention_heads
    is_global = block in config.global_attn_indexes
    side = config.image_size // config.patch_size if is_global else config.window_size
    scale = config.window_size / side
    frequencies = 1.0 / (10000.0 ** (torch.arange(0, head_dim, 4)[: head_dim // 4].float() / head_dim))
    index = torch.arange(side * side)
    x = (index % side).float() * scale
    y = torch.div(index, side, rounding_mode="floor").float() * scale
    angles = torch.cat([torch.outer(x, frequencies), torch.outer(y, frequencies)], dim=-1)
    return torch.polar(torch.ones_like(angles), angles)
