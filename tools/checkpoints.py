"""Makes SAM 3 checkpoints with the real names, order and shapes, and seeded values instead of trained ones.

    python tools/checkpoints.py --config full --output /tmp/sam3.pt               # like the published sam3.pt
    python tools/checkpoints.py --config full --layout transformers --output /tmp/hf/model.safetensors
    python tools/checkpoints.py --config wide3 --output /tmp/wide3/sam3.pt        # full width, three ViT blocks
    python tools/checkpoints.py --config wide3 --layout transformers --shards 3 --output /tmp/w/model.safetensors
    python tools/checkpoints.py --config odd --wrap model --output /tmp/odd.pt    # {"model": {...}}

The same configuration and seed give the same values in every layout, container and number of shards. The extension of
`--output` chooses the container: `.safetensors`, or else a PyTorch zip. Values are scaled so that activations stay near
one and outputs differ from query to query; nothing can be segmented with them. `full` gives exactly the published sizes,
3,450,062,241 bytes (when the file is called sam3.pt) and 3,439,938,512. `--sam31` has SAM 3.1's detector, but SAM 3's
tracker under SAM 3.1's prefix.
"""

import argparse
import json
import zlib
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import Sam3Model

import configs
import tracker_layout
from official_layout import detector_rules, neck, rope_table

DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.complex64: "C64"}

# Names whose values are not a layer's weight or bias: standard deviation.
TABLES = {
    "position_embeddings": 0.2,
    "position_embedding.weight": 0.2,
    "token_embedding.weight": 0.7,
    "label_embed.weight": 0.5,
    "cls_embed.weight": 1.0,
    "query_embed.weight": 1.0,
    "reference_points.weight": 1.2,
    "presence_token.weight": 1.0,
}
# The presence logit is put near 4, so that about half of the queries pass the usual threshold.
PRESENT = ("presence_head.layer3.bias", 4.0)
# Layers that end a residual branch or a box head are damped, so that depth does not inflate or saturate.
DAMPED = ("o_proj.weight", "out_proj.weight", "fc2.weight", "box_head.layer3.weight")


def seeded(name, shape, seed):
    """The values of one tensor; they depend on its name, shape and the seed, not on what was made before it."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) * 1_000_003 + seed)
    values = torch.randn(shape, generator=generator)
    for suffix, deviation in TABLES.items():
        if name.endswith(suffix):
            return values.mul_(deviation)
    if name.endswith(PRESENT[0]):
        return values.mul_(0.1).add_(PRESENT[1])
    if len(shape) == 1:
        is_norm = "norm" in name and name.endswith("weight")
        return values.mul_(0.1).add_(1.0 if is_norm else 0.0)
    transposed = "scale_layers" in name or "dconv_2x2" in name
    fan_in = shape[0] if transposed else values[0].numel()
    return values.mul_((0.4 if name.endswith(DAMPED) else 1.0) / fan_in**0.5)


class Seeded:
    """Transformers-named tensors of a configuration, made when asked for."""

    def __init__(self, config, seed):
        with torch.device("meta"):
            model = Sam3Model(config)
        self.shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        for name, shape in list(self.shapes.items()):
            if name.startswith("vision_encoder.neck."):
                self.shapes[name.replace("vision_encoder.neck.", "tracker_neck.")] = shape
        self.seed = seed

    def get(self, name):
        return seeded(name, self.shapes[name], self.seed)

    def own(self, name, shape):
        return seeded(name, shape, self.seed)


class Shapes:
    """The shapes alone, as tensors without data."""

    def __init__(self, weights):
        self.shapes = weights.shapes

    def get(self, name):
        return torch.empty(self.shapes[name], device="meta")

    def own(self, _name, shape):
        return torch.empty(shape, device="meta")


class Folder(Seeded):
    """The same names from a folder's `model.safetensors`; what that lacks is seeded."""

    def __init__(self, config, seed, folder):
        super().__init__(config, seed)
        self.file = safe_open(Path(folder) / "model.safetensors", "pt")
        self.names = {name.removeprefix("detector_model."): name for name in self.file.keys()}

    def get(self, name):
        return self.file.get_tensor(self.names[name]) if name in self.names else super().get(name)


def point_projection_shape(name, width):
    """Shape of a point projection, which transformers does not have."""
    if name.endswith("bias"):
        return (width,)
    return (width, 2) if "direct" in name else (width, width)


def official_tensor(config, weights, name, operation, sources):
    """One tensor of the official state dict."""
    if operation == "freqs":
        return rope_table(config.vision_config.backbone_config, sources[0])
    if operation == "own":
        return weights.own(name, point_projection_shape(name, config.geometry_encoder_config.hidden_size))
    parts = [weights.get(source) for source in sources]
    if operation == "stack":
        return torch.cat(parts)
    if operation == "transpose":
        return parts[0].T.contiguous()
    if operation == "position":
        cls_row = weights.own(name, (1, 1, parts[0].shape[-1]))
        return torch.cat([cls_row, parts[0]], dim=1)
    return parts[0]


def official_state_dict(config, weights, tracker=False, sam31=False):
    """The official state dict, one (name, tensor) at a time."""
    rules = detector_rules(config, tracker_neck=tracker and not sam31, levels=3 if sam31 else 4)
    for name, operation, sources in rules:
        yield name, official_tensor(config, weights, name, operation, sources)
        if sam31 and name == "detector.backbone.vision_backbone.convs.2.conv_3x3.bias":
            for extra in ("propagation_convs", "interactive_convs"):
                for name, _, sources in neck(extra, "vision_encoder.neck.fpn_layers", levels=3):
                    yield name, weights.own(name, weights.shapes[sources[0]])
    if tracker:
        prefix = "tracker.model." if sam31 else "tracker."
        for name, shape in tracker_layout.official_shapes():
            yield prefix + name, weights.own(f"tracker.{name}", shape)


def transformers_state_dict(config, weights, tracker=False):
    """The transformers state dict, sorted: plain for an image model, as published (`detector_model.`) with a tracker."""
    for name in sorted(weights.shapes):
        if not name.startswith("tracker_neck."):
            yield f"detector_model.{name}" if tracker else name, weights.get(name)
    if not tracker:
        return
    shapes = dict(tracker_layout.official_shapes())
    for name, sources, _ in sorted(tracker_layout.transformers_rules()):
        yield name, torch.cat([weights.own(f"tracker.{source}", shapes[source]) for source in sources])
    for name in sorted(weights.shapes):
        if name.startswith("tracker_neck."):
            yield name, weights.get(name)


def write_torch(path, entries, wrap=None):
    """A PyTorch zip. The archive is named after the file, so `sam3.pt` has exactly the published file's size."""
    state = dict(entries)
    torch.save({wrap: state} if wrap else state, path)


def write_safetensors(path, describe, entries):
    """A safetensors file, one tensor in memory at a time. `describe` lists (name, dtype, shape) in the order of `entries`."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape in describe:
        size = torch.Size(shape).numel() * dtype.itemsize
        header[name] = dict(dtype=DTYPES[dtype], shape=list(shape), data_offsets=[offset, offset + size])
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in entries:
            file.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())


def save_safetensors(output, make, weights, shards):
    """Writes what `make(weights)` yields as one file, or as shards with `model.safetensors.index.json`."""
    described = [(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in make(Shapes(weights))]
    if shards == 1:
        write_safetensors(output, described, make(weights))
        return
    weight_map, total = {}, 0
    for shard in range(shards):
        part = described[shard::shards]
        file = f"{output.stem}-{shard + 1:05d}-of-{shards:05d}.safetensors"
        names = {name for name, _, _ in part}
        write_safetensors(output.with_name(file), part, (entry for entry in make(weights) if entry[0] in names))
        weight_map.update(dict.fromkeys(sorted(names), file))
        total += sum(torch.Size(shape).numel() * dtype.itemsize for _, dtype, shape in part)
    index = dict(metadata=dict(total_size=total), weight_map=weight_map)
    output.with_name(f"{output.name}.index.json").write_text(json.dumps(index, indent=1))


def rename(name, image_only, internal):
    """The names that fine-tuning code and the authors' own training code write."""
    if image_only:
        return name.removeprefix("detector.")
    if internal:
        name = name.replace("tracker.", "sam2_predictor.", 1) if name.startswith("tracker.") else name
        name = name.replace("detector.", "sam3_model.", 1) if name.startswith("detector.") else name
    return name


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="full, wide3, odd, or a folder with config.json")
    parser.add_argument("--layout", choices=["official", "transformers"], default="official")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="take values from FOLDER/model.safetensors")
    parser.add_argument(
        "--tracker", action=argparse.BooleanOptionalAction, help="with its tracker (by default: `full`)"
    )
    parser.add_argument("--image-only", action="store_true", help="official layout without `detector.` and tracker")
    parser.add_argument("--internal-prefixes", action="store_true", help="sam3_model. / sam2_predictor. prefixes")
    parser.add_argument(
        "--sam31", action="store_true", help="SAM 3.1: three neck levels, two more necks, tracker.model."
    )
    parser.add_argument("--wrap", metavar="KEY", help="wrap the dictionary: {KEY: {...}}")
    parser.add_argument("--dtype", choices=["float32", "float16", "bfloat16"], default="float32")
    parser.add_argument("--shards", type=int, default=1, help="split a .safetensors and write its index")
    parser.add_argument("--with-config", action="store_true", help="config.json too (always so for transformers)")
    args = parser.parse_args()

    config = configs.load(args.config)
    weights = Folder(config, args.seed, args.weights) if args.weights else Seeded(config, args.seed)
    tracker = (args.config == "full") if args.tracker is None else args.tracker
    tracker = tracker and not args.image_only
    dtype = getattr(torch, args.dtype)

    def make(weights):
        if args.layout == "transformers":
            entries = transformers_state_dict(config, weights, tracker)
        else:
            entries = official_state_dict(config, weights, tracker, args.sam31)
        for name, tensor in entries:
            tensor = tensor if tensor.is_complex() else tensor.to(dtype)
            yield rename(name, args.image_only, args.internal_prefixes), tensor

    args.output.parent.mkdir(parents=True, exist_ok=True)
    if args.output.suffix == ".safetensors":
        save_safetensors(args.output, make, weights, args.shards)
    else:
        write_torch(args.output, make(weights), args.wrap)
    if args.with_config or args.layout == "transformers":
        text = json.dumps(configs.compact(config), indent=1)
        args.output.with_name("config.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
