"""Small things in large pictures: how many `sam3 segment` finds in drawn scenes, with tiles and without.

    python tools/demo_model/large_scenes.py --sam3 target/release/sam3 --checkpoint sam3-demo/desktop/model.safetensors

A scene has some forty small objects of the demo's five shapes, and two large ones, on a noisy gradient; a shape is a
prompt. Prints recall, precision and F1 at mask IoU 0.5, of small and of large objects, and which share of the instances
are doubles: further instances that lie, by half, in the same object. `--check` exits with 1 where tiles do not at
least double the recall of small objects, or doubles are more than 2 %.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import scenes
from PIL import Image, ImageDraw
from pycocotools import mask as coco

SEED = 4000
SMALL, LARGE = 40, 2
MOST_DOUBLES = 0.02


def draw(rng, width, height, small):
    """A picture uint8 [height, width, 3], and (kind, is large, mask as COCO's run lengths) of each object. Small objects
    have sides of `small` (from, to) pixels."""
    ground = scenes.background(rng)
    t = np.linspace(0, 1, width if ground.across else height, dtype=np.float32)
    t = t[None, :, None] if ground.across else t[:, None, None]
    top, bottom = ground.top.astype(np.float32), ground.bottom.astype(np.float32)
    picture = top * (1 - t) + bottom * t + np.zeros((height, width, 1), np.float32)
    picture += np.float32(ground.strength) * rng.standard_normal(picture.shape, np.float32)
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    numbers = Image.new("L", (width, height), 0)
    placed = []
    for index in range(LARGE + SMALL):
        is_large = index < LARGE
        low, high = (0.25 * height, 0.45 * height) if is_large else small
        for _ in range(100):
            w = rng.uniform(low, high)
            h = w * rng.uniform(0.8, 1.25)
            x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
            box = (x, y, x + w, y + h)
            if all(scenes.overlap(box, other) == 0 for _, other, _, _ in placed):
                kind = scenes.SHAPES[rng.integers(len(scenes.SHAPES))]
                colour = scenes.shade(rng, scenes.COLOUR_NAMES[rng.integers(len(scenes.COLOUR_NAMES))])
                placed.append((kind, box, colour, is_large))
                break
    on_image, on_numbers = ImageDraw.Draw(image), ImageDraw.Draw(numbers)
    for number, (kind, box, colour, _) in enumerate(placed, start=1):
        if kind == "circle":
            on_image.ellipse(list(box), fill=colour)
            on_numbers.ellipse(list(box), fill=number)
            continue
        for polygon, fill in scenes.outline(kind, box, colour):
            on_image.polygon(polygon, fill=fill)
            on_numbers.polygon(polygon, fill=number)
    numbers = np.asfortranarray(numbers)
    masks = [coco.encode((numbers == number).view(np.uint8)) for number in range(1, len(placed) + 1)]
    return np.asarray(image), [(kind, large, mask) for (kind, _, _, large), mask in zip(placed, masks)]


class Score:
    """What was found of the objects of all scenes."""

    def __init__(self):
        self.hits = {True: 0, False: 0}
        self.objects = {True: 0, False: 0}
        self.found = self.doubles = 0

    def add(self, truth, found):
        """`truth` (is large, mask) and `found` masks of one prompt in one scene, as run lengths."""
        self.found += len(found)
        for is_large, _ in truth:
            self.objects[is_large] += 1
        if not truth or not found:
            return
        masks = [mask for _, mask in truth]
        iou = coco.iou(found, masks, [0] * len(masks))
        areas, of_found = coco.area(masks), coco.area(found)[:, None]
        shared = iou * (areas + of_found) / (1 + iou)
        inside = shared > 0.5 * of_found
        for index, (is_large, _) in enumerate(truth):
            self.hits[is_large] += bool((iou[:, index] > 0.5).any())
            self.doubles += max(0, int(inside[:, index].sum()) - 1)

    def row(self):
        hits = sum(self.hits.values())
        recall, precision = hits / max(1, sum(self.objects.values())), hits / max(1, self.found)
        return dict(
            small_recall=self.hits[False] / max(1, self.objects[False]),
            large_recall=self.hits[True] / max(1, self.objects[True]),
            recall=recall,
            precision=precision,
            f1=2 * recall * precision / max(1e-9, recall + precision),
            doubles=self.doubles / max(1, self.found),
        )


def segment(args, picture, kinds, tiles):
    """The masks of each prompt, as run lengths."""
    command = [args.sam3, "segment", "--image", picture, "--prompt", ",".join(kinds), "--json", "-q"]
    command += ["--checkpoint-path", args.checkpoint, "--output", args.output / "results", "--force"] + tiles
    result = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE)
    masks = {}
    for prompt in json.loads(result.stdout)["prompts"]:
        masks[prompt["prompt"]] = [instance["segmentation"] for instance in prompt["instances"]]
    return masks


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sam3", type=Path, required=True, help="the program")
    parser.add_argument("--checkpoint", type=Path, required=True, help="the demo's model")
    parser.add_argument("--size", default="3840x2160", help="of the pictures, in pixels")
    parser.add_argument("--scenes", type=int, default=128)
    parser.add_argument("--small", default="24,44", help="the least and the most pixels in a side of a small object")
    parser.add_argument("--prompts", type=int, default=5, help="shapes that are asked for in a scene")
    parser.add_argument("--tiles", default="auto", help="as `sam3 segment` takes it")
    parser.add_argument("--output", type=Path, default=Path("large_scenes"), help="folder of pictures and overlays")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    small = tuple(map(float, args.small.split(",")))
    args.output.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    scores = {"whole": Score(), "tiles": Score()}
    for index in range(args.scenes):
        picture, objects = draw(rng, width, height, small)
        path = args.output / f"scene_{index:03}.png"
        Image.fromarray(picture).save(path, compress_level=1)
        kinds = [scenes.SHAPES[(index + more) % len(scenes.SHAPES)] for more in range(args.prompts)]
        for name, flags in [("whole", []), ("tiles", ["--tiles", args.tiles])]:
            found = segment(args, path, kinds, flags)
            for kind in kinds:
                truth = [(is_large, mask) for own, is_large, mask in objects if own == kind]
                scores[name].add(truth, found[kind])
        if index:
            path.unlink()
    rows = {name: score.row() for name, score in scores.items()}
    for name, row in rows.items():
        print(f"{name:6}", " ".join(f"{key} {value:.4f}" for key, value in row.items()))
    whole, tiled = rows["whole"], rows["tiles"]
    if args.check and (tiled["small_recall"] < max(2 * whole["small_recall"], 0.3) or tiled["doubles"] > MOST_DOUBLES):
        sys.exit("tiles: too few small objects, or too many doubles")


if __name__ == "__main__":
    main()
