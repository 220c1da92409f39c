"""Makes the golden tensors that the Rust model is tested against, from `reference.py`.

    python tools/goldens/make.py            # writes crates/sam3-model/tests/goldens/
    python tools/goldens/make.py --check    # makes them anew in a temporary folder and compares

Two models: `odd`, a seeded miniature with awkward sizes (weights committed too, in both layouts), and the trained
miniature of the demo (`crates/sam3-cli/assets/demo/`). What each tensor is: `tools/goldens/README.md`.
"""

import argparse
import gzip
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, load_file, save_file

TOOLS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TOOLS), str(TOOLS / "demo_model")]

import scenes

import checkpoints
import configs
import reference

REPOSITORY = TOOLS.parent
FINAL = ("pred_logits", "pred_boxes", "presence_logits", "pred_masks", "semantic_seg")
SEED = 3
# Of `odd`, whose own is 140: 7 x 7 patches fill no whole windows, 14 x 14 are more than its own.
IMAGE_SIZES = (98, 196)
# Stages that depend on the image size by themselves.
OF_SIZES = ("vit.", "neck.position", "geometry.features", "fusion.output", "decoder.boxes.")
# Of a tensor's largest value: what another CPU, or PyTorch's choice of kernel, may change.
CHECK_TOLERANCE = 1e-4
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

    generator = torch.Generator().manual_seed(SEED)

    def pixels(side):
        return torch.rand(1, 3, side, side, generator=generator) * 2 - 1

    length = config.text_config.max_position_embeddings
    boxes = torch.tensor([[0.31, 0.42, 0.37, 0.23], [0.8, 0.71, 0.29, 0.53], [0.02, 0.97, 0.11, 0.13]])
    cases = dict(
        text=dict(input_ids=tokens([62, 5, 17, 33, 63], length)),
        # Id 0 inside the text is masked like padding: the official mask is `id != 0`.
        boxes=dict(input_ids=tokens([62, 9, 0, 41, 7, 63], length), boxes=boxes, labels=torch.tensor([1, 0, 1])),
        visual=dict(input_ids=tokens([62, 21, 63], length), boxes=boxes[1:2], labels=torch.tensor([1])),
    )

    def record(file, image_size, keep):
        values = pixels(image_size)
        expected = run(reference.build(config, tensors, image_size), values, cases, keep)
        save_file(expected | {"image/pixel_values": values}, folder / file)

    big = ("mask.pixel_decoder", "mask.prompt_attention")
    own = config.vision_config.image_size
    record("odd_expected.safetensors", own, lambda case, name: case == "boxes" or name not in big)
    for size in IMAGE_SIZES:
        record(f"odd_{size}_expected.safetensors", size, lambda _, name: name.startswith(OF_SIZES))


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


def tensors_of(file):
    return torch.load(file, weights_only=True) if file.suffix == ".pt" else load_file(file)


def differences(made, committed):
    """One line for everything under `made` that the committed folder has otherwise."""
    for file in sorted(file for file in made.rglob("*") if file.is_file()):
        name = file.relative_to(made)
        if not (committed / name).is_file():
            yield f"{name} is not committed"
        elif file.suffix == ".json":
            if file.read_bytes() != (committed / name).read_bytes():
                yield f"{name} differs"
        else:
            new, old = tensors_of(file), tensors_of(committed / name)
            if list(new) != list(old):
                yield f"{name}: other tensors, or in another order"
                continue
            for key, tensor in new.items():
                if tensor.shape != old[key].shape or tensor.dtype != old[key].dtype:
                    yield f"{name}: {key} is {tensor.dtype} {tuple(tensor.shape)}"
                    continue
                exact = torch.complex128 if tensor.is_complex() else torch.float64
                error = (tensor.to(exact) - old[key].to(exact)).abs().max().item()
                limit = CHECK_TOLERANCE * tensor.to(exact).abs().max().item()
                if not error <= limit:
                    yield f"{name}: {key} is off by {error:.2e}, limit {limit:.2e}"


def make(folder, args):
    if args.only != "trained":
        odd(folder)
    if args.only != "odd":
        trained(folder, args.demo)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "crates/sam3-model/tests/goldens")
    parser.add_argument("--demo", type=Path, default=REPOSITORY / "crates/sam3-cli/assets/demo")
    parser.add_argument("--only", choices=["odd", "trained"])
    parser.add_argument("--check", action="store_true", help="compare with what --output holds; write nothing there")
    args = parser.parse_args()
    torch.set_num_threads(2)
    if args.check:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), args)
            found = list(differences(Path(folder), args.output))
        print("\n".join(found) if found else "the committed goldens are what this code makes")
        sys.exit(1 if found else 0)
    args.output.mkdir(parents=True, exist_ok=True)
    make(args.output, args)
    for file in sorted(args.output.rglob("*")):
        if file.is_file():
            print(f"{file.stat().st_size:>9}  {file.relative_to(args.output)}")


if __name__ == "__main__":
    main()
