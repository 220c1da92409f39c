"""Compares `sam3 click` with transformers' `Sam3TrackerModel` on a full-width, reduced-depth model at 1008 px.

    cargo build --release && python tools/interop/click.py --binary target/release/sam3

Takes the `wide3` model and the picture of `segment.py`. transformers leaves `no_memory_embedding` out of what its
decoder sees, where the official code adds it: it is added here. It asserts that masks (clamped to ±32) are within 1e-3
of their largest value, predicted IoUs within 1e-4, and object scores within 1e-3. A mask alone, for which the two
differ, is left to the official code's own goldens (`crates/sam3-model/tests/goldens/tracker`). Then it prints what a
click takes beside transformers', in the same run, on as many threads.

Exits with 1 and names what differs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torchvision.transforms import v2
from transformers import Sam3TrackerConfig, Sam3TrackerModel

sys.path.insert(0, str(Path(__file__).resolve().parent))

import segment

THREADS = 2
SIZE, WIDTH, HEIGHT = segment.OWN_SIZE, segment.WIDTH, segment.HEIGHT
# What each part of the model is called in a whole checkpoint.
PREFIXES = {
    "vision_encoder.backbone.": "detector_model.vision_encoder.backbone.",
    "vision_encoder.neck.": "tracker_neck.",
    "": "tracker_model.",
}
CASES = dict(
    point=dict(points=[(300.0, 200.0, 1)], box=None, multimask=True),
    points=dict(points=[(300.0, 200.0, 1), (60.5, 33.25, 0), (500.0, 400.0, 1)], box=None, multimask=True),
    box=dict(points=[], box=(52, 61, 301, 257), multimask=True),
    single=dict(points=[(120.0, 300.0, 1), (400.0, 40.0, 0)], box=(52, 161, 401, 417), multimask=False),
)


def load(folder, config=Sam3TrackerConfig, model=Sam3TrackerModel):
    """A model that clicks or tracks, of a whole checkpoint in transformers' layout."""
    vision = json.loads((folder / "config.json").read_text())["vision_config"]
    vision["backbone_config"]["layer_norm_eps"] = 1e-5
    model = model(config(vision_config=vision)).eval()
    tensors = load_file(folder / "model.safetensors")

    def stored(name):
        prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
        return tensors[PREFIXES[prefix] + name.removeprefix(prefix)]

    model.load_state_dict({name: stored(name) for name in model.state_dict()})
    return model


def embeddings(model, image):
    """What the decoder sees of the picture, with the embedding that stands for no memory."""
    rgb = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
    resized = v2.Resize((SIZE, SIZE), antialias=True)(rgb)
    maps = model.get_image_embeddings((resized.float() / 255 - 0.5)[None] / 0.5)[:3]
    maps[2] = maps[2] + model.no_memory_embedding.reshape(1, -1, 1, 1)
    return maps


def expected(model, maps, case):
    """Masks [masks, side, side], predicted IoUs [masks] and the object score."""
    scale = torch.tensor([SIZE / WIDTH, SIZE / HEIGHT])
    points = torch.tensor([point[:2] for point in case["points"]]).reshape(1, 1, -1, 2)
    prompts = {}
    if case["points"]:
        prompts["input_points"] = points * scale
        prompts["input_labels"] = torch.tensor([point[2] for point in case["points"]]).reshape(1, 1, -1)
    if case["box"]:
        prompts["input_boxes"] = torch.tensor(case["box"]).reshape(1, 1, 4) * scale.repeat(2)
    outputs = model(image_embeddings=list(maps), multimask_output=case["multimask"], **prompts)
    return outputs.pred_masks[0, 0].clamp(-32, 32), outputs.iou_scores[0, 0], outputs.object_score_logits.flatten()


def clicked(binary, checkpoint, image, folder, objects, multimask, *more):
    """Runs `sam3 click` with these flags of objects; returns its JSON."""
    words = [binary, "click", "--image", image, "--checkpoint-path", checkpoint, "--compute", "f32", "--device", "cpu"]
    words += ["--threads", THREADS, "--output", folder, "--json", "--quiet", *more]
    for index, case in enumerate(objects):
        words += ["--object"] if index else []
        words += [word for x, y, label in case["points"] for word in ("--point", f"{x},{y},{label}")]
        words += ["--box", ",".join(map(str, case["box"]))] if case["box"] else []
    words += ["--multimask"] if multimask else []
    return json.loads(subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE).stdout)


def compare(binary, checkpoint, image, folder, model, maps):
    """Names of the cases that differ."""
    failures = []
    for multimask in (True, False):
        cases = {name: case for name, case in CASES.items() if case["multimask"] == multimask}
        dump = folder / "dump.safetensors"
        clicked(binary, checkpoint, image, folder, cases.values(), multimask, "--dump-tensors", dump)
        tensors = load_file(dump)
        for index, (name, case) in enumerate(cases.items()):
            wanted = expected(model, maps, case)
            found = [tensors[key][index] for key in ("low_res_masks", "iou_scores", "object_score_logits")]
            apart = [(a - b).abs().max().item() for a, b in zip(wanted, found)]
            largest = wanted[0].abs().max().item()
            print(f"{name}: masks {apart[0]:.1e} of {largest:.1f}, IoU {apart[1]:.1e}, object score {apart[2]:.1e}")
            if not (apart[0] <= 1e-3 * largest and apart[1] <= 1e-4 and apart[2] <= 1e-3):
                failures.append(name)
    return failures


def time_both(binary, checkpoint, image, folder, model, maps):
    """Milliseconds of a click of one point in an encoded picture: transformers', ours. The least of several, as others
    use this machine."""
    case, clicks, runs = CASES["point"], 24, 3

    def theirs():
        start = time.perf_counter()
        expected(model, maps, case)
        return 1e3 * (time.perf_counter() - start)

    def ours(count):
        return clicked(binary, checkpoint, image, folder, count * [case], True)["timings"]["click_ms"]

    expected(model, maps, case)
    one, many, slow = [], [], []
    for _ in range(runs):
        # The first click has the tracker's neck in it, and every mask is resized to the picture.
        one.append(ours(1))
        many.append(ours(1 + clicks))
        slow += [theirs() for _ in range(clicks)]
    return min(slow), (min(many) - min(one)) / clicks


@torch.no_grad()
def main():
    """Runs every case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=segment.TOOLS.parent / "target/release/sam3")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/sam3-ci")
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    cache = args.cache / f"wide3-{segment.digest()}"
    cache.mkdir(parents=True, exist_ok=True)
    files = segment.checkpoints(cache)
    model, picture = load(files["transformers"].parent), segment.picture()
    maps = embeddings(model, picture)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        picture.save(folder / "picture.png")
        ours = args.binary, files["official"], folder / "picture.png", folder
        failures = compare(*ours, model, maps)
        theirs_ms, ours_ms = time_both(*ours, model, maps)
    print(f"a click: transformers {theirs_ms:.0f} ms, sam3 {ours_ms:.0f} ms, {ours_ms / theirs_ms:.2f} of it")
    if failures:
        sys.exit(f"differs: {', '.join(failures)}")


if __name__ == "__main__":
    main()
