"""Scores a miniature on 512 held-out scenes (seed 99).

    python tools/demo_model/evaluate.py crates/sam3-cli/assets/demo

Prints F1 at mask IoU 0.5, the mean mask IoU of matched objects, and how often presence is right. Objects are kept at
score > 0.5, where the score is sigmoid(logit) * sigmoid(presence), as `sam3 segment` does.
"""

import argparse
import gzip
import json
from pathlib import Path

import model as miniature
import numpy as np
import scenes
import torch
import torch.nn.functional as F
from safetensors.torch import load
from scipy.optimize import linear_sum_assignment
from transformers import Sam3Config, Sam3Model

HELD_OUT_SEED, HELD_OUT_SCENES = 99, 512
BATCH = 16


def read(folder):
    """A model from a folder with `config.json` and `model.safetensors` or `model.safetensors.gz`."""
    folder = Path(folder)
    plain, packed = folder / "model.safetensors", folder / "model.safetensors.gz"
    data = plain.read_bytes() if plain.is_file() else gzip.decompress(packed.read_bytes())
    model = Sam3Model(Sam3Config(**json.loads((folder / "config.json").read_text())))
    model.load_state_dict(load(data), strict=True)
    return model.eval()


@torch.no_grad()
def evaluate(model, seed, count):
    """{"f1", "mean_iou", "presence"} on `count` scenes (a multiple of 16) of a seed."""
    rng = np.random.default_rng(seed)
    device = next(model.parameters()).device
    hits = wrong = missed = right_presence = 0
    ious = []
    for _ in range(count // BATCH):
        batch = miniature.Batch(rng, BATCH, device)
        out = miniature.Output(model, batch)
        scores = out.logits[-1].sigmoid() * out.presence[-1].sigmoid()[:, None]
        masks = F.interpolate(out.masks, size=(scenes.SIZE, scenes.SIZE), mode="bilinear", align_corners=False) > 0
        for index, (_, truth) in enumerate(batch.targets):
            truth = truth > 0
            found = masks[index, scores[index] > 0.5].cpu().numpy()
            right_presence += int((out.presence[-1][index] > 0).item() == (len(truth) > 0))
            good = match(found, truth)
            ious += good
            hits += len(good)
            wrong += len(found) - len(good)
            missed += len(truth) - len(good)
    return dict(
        f1=2 * hits / max(1, 2 * hits + wrong + missed),
        mean_iou=float(np.mean(ious)) if ious else 0.0,
        presence=right_presence / count,
    )


def match(found, truth):
    """IoUs above 0.5 of the best one-to-one assignment of two stacks of boolean masks."""
    if len(found) == 0 or len(truth) == 0:
        return []
    iou = np.array([[(p & t).sum() / max(1, (p | t).sum()) for t in truth] for p in found])
    rows, columns = linear_sum_assignment(-iou)
    return [iou[i, j] for i, j in zip(rows, columns) if iou[i, j] > 0.5]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--scenes", type=int, default=HELD_OUT_SCENES)
    args = parser.parse_args()
    torch.set_num_threads(2)
    score = evaluate(read(args.folder), args.seed, args.scenes)
    print(json.dumps({name: round(value, 4) for name, value in score.items()}))


if __name__ == "__main__":
    main()
