"""The demo's miniature: its configuration, how a batch is built, and its forward pass with gradients."""

import sys
from pathlib import Path

import numpy as np
import torch
from transformers import Sam3Config, Sam3Model
from transformers.models.sam3.modeling_sam3 import box_cxcywh_to_xyxy, inverse_sigmoid

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import scenes

import configs

# 4.9 million parameters, of which 3.2 are the CLIP vocabulary's rows; those no prompt uses stay zero.
CONFIG = configs.build(
    vit=dict(
        hidden_size=96,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=scenes.SIZE,
        patch_size=14,
        window_size=6,
        global_attn_indexes=[1, 3],
        pretrain_image_size=84,
        layer_norm_eps=1e-6,
    ),
    neck_width=64,
    text=dict(
        vocab_size=49408,
        hidden_size=64,
        intermediate_size=256,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=scenes.CONTEXT,
        bos_token_id=scenes.START,
        eos_token_id=scenes.END,
    ),
    model_width=64,
    model_heads=4,
    ffn=256,
    layers=(1, 2, 3),
    queries=25,
)
NO_BOX = -10  # transformers' label of a padding box


def new():
    """An untrained model. Its 25 queries start on a 5 x 5 grid of boxes; only the words in use have an embedding."""
    model = Sam3Model(Sam3Config(**CONFIG))
    with torch.no_grad():
        grid = (torch.arange(5) + 0.5) / 5
        y, x = torch.meshgrid(grid, grid, indexing="ij")
        size = torch.full((25,), 0.3)
        start = torch.stack([x.flatten(), y.flatten(), size, size], dim=-1)
        model.detr_decoder.reference_points.weight.copy_(inverse_sigmoid(start))
        model.detr_decoder.query_embed.weight.normal_(0, 1)
        used = torch.zeros(CONFIG["text_config"]["vocab_size"], 1)
        used[[0, scenes.START, scenes.END, *scenes.WORDS.values()]] = 1
        model.text_encoder.text_model.embeddings.token_embedding.weight.mul_(used)
    return model


class Batch:
    """`size` scenes and prompts drawn from a `numpy` generator, as tensors on `device`."""

    def __init__(self, rng, size, device="cpu"):
        pictures, ids, boxes, labels, self.targets = [], [], [], [], []
        for _ in range(size):
            picture, objects = scenes.draw(rng)
            prompt = scenes.ask(rng, objects)
            pictures.append(picture)
            ids.append(scenes.token_ids(prompt.words))
            boxes.append([prompt.exemplar or [0, 0, 0, 0]])
            labels.append([1 if prompt.exemplar else NO_BOX])
            self.targets.append(
                (
                    np.array([o.box for o in prompt.targets], np.float32).reshape(-1, 4),
                    np.array([o.mask for o in prompt.targets], np.float32).reshape(-1, scenes.SIZE, scenes.SIZE),
                )
            )
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        self.pixels = pixels.to(device)
        self.ids = torch.tensor(ids).to(device)
        self.boxes = torch.tensor(boxes, dtype=torch.float32).to(device)
        self.labels = torch.tensor(labels).to(device)


class Output:
    """Every decoder layer's boxes [L, B, Q, 4] (xyxy), logits [L, B, Q] and presence [L, B]; masks [B, Q, h, w],
    semantic."""

    def __init__(self, model, batch):
        vision = model.vision_encoder(batch.pixels)
        features, position = vision.fpn_hidden_states[:-1], vision.fpn_position_encoding[:-1]
        text_mask = batch.ids != 0
        text = model.get_text_features(input_ids=batch.ids, attention_mask=None, return_dict=True).pooler_output
        # A padding box keeps the batch rectangular; the CLS token is there with and without it.
        geometry = model.geometry_encoder(
            box_embeddings=batch.boxes,
            box_mask=batch.labels != NO_BOX,
            box_labels=torch.where(batch.labels == NO_BOX, 0, batch.labels),
            img_feats=features,
            img_pos_embeds=position,
        )
        prompt = torch.cat([text, geometry.last_hidden_state], 1)
        mask = torch.cat([text_mask, geometry.attention_mask], 1)
        fused = model.detr_encoder(
            vision_features=[features[-1]], text_features=prompt, vision_pos_embeds=[position[-1]], text_mask=mask
        )
        decoded = model.detr_decoder(
            vision_features=fused.last_hidden_state,
            text_features=prompt,
            vision_pos_encoding=fused.pos_embeds_flattened,
            text_mask=mask,
            spatial_shapes=fused.spatial_shapes,
        )
        hidden = decoded.intermediate_hidden_states
        offsets = model.detr_decoder.box_head(hidden)
        self.boxes = box_cxcywh_to_xyxy((inverse_sigmoid(decoded.reference_boxes) + offsets).sigmoid())
        self.logits = model.dot_product_scoring(
            decoder_hidden_states=hidden, text_features=prompt, text_mask=mask
        ).squeeze(-1)
        self.presence = decoded.presence_logits.squeeze(-1)
        masks = model.mask_decoder(
            decoder_queries=hidden[-1],
            backbone_features=list(features),
            encoder_hidden_states=fused.last_hidden_state,
            prompt_features=prompt,
            prompt_mask=mask,
        )
        self.masks, self.semantic = masks.pred_masks, masks.semantic_seg
