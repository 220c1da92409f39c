"""Makes the golden tensors that the Rust model is tested against, from `reference.py`.

    python tools/goldens/make.py            # writes crates/sam3-model/tests/goldens/

Two models: `odd`, a seeded miniature with awkward sizes (weights committed too, in both layouts), and the trained
miniature of the demo (`crates/sam3-cli/assets/demo/`). What each tensor is: `tools/goldens/README.md`.
"""

import argparse
import gzip
import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, save_file

TOOLS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TOOLS), str(TOOLS / "demo_model")]

import scenes

import checkpoints
import configs
import reference

REPOSITORY = TOOLS.parent
FINAL = ("pred_logits", "pred_boxes", "presence_logits", "pred_masks", "semantic_seg")
SEED = 3
# Not the demo's scene: here two boats touch and are hard to tell apart.
TRAINED_SEED = 31


def is_image_stage(name):
    return name.startswith(("vit.", "neck."))


def run(model, pixel_values, cases, keep):
    """Every case through the model; image stages once, under `image/`."""
    tensors = {}
    for case, prompt in cases.items():
        outputs = reference.forward(model, pixel_values, stages=True, **prompt)
        for name, value in prompt.items():
            tensors[f"{case}/{name}"] = value.clone()
        for name, value in outputs.items():
            if name in FINAL or keep(case, name):
                tensors[f"image/{name}" if is_image_stage(name) else f"{case}/{name}"] = value.clone(
                    memory_format=torch.contiguous_format
                )
    return tensors


def tokens(ids, length):
    return torch.tensor([ids + [0] * (length - len(ids))])


def odd(folder):
    """The seeded miniature: weights in both layouts, and every stage of three prompts."""
    config = configs.load("odd")
    weights = checkpoints.Seeded(config, SEED)
    odd = folder / "odd"
    odd.mkdir(parents=True, exist_ok=True)
    tensors = dict(checkpoints.transformers_state_dict(config, weights))
    save_file(tensors, odd / "model.safetensors", {"format": "pt"})
    (odd / "config.json").write_text(json.dumps(configs.compact(config), indent=1) + "\n")
    checkpoints.write_torch(odd / "odd.pt", checkpoints.official_state_dict(config, weights))

    model = reference.build(config, tensors)
    generator = torch.Generator().manual_seed(SEED)
    side = config.vision_config.image_size
    pixels = torch.rand(1, 3, side, side, generator=generator) * 2 - 1
    length = config.text_config.max_position_embeddings
    boxes = torch.tensor([[0.31, 0.42, 0.37, 0.23], [0.8, 0.71, 0.29, 0.53], [0.02, 0.97, 0.11, 0.13]])
    cases = dict(
        text=dict(input_ids=tokens([62, 5, 17, 33, 63], length)),
        # Id 0 inside the text is masked like padding: the official mask is `id != 0`.
        boxes=dict(input_ids=tokens([62, 9, 0, 41, 7, 63], length), boxes=boxes, labels=torch.tensor([1, 0, 1])),
        visual=dict(input_ids=tokens([62, 21, 63], length), boxes=boxes[1:2], labels=torch.tensor([1])),
    )
    big = ("mask.pixel_decoder", "mask.prompt_attention")
    expected = run(model, pixels, cases, lambda case, name: case == "boxes" or name not in big)
    expected["image/pixel_values"] = pixels
    save_file(expected, folder / "odd_expected.safetensors")


def trained(folder, demo):
    """The demo's miniature on a scene: its weights stay with the demo."""
    packed = demo / "model.safetensors.gz"
    tensors = load(gzip.decompress(packed.read_bytes()))
    model = reference.build(json.loads((demo / "config.json").read_text()), tensors)
    image, objects = scenes.draw(np.random.default_rng(TRAINED_SEED))
    image = torch.from_numpy(image.copy())
    boat = torch.tensor(next(o.box_cxcywh() for o in objects if o.kind == "boat"), dtype=torch.float32)
    other = torch.tensor(next(o.box_cxcywh() for o in objects if o.kind != "boat"), dtype=torch.float32)
    boat_ids = torch.tensor([scenes.token_ids(["boat"])])
    cases = dict(
        text=dict(input_ids=boat_ids),
        boxes=dict(input_ids=boat_ids, boxes=torch.stack([boat, other]), labels=torch.tensor([1, 0])),
        visual=dict(input_ids=torch.tensor([scenes.token_ids(["visual"])]), boxes=boat[None], labels=torch.tensor([1])),
    )
    small = ("neck.2", "text.features", "geometry.features", "fusion.output", "vit.patch_embed", "decoder.")
    expected = run(
        model,
        reference.normalise(image),
        cases,
        lambda _, name: name.startswith(small) or name == f"vit.block.{len(model.vision_encoder.backbone.layers) - 1}",
    )
    expected["image/rgb"] = image
    save_file(expected, folder / "trained_expected.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "crates/sam3-model/tests/goldens")
    parser.add_argument("--demo", type=Path, default=REPOSITORY / "crates/sam3-cli/assets/demo")
    parser.add_argument("--only", choices=["odd", "trained"])
    args = parser.parse_args()
    torch.set_num_threads(2)
    args.output.mkdir(parents=True, exist_ok=True)
    if args.only != "trained":
        odd(args.output)
    if args.only != "odd":
        trained(args.output, args.demo)
    for file in sorted(args.output.rglob("*")):
        if file.is_file():
            print(f"{file.stat().st_size:>9}  {file.relative_to(args.output)}")


if __name__ == "__main__":
    main()
