"""The model sizes the tools build, in the schema of transformers' `config.json`.

`full` is SAM 3 itself. `wide3` keeps every width and the 1008 px image and cuts only depth, so a CPU runs it in seconds.
`odd` is a miniature whose sizes share no factors that would let a transposed or mis-sized axis pass unnoticed.
"""

import json
from pathlib import Path

from transformers import Sam3Config


def build(vit, neck_width, text, model_width, model_heads, ffn, layers, queries):
    """Assembles a `config.json` dictionary; `layers` counts geometry, fusion and decoder layers."""
    grid = vit["image_size"] // vit["patch_size"]
    part = dict(hidden_size=model_width, num_attention_heads=model_heads)
    return dict(
        architectures=["Sam3Model"],
        model_type="sam3",
        vision_config=dict(
            model_type="sam3_vision_model",
            backbone_config=dict(model_type="sam3_vit_model", num_channels=3, hidden_act="gelu", **vit),
            fpn_hidden_size=neck_width,
            scale_factors=[4.0, 2.0, 1.0, 0.5],
            backbone_feature_sizes=[[grid * scale, grid * scale] for scale in (4, 2, 1)],
        ),
        text_config=dict(model_type="clip_text_model", hidden_act="gelu", layer_norm_eps=1e-5, **text),
        geometry_encoder_config=dict(num_layers=layers[0], intermediate_size=ffn, dropout=0.0, roi_size=7, **part),
        detr_encoder_config=dict(num_layers=layers[1], intermediate_size=ffn, dropout=0.0, **part),
        detr_decoder_config=dict(num_layers=layers[2], num_queries=queries, intermediate_size=ffn, dropout=0.0, **part),
        mask_decoder_config=dict(num_upsampling_stages=3, dropout=0.0, **part),
    )


def sam3(vit_blocks, global_blocks, text_layers, layers):
    """SAM 3's widths at a chosen depth."""
    return build(
        vit=dict(
            hidden_size=1024,
            intermediate_size=4736,
            num_hidden_layers=vit_blocks,
            num_attention_heads=16,
            image_size=1008,
            patch_size=14,
            window_size=24,
            global_attn_indexes=global_blocks,
            pretrain_image_size=336,
            layer_norm_eps=1e-6,
        ),
        neck_width=256,
        text=dict(
            vocab_size=49408,
            hidden_size=1024,
            intermediate_size=4096,
            projection_dim=512,
            num_hidden_layers=text_layers,
            num_attention_heads=16,
            max_position_embeddings=32,
            bos_token_id=49406,
            eos_token_id=49407,
        ),
        model_width=256,
        model_heads=8,
        ffn=2048,
        layers=layers,
        queries=200,
    )


FULL = sam3(vit_blocks=32, global_blocks=[7, 15, 23, 31], text_layers=24, layers=(3, 6, 6))
WIDE3 = sam3(vit_blocks=3, global_blocks=[1], text_layers=2, layers=(1, 2, 2))

# 10 x 10 patches in windows of 5; position table 4 x 4, so tiling it ends in the middle of a tile. The ViT's eps is far
# from both 1e-5 and 1e-6: reading it from the wrong place shows.
ODD = build(
    vit=dict(
        hidden_size=48,
        intermediate_size=100,
        num_hidden_layers=3,
        num_attention_heads=3,
        image_size=140,
        patch_size=14,
        window_size=5,
        global_attn_indexes=[1],
        pretrain_image_size=56,
        layer_norm_eps=1e-3,
    ),
    neck_width=24,
    text=dict(
        vocab_size=64,
        hidden_size=40,
        intermediate_size=72,
        projection_dim=12,
        num_hidden_layers=3,
        num_attention_heads=5,
        max_position_embeddings=19,
        bos_token_id=62,
        eos_token_id=63,
    ),
    model_width=24,
    model_heads=3,
    ffn=52,
    layers=(2, 2, 3),
    queries=7,
)

NAMED = dict(full=FULL, wide3=WIDE3, odd=ODD)


def load(name_or_folder):
    """A named configuration, or the `config.json` of a folder, as transformers' `Sam3Config`."""
    if name_or_folder in NAMED:
        return Sam3Config(**NAMED[name_or_folder])
    file = Path(name_or_folder) / "config.json"
    if not file.is_file():
        raise SystemExit(f"--config {name_or_folder}: neither {', '.join(NAMED)} nor a folder with config.json")
    return Sam3Config(**json.loads(file.read_text()))


def compact(config):
    """The part of a `Sam3Config` that decides shapes and results, in `config.json`'s schema."""
    full = config.to_dict()

    def keep(section, template):
        return {
            key: keep(section[key], value) if isinstance(value, dict) else section[key]
            for key, value in template.items()
            if key in section
        }

    return keep(full, FULL)
