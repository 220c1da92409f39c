"""Compares `sam3 segment` with the reference on a full-width, reduced-depth model at 1008 px, then at smaller sizes.

    cargo build --release && python tools/interop/segment.py --binary target/release/sam3

Makes (once, in `--cache`) the `wide3` model, with a tracker for `click.py`, as an official `.pt` and as transformers'
`model.safetensors`, draws a seeded picture, and for each file runs three prompts: text; text with a positive and a negative
box; boxes only. The official file runs them at the other `IMAGE_SIZES`, too: at 504 the grid of 36 patches fills no whole
windows of 24. It asserts

- logits, boxes and presence within 1e-4 of the reference, mask and semantic logits within 1e-3 of their largest value;
- the instances of `STEM.json`: the reference's, in number, score and box, with masks that `pycocotools` decodes to the
  stated area and to the reference's mask;
- that all of it fits in `MEMORY` beside the mapped checkpoint: activations are as large as those of the whole model.

Exits with 1 and names what differs. `--write-image FILE` only draws the picture.
"""

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from pycocotools import mask as coco
from safetensors.torch import load_file, save_file
from torchvision.transforms import v2

TOOLS = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(TOOLS))

import reference

OWN_SIZE = 1008
IMAGE_SIZES = (OWN_SIZE, 672, 504)
WIDTH, HEIGHT = 641, 427
THRESHOLD = 0.5
# Absolute for logits, boxes and presence; relative to the largest value for masks.
TOLERANCE = dict(pred_logits=1e-4, pred_boxes=1e-4, presence_logits=1e-4, pred_masks=1e-3, semantic_seg=1e-3)
RELATIVE = ("pred_masks", "semantic_seg")
# Bytes a run may allocate (`RLIMIT_DATA`; see check_memory.py).
MEMORY = 500_000_000

BUS = [49406, 320, 4481, 1228, 2840, 49407]
VISUAL = [49406, 7195, 49407]
CASES = dict(
    text=dict(prompt="a yellow school bus", ids=BUS, boxes=[]),
    boxes=dict(prompt="a yellow school bus", ids=BUS, boxes=[(52, 61, 301, 257, 1), (400, 33, 633, 402, 0)]),
    visual=dict(prompt=None, ids=VISUAL, boxes=[(122, 90, 377, 411, 1), (5, 5, 77, 131, 1)]),
)


def picture():
    """A photo-like picture: smooth gradients, soft blobs, hard edges and grain, from a fixed seed."""
    rng = np.random.default_rng(20)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    sky = np.stack([90 + 100 * y / HEIGHT, 130 + 60 * x / WIDTH, 220 - 90 * y / HEIGHT], axis=-1)
    image = Image.fromarray(sky.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for index in range(40):
        cx, cy, r = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(6, 90)
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        box = [cx - r, cy - r * rng.uniform(0.3, 1), cx + r, cy + r * rng.uniform(0.3, 1)]
        (draw.ellipse if index % 2 else draw.rectangle)(box, fill=colour)
        if index == 25:
            image = image.filter(ImageFilter.GaussianBlur(3))
            draw = ImageDraw.Draw(image)
    grain = rng.normal(0, 6, (HEIGHT, WIDTH, 3))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def digest():
    """Names the cache after the code that fills it, so that a changed tool never meets old files."""
    files = [Path(__file__), *(TOOLS / name for name in ("reference.py", "checkpoints.py", "configs.py"))]
    files += [TOOLS / "official_layout.py", TOOLS / "tracker_layout.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def checkpoints(cache):
    """The model in both layouts, each in its folder; `config.json` only where the published file has one."""
    files = {"official": cache / "official/sam3.pt", "transformers": cache / "transformers/model.safetensors"}
    for layout, file in files.items():
        if not file.is_file():
            print(f"making {file}", file=sys.stderr)
            command = [sys.executable, TOOLS / "checkpoints.py", "--config", "wide3", "--tracker"]
            unfinished = file.with_name("unfinished-" + file.name)
            subprocess.run([*command, "--layout", layout, "--output", unfinished], check=True)
            unfinished.rename(file)
    return files


def prompt_tensors(case):
    """Token ids [1, 32], boxes [n, 4] (normalised cxcywh) and labels [n]."""
    ids = torch.tensor([case["ids"] + [0] * (32 - len(case["ids"]))])
    if not case["boxes"]:
        return dict(input_ids=ids)
    boxes = torch.tensor(case["boxes"], dtype=torch.float32)
    x0, y0, x1, y1 = (boxes[:, :4] / torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])).unbind(-1)
    cxcywh = torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=-1)
    return dict(input_ids=ids, boxes=cxcywh, labels=boxes[:, 4].long())


def expected(cache, image, size):
    """The reference's outputs of every case at an image size, computed once."""
    file = cache / f"expected_{size}.safetensors"
    if not file.is_file():
        print(f"computing {file}", file=sys.stderr)
        model = reference.load(cache / "transformers", image_size=size)
        rgb = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
        resized = v2.Resize((size, size), antialias=True)(rgb).permute(1, 2, 0)
        with torch.no_grad():
            features, position = reference.encode_image(model, reference.normalise(resized))
        tensors = {}
        for name, case in CASES.items():
            outputs = reference.ground(model, features, position, **prompt_tensors(case))
            tensors.update({f"{name}/{key}": value.contiguous() for key, value in outputs.items()})
        save_file(tensors, file)
    return load_file(file)


def command(binary, checkpoint, image, size, case, folder):
    """The command line of one run."""
    words = [binary, "segment", "--image", image, "--checkpoint-path", checkpoint, "--threshold", str(THRESHOLD)]
    words += ["--compute", "f32", "--output", folder, "--dump-tensors", folder / "dump.safetensors", "-q"]
    words += ["--prompt", case["prompt"]] if case["prompt"] else []
    words += ["--image-size", size] if size != OWN_SIZE else []
    for box in case["boxes"]:
        words += ["--box", ",".join(str(value) for value in box)]
    return [str(word) for word in words]


def limit_memory():
    """In the child, before it becomes `sam3`."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def compare_tensors(found, wanted):
    """One line per output, and whether all are within tolerance."""
    good = True
    for name, tolerance in TOLERANCE.items():
        if name not in found or found[name].shape != wanted[name].shape:
            shape = tuple(found[name].shape) if name in found else "missing"
            print(f"  FAIL {name}: {shape}, expected {tuple(wanted[name].shape)}")
            good = False
            continue
        error = (found[name].float() - wanted[name]).abs().max().item()
        limit = tolerance * (wanted[name].abs().max().item() if name in RELATIVE else 1.0)
        verdict = "ok  " if error <= limit else "FAIL"
        print(f"  {verdict} {name:16} largest error {error:.2e}, limit {limit:.2e}")
        good = good and error <= limit
    return good


def wanted_instances(outputs):
    """Score, box in pixels and mask of every query the official post-processing keeps, in query order."""
    scores = (outputs["pred_logits"][0].sigmoid() * outputs["presence_logits"][0].sigmoid()).numpy()
    logits = torch.nn.functional.interpolate(outputs["pred_masks"], (HEIGHT, WIDTH), mode="bilinear")[0].numpy()
    boxes = (outputs["pred_boxes"][0] * torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])).numpy()
    return [(scores[i], boxes[i], logits[i] > 0) for i in range(len(scores)) if scores[i] > THRESHOLD], scores


def check_instances(report, outputs, case):
    """Complaints about the instances of one `STEM.json`."""
    complaints = []
    if (report["image"]["width"], report["image"]["height"]) != (WIDTH, HEIGHT):
        complaints.append(f"image is {report['image']}, expected {WIDTH} x {HEIGHT}")
    (prompt,) = report["prompts"]
    if prompt["prompt"] != (case["prompt"] or "visual"):
        complaints.append(f"prompt is {prompt['prompt']!r}")
    wanted, scores = wanted_instances(outputs)
    found = prompt["instances"]
    undecided = int((np.abs(scores - THRESHOLD) < 1e-4).sum())
    if abs(len(found) - len(wanted)) > undecided:
        return complaints + [f"{len(found)} instances, expected {len(wanted)}"]
    # Matched by score, whatever the order they are listed in: seeded scores are all different.
    for instance in found:
        score, box, mask = min(wanted, key=lambda row: abs(row[0] - instance["score"]))
        complaints += check_instance(instance, score, box, mask)
    return complaints


def check_instance(instance, score, box, mask):
    """Complaints about one instance."""
    rle = instance["segmentation"]
    decoded = coco.decode(dict(size=rle["size"], counts=rle["counts"].encode())).astype(bool)
    label = f"instance with score {instance['score']:.4f}"
    if decoded.shape != (HEIGHT, WIDTH):
        return [f"{label}: mask is {decoded.shape}, expected {(HEIGHT, WIDTH)}"]
    complaints = []
    if int(decoded.sum()) != instance["area"]:
        complaints.append(f"{label}: area {instance['area']}, its mask has {int(decoded.sum())} pixels")
    union = (decoded | mask).sum()
    iou = (decoded & mask).sum() / union if union else 1.0
    if iou < 0.995 and (decoded ^ mask).sum() > 20:
        complaints.append(f"{label}: mask IoU with the reference {iou:.4f}")
    if abs(score - instance["score"]) > 1e-4:
        complaints.append(f"{label}: the nearest expected score is {score:.4f}")
    edge = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT])
    if np.abs(np.clip(box, 0, edge) - np.clip(instance["box"], 0, edge)).max() > 0.1:
        complaints.append(f"{label}: box {instance['box']}, expected {box.round(2).tolist()}")
    return complaints


def agrees(binary, checkpoint, image, size, case, wanted):
    """Runs one case; says what it gives and whether that is the reference's."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        image.save(folder / "picture.png")
        line = command(binary, checkpoint, folder / "picture.png", size, case, folder)
        if subprocess.run(line, stdout=subprocess.DEVNULL, preexec_fn=limit_memory).returncode != 0:
            print(f"  FAIL {' '.join(line)}")
            return False
        good = compare_tensors(load_file(folder / "dump.safetensors"), wanted)
        complaints = check_instances(json.loads((folder / "picture.json").read_text()), wanted, case)
    for complaint in complaints[:5]:
        print(f"  FAIL {complaint}")
    if not complaints:
        print("  ok   instances")
    return good and not complaints


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=TOOLS.parent / "target/release/sam3")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/sam3-ci")
    parser.add_argument("--layout", choices=["official", "transformers"], help="only this file")
    parser.add_argument("--case", choices=CASES, help="only this prompt")
    parser.add_argument("--image-size", type=int, nargs="+", default=IMAGE_SIZES, metavar="N")
    parser.add_argument("--write-image", type=Path, metavar="FILE")
    args = parser.parse_args()
    torch.set_num_threads(2)
    image = picture()
    if args.write_image:
        image.save(args.write_image)
        return
    cache = args.cache / f"wide3-{digest()}"
    cache.mkdir(parents=True, exist_ok=True)
    files = checkpoints(cache)
    failures = 0
    for size in args.image_size:
        reference_outputs = expected(cache, image, size)
        for layout, file in files.items():
            if args.layout not in (None, layout) or (args.layout is None and size != OWN_SIZE and layout != "official"):
                continue
            for name, case in CASES.items():
                if args.case not in (None, name):
                    continue
                print(f"{layout} {file.name}, {size} px, {name}")
                wanted = {key: reference_outputs[f"{name}/{key}"] for key in TOLERANCE}
                failures += not agrees(args.binary, file, image, size, case, wanted)
    print(f"{failures} of the runs differ" if failures else "all runs agree with the reference")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
