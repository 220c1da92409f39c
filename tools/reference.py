"""The reference that the Rust model is compared with: transformers' `Sam3Model`, run with the official semantics.

transformers and the official code share weights but not every detail. Where they differ, this module does what the
official code does:

- the geometry encoder always runs, so a prompt without boxes still carries its CLS token (32 + 1 prompt tokens);
- a model of SAM 3's own width uses LayerNorm eps 1e-5 in the ViT whatever its `config.json` says;
- tokens are padded with id 0, and the mask is `id != 0`; inside the text encoder the mask is causal only;
- the presence logit is not clamped;
- boxes are normalised cxcywh with label 1 (positive) or 0 (negative).

Import it; it is not a command. `forward(model, ...)` returns the final outputs, and with `stages=True` every stage.
"""

import copy
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Sam3Config, Sam3Model
from transformers.initialization import no_init_weights
from transformers.models.sam3.modeling_sam3 import box_cxcywh_to_xyxy, inverse_sigmoid

import configs
import official_layout

SAM3_VIT_WIDTH = 1024
OFFICIAL_EPS = 1e-5


def build(config, state_dict=None, image_size=None):
    """A `Sam3Model` in evaluation mode from a config (dictionary or `Sam3Config`) and transformers' tensors; where
    `image_size` is given, with the rotary positions of pictures of that size."""
    config = Sam3Config(**config) if isinstance(config, dict) else copy.deepcopy(config)
    if image_size:
        config.image_size = image_size
    if state_dict is None:
        return official(Sam3Model(config).eval())
    with no_init_weights():  # Drawing 840 million random numbers only to overwrite them takes half a minute.
        model = Sam3Model(config)
    model.load_state_dict(state_dict, strict=True, assign=True)
    return official(model.eval())


def load(path, config=configs.FULL, image_size=None):
    """As `build`, a `Sam3Model` from a folder with `config.json` and `model.safetensors` (with or without `detector_model.`), or
    from an official `.pt`, which carries no configuration."""
    folder = Path(path)
    if folder.is_file():
        state = torch.load(folder, map_location="cpu", mmap=True, weights_only=True)
        config = Sam3Config(**config)
        return build(config, official_layout.to_transformers(state.get("model", state), config), image_size)
    tensors = load_file(folder / "model.safetensors")
    tensors = {
        name.removeprefix("detector_model."): tensor
        for name, tensor in tensors.items()
        if not name.startswith(("tracker_model.", "tracker_neck."))
    }
    return build(json.loads((folder / "config.json").read_text()), tensors, image_size)


def official(model):
    """Sets, in place, what transformers fixes at another value than the official code."""
    model.detr_decoder.clamp_presence_logit_max_val = float("inf")
    vit = model.vision_encoder.backbone
    if vit.config.hidden_size == SAM3_VIT_WIDTH:
        for module in vit.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = OFFICIAL_EPS
    return model


def normalise(image):
    """uint8 [H, W, 3], already at the model's size -> float32 [1, 3, H, W] in [-1, 1]."""
    return (image.permute(2, 0, 1)[None].to(torch.float32) / 255 - 0.5) / 0.5


@torch.no_grad()
def forward(model, pixel_values, input_ids, attention_mask=None, boxes=None, labels=None, stages=False):
    """One image and one prompt through the model.

    pixel_values [1, 3, S, S]; input_ids [1, T], padded with 0; attention_mask [1, T], by default `input_ids != 0`;
    boxes [n, 4] or [1, n, 4], normalised cxcywh; labels [n] or [1, n], 1 or 0.

    Returns pred_logits [1, Q], pred_boxes [1, Q, 4] (normalised xyxy), presence_logits [1, 1], pred_masks [1, Q, h, w]
    and semantic_seg [1, 1, h, w]; with `stages`, also the stages named in `tools/goldens/README.md`.
    """
    taps = Taps() if stages else None
    if taps:
        taps.watch(model)
    try:
        features, position = encode_image(model, pixel_values)
        outputs = ground(model, features, position, input_ids, attention_mask, boxes, labels, taps)
    finally:
        if taps:
            taps.remove()
    if taps:
        for level, feature in enumerate(features):
            outputs[f"neck.{level}"] = feature
        outputs["neck.position"] = position[-1]
        outputs.update(taps.seen)
    return outputs


def encode_image(model, pixel_values):
    """The neck's three levels used for images, and their position encodings: lists of [1, D, h, w], finest first."""
    vision = model.vision_encoder(pixel_values)
    return list(vision.fpn_hidden_states[:-1]), list(vision.fpn_position_encoding[:-1])


def encode_text(model, input_ids):
    """Text features [1, T, D] of every token, padding included."""
    return model.get_text_features(input_ids=input_ids, attention_mask=None, return_dict=True).pooler_output


def encode_boxes(model, boxes, labels, features, position):
    """Geometry features [1, n + 1, D]: the boxes, then the CLS token, which is there also without boxes."""
    boxes = torch.zeros(1, 0, 4) if boxes is None else boxes.reshape(1, -1, 4)
    labels = torch.zeros(1, 0, dtype=torch.long) if labels is None else labels.reshape(1, -1)
    labels = labels.to(features[-1].device)
    return model.geometry_encoder(
        box_embeddings=boxes.to(features[-1]),
        box_mask=torch.ones_like(labels, dtype=torch.bool),
        box_labels=labels,
        img_feats=features,
        img_pos_embeds=position,
    ).last_hidden_state


@torch.no_grad()
def ground(model, features, position, input_ids, attention_mask=None, boxes=None, labels=None, taps=None, text=None):
    """Everything after the image encoder: see `forward`. `text` is what `encode_text` made of these ids, where that is known."""
    mask = (input_ids != 0) if attention_mask is None else attention_mask.bool()
    text = encode_text(model, input_ids) if text is None else text
    geometry = encode_boxes(model, boxes, labels, features, position)
    prompt = torch.cat([text, geometry], dim=1)
    prompt_mask = torch.cat([mask, torch.ones(geometry.shape[:2], dtype=torch.bool, device=mask.device)], dim=1)

    fused = model.detr_encoder(
        vision_features=[features[-1]],
        text_features=prompt,
        vision_pos_embeds=[position[-1]],
        text_mask=prompt_mask,
    )
    decoded = model.detr_decoder(
        vision_features=fused.last_hidden_state,
        text_features=prompt,
        vision_pos_encoding=fused.pos_embeds_flattened,
        text_mask=prompt_mask,
        spatial_shapes=fused.spatial_shapes,
    )
    hidden = decoded.intermediate_hidden_states
    cxcywh = (inverse_sigmoid(decoded.reference_boxes) + model.detr_decoder.box_head(hidden)).sigmoid()
    logits = model.dot_product_scoring(decoder_hidden_states=hidden, text_features=prompt, text_mask=prompt_mask)
    masks = model.mask_decoder(
        decoder_queries=hidden[-1],
        backbone_features=features,
        encoder_hidden_states=fused.last_hidden_state,
        prompt_features=prompt,
        prompt_mask=prompt_mask,
    )
    outputs = dict(
        pred_logits=logits[-1].squeeze(-1),
        pred_boxes=box_cxcywh_to_xyxy(cxcywh[-1]),
        presence_logits=decoded.presence_logits[-1],
        pred_masks=masks.pred_masks,
        semantic_seg=masks.semantic_seg,
    )
    if taps:
        outputs["text.features"] = text
        outputs["geometry.features"] = geometry
        outputs["fusion.output"] = fused.last_hidden_state
        for layer in range(len(hidden)):
            outputs[f"decoder.hidden.{layer}"] = hidden[layer]
            outputs[f"decoder.reference_boxes.{layer}"] = decoded.reference_boxes[layer]
            outputs[f"decoder.boxes.{layer}"] = cxcywh[layer]
            outputs[f"decoder.presence.{layer}"] = decoded.presence_logits[layer]
    return outputs


class Taps:
    """Forward hooks that keep the output of the modules whose stages no return value carries."""

    def __init__(self):
        self.seen = {}
        self.handles = []

    def watch(self, model):
        vit = model.vision_encoder.backbone
        self.tap(vit.layer_norm, "vit.patch_embed")
        for index, block in enumerate(vit.layers):
            self.tap(block, f"vit.block.{index}")
        for index, layer in enumerate(model.text_encoder.text_model.encoder.layers):
            self.tap(layer, f"text.layer.{index}")
        self.tap(model.geometry_encoder.prompt_layer_norm, "geometry.input")
        for index, layer in enumerate(model.geometry_encoder.layers):
            self.tap(layer, f"geometry.layer.{index}")
        for index, layer in enumerate(model.detr_encoder.layers):
            self.tap(layer, f"fusion.layer.{index}")
        self.tap(model.dot_product_scoring.text_proj, "scoring.prompt")
        self.tap(model.mask_decoder.prompt_cross_attn, "mask.prompt_attention")
        self.tap(model.mask_decoder.pixel_decoder, "mask.pixel_decoder")
        self.tap(model.mask_decoder.mask_embedder, "mask.embeddings")

    def tap(self, module, name):
        def keep(_module, _inputs, output):
            self.seen[name] = (output[0] if isinstance(output, tuple) else output).detach().clone()

        self.handles.append(module.register_forward_hook(keep))

    def remove(self):
        for handle in self.handles:
            handle.remove()
