"""Writes what `sam3 demo` carries, from a trained miniature: crates/sam3-cli/assets/demo/.

    python tools/demo_model/make_assets.py TRAINED_FOLDER

- `model.safetensors.gz`: the weights, gzip -9; vocabulary rows that no training prompt uses are set to zero
- `config.json`: the keys that decide shapes and results
- `scene.png`: the picture of seed 672 at 4 times the size that the model sees
- `truth.json`: its boats, as `{"label", "box", "area", "segmentation"}` with the box in pixels (x0, y0, x1, y1) and the
  mask in COCO's compressed RLE
"""

import argparse
import gzip
import json
from pathlib import Path

import evaluate
import model as miniature  # noqa: F401  (puts tools/ on the path)
import numpy as np
import scenes
from PIL import Image
from pycocotools import mask as coco
from safetensors.torch import save

import configs

LABEL = "boat"
SCALE = 4
SIDE = scenes.SIZE * SCALE
EMBEDDING = "text_encoder.text_model.embeddings.token_embedding.weight"


def weights(model):
    """The state dict with the unused vocabulary rows zeroed."""
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    used = [0, scenes.START, scenes.END, *scenes.WORDS.values()]
    table = tensors[EMBEDDING].clone()
    rows = table[used]
    table.zero_()
    table[used] = rows
    tensors[EMBEDDING] = table
    return tensors


def truth(objects):
    """What `sam3 demo` should find."""
    found = []
    for o in objects:
        if o.kind == LABEL:
            rle = coco.encode(np.asfortranarray(o.mask.astype(np.uint8)))
            found.append(
                dict(
                    label=o.kind,
                    box=[round(float(v) * SIDE) for v in o.box],
                    area=int(o.mask.sum()),
                    segmentation=dict(size=rle["size"], counts=rle["counts"].decode()),
                )
            )
    return dict(prompt=LABEL, image=dict(width=SIDE, height=SIDE), objects=found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with config.json and model.safetensors")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).resolve().parents[2] / "crates/sam3-cli/assets/demo",
    )
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    model = evaluate.read(args.folder)
    packed = gzip.compress(save(weights(model), {"format": "pt"}), 9, mtime=0)
    (args.output / "model.safetensors.gz").write_bytes(packed)
    (args.output / "config.json").write_text(json.dumps(configs.compact(model.config), indent=1) + "\n")
    picture, objects = scenes.draw(np.random.default_rng(scenes.DEMO_SEED), SCALE)
    Image.fromarray(picture).save(args.output / "scene.png", optimize=True)
    (args.output / "truth.json").write_text(json.dumps(truth(objects), indent=1) + "\n")
    for file in sorted(args.output.iterdir()):
        print(f"{file.stat().st_size:>9}  {file.name}")


if __name__ == "__main__":
    main()
