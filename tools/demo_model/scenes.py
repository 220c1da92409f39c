"""Drawn scenes with exact masks, for training and scoring the demo's miniature SAM 3.

    python tools/demo_model/scenes.py --seed 672 --scale 4 --output scene.png

A scene is a 168 x 168 picture of one to six circles, squares, triangles, stars and boats in five colours on a noisy
gradient. Each object's mask holds exactly its visible pixels. The same seed draws the same scene, here and in every
later version: the 512 held-out scenes of `evaluate.py` are seed 99. A scale of 4 draws the same scene at 672 x 672.
"""

import argparse
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SIZE = 168
DEMO_SEED = 672
SHAPES = ["circle", "square", "triangle", "star", "boat"]
COLOURS = dict(red=(214, 48, 49), green=(39, 174, 96), blue=(41, 98, 220), yellow=(241, 196, 15), purple=(142, 68, 173))
COLOUR_NAMES = list(COLOURS)
MAST = (90, 60, 40)
MIN_VISIBLE_PIXELS = 40

# CLIP's token of each word the scenes use; every one of them is a single token.
WORDS = dict(
    circle=7117, square=3999, triangle=14615, star=1565, boat=4440,
    red=736, green=1901, blue=1746, yellow=4481, purple=5496, shape=6448, visual=7195,
)  # fmt: skip
START, END, CONTEXT = 49406, 49407, 32

NOISE = np.random.default_rng(5).normal(0, 1, (48, SIZE, SIZE, 3)).astype(np.float32)


@dataclass
class Background:
    """A gradient from `top` to `bottom` (RGB), from left to right where `across`, with `strength` times a frame of
    NOISE."""

    top: np.ndarray
    bottom: np.ndarray
    across: bool
    frame: int
    strength: float
    turned: bool


@dataclass
class Placed:
    """One object to draw: `shade` is its RGB, `box` (x0, y0, x1, y1) lies on the canvas of twice the picture's size."""

    kind: str
    colour: str
    shade: tuple
    box: tuple


@dataclass
class Object:
    """One drawn object: its place in the order of drawing, from 1; `mask` bool [side, side], `box` (x0, y0, x1, y1) as
    fractions of the picture."""

    number: int
    kind: str
    colour: str
    mask: np.ndarray
    box: tuple

    def box_cxcywh(self):
        x0, y0, x1, y1 = self.box
        return [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]


def token_ids(words):
    """32 CLIP token ids of a few of `WORDS`, padded with 0."""
    ids = [START, *(WORDS[word] for word in words), END]
    return ids + [0] * (CONTEXT - len(ids))


def background(rng):
    """A `Background` from a `numpy` generator."""
    top, bottom = rng.integers(120, 245, 3), rng.integers(120, 245, 3)
    across = rng.random() < 0.5
    frame, strength = rng.integers(len(NOISE)), rng.uniform(0, 10)
    return Background(top, bottom, across, frame, strength, turned=rng.random() >= 0.5)


def paint_background(ground, scale):
    """The picture without objects, with grains `scale` pixels wide: uint8 [side, side, 3]."""
    side = SIZE * scale
    t = np.linspace(0, 1, side, dtype=np.float32)[:, None, None]
    picture = (ground.top * (1 - t) + ground.bottom * t).astype(np.float32) * np.ones((side, side, 1), np.float32)
    if ground.across:
        picture = picture.transpose(1, 0, 2)
    noise = NOISE[ground.frame] * ground.strength
    noise = noise[::-1, ::-1] if ground.turned else noise
    picture = picture + noise.repeat(scale, 0).repeat(scale, 1)
    return np.clip(picture, 0, 255).astype(np.uint8)


def overlap(a, b):
    """Area shared by two boxes."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))


def place(rng, width):
    """The `Placed` objects of a scene on a `width` x `width` canvas; boxes overlap by less than 15 %."""
    found, boxes = [], []
    count = rng.integers(1, 7)
    kinds = rng.choice(len(SHAPES), size=rng.integers(1, 4), replace=False)
    for _ in range(count):
        for _attempt in range(10):
            w = rng.uniform(0.14, 0.38) * width
            h = w * rng.uniform(0.8, 1.25)
            x, y = rng.uniform(0, width - w), rng.uniform(0, width - h)
            box = (x, y, x + w, y + h)
            if all(overlap(box, other) < 0.15 * w * h for other in boxes):
                break
        else:
            continue
        boxes.append(box)
        kind = SHAPES[kinds[rng.integers(len(kinds))]]
        found.append((kind, COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))], box))
    return [Placed(kind, colour, shade(rng, colour), box) for kind, colour, box in found]


def shade(rng, colour):
    """A shade of a colour by its name, RGB."""
    return tuple(int(np.clip(value + rng.normal(0, 14), 0, 255)) for value in COLOURS[colour])


def outline(kind, box, colour):
    """The polygons of a shape, each with its colour."""
    x0, y0, x1, y1 = box
    w, h = x1 - x0, y1 - y0
    if kind == "square":
        return [([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)]
    if kind == "triangle":
        return [([((x0 + x1) / 2, y0), (x1, y1), (x0, y1)], colour)]
    if kind == "star":
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        points = []
        for j in range(10):
            rx, ry = (w / 2, h / 2) if j % 2 == 0 else (w / 5, h / 5)
            points.append((cx + rx * math.sin(j * math.pi / 5), cy - ry * math.cos(j * math.pi / 5)))
        return [(points, colour)]

    def at(*points):
        return [(x0 + fx * w, y0 + fy * h) for fx, fy in points]

    hull = [(x0, y0 + 0.62 * h), (x1, y0 + 0.62 * h), (x0 + 0.8 * w, y1), (x0 + 0.2 * w, y1)]
    mast = at((0.47, 0), (0.53, 0), (0.53, 0.65), (0.47, 0.65))
    sail = at((0.55, 0.05), (0.95, 0.55), (0.55, 0.55))
    return [(hull, colour), (mast, MAST), (sail, colour)]


def draw(rng, scale=1):
    """A scene from a `numpy` generator: the picture, uint8 [side, side, 3], side = SIZE * scale, and its visible
    `Object`s."""
    return paint(background(rng), place(rng, 2 * SIZE * scale), scale)


def paint(ground, placed, scale=1):
    """What `draw` returns, of a scene that is decided.

    Drawn at twice the size: the picture is then shrunk bilinearly, the map of object numbers by nearest neighbour.
    """
    side = SIZE * scale
    width = 2 * side
    image = Image.fromarray(paint_background(ground, scale)).resize((width, width), Image.NEAREST)
    numbers = Image.new("L", (width, width), 0)
    on_image, on_numbers = ImageDraw.Draw(image), ImageDraw.Draw(numbers)
    for number, o in enumerate(placed, start=1):
        if o.kind == "circle":
            on_image.ellipse(list(o.box), fill=o.shade)
            on_numbers.ellipse(list(o.box), fill=number)
            continue
        for polygon, fill in outline(o.kind, o.box, o.shade):
            on_image.polygon(polygon, fill=fill)
            on_numbers.polygon(polygon, fill=number)
    picture = np.asarray(image.resize((side, side), Image.BILINEAR))
    numbers = np.asarray(numbers.resize((side, side), Image.NEAREST))
    objects = []
    for number, o in enumerate(placed, start=1):
        mask = numbers == number
        if mask.sum() > MIN_VISIBLE_PIXELS * scale**2:
            ys, xs = np.where(mask)
            box = (xs.min() / side, ys.min() / side, (xs.max() + 1) / side, (ys.max() + 1) / side)
            objects.append(Object(number, o.kind, o.colour, mask, box))
    return picture, objects


@dataclass
class Prompt:
    """Words, an exemplar box (or None), and the objects of the scene that it asks for."""

    words: list
    exemplar: list | None
    targets: list


def ask(rng, objects):
    """A prompt for a scene: an exemplar box, a noun, a colour and a noun, or a colour and "shape"."""
    if objects and rng.random() < 0.2:
        example = objects[rng.integers(len(objects))]
        targets = [o for o in objects if o.kind == example.kind]
        return Prompt(["visual"], example.box_cxcywh(), targets)
    if rng.random() < 0.75 and objects:
        chosen = objects[rng.integers(len(objects))]
        kind, colour = chosen.kind, chosen.colour
    else:
        kind, colour = SHAPES[rng.integers(len(SHAPES))], COLOUR_NAMES[rng.integers(len(COLOUR_NAMES))]
    form = rng.random()
    if form < 0.5:
        return Prompt([kind], None, [o for o in objects if o.kind == kind])
    if form < 0.85:
        return Prompt([colour, kind], None, [o for o in objects if (o.kind, o.colour) == (kind, colour)])
    return Prompt([colour, "shape"], None, [o for o in objects if o.colour == colour])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=DEMO_SEED)
    parser.add_argument("--scale", type=int, default=1)
    parser.add_argument("--output", default="scene.png")
    args = parser.parse_args()
    picture, objects = draw(np.random.default_rng(args.seed), args.scale)
    Image.fromarray(picture).save(args.output)
    for o in objects:
        print(f"{o.colour:7} {o.kind:9} box {[round(v * SIZE * args.scale) for v in o.box]}  {int(o.mask.sum())} px")


if __name__ == "__main__":
    main()
