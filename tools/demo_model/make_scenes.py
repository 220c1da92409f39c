"""Writes the recipes of the 512 held-out scenes that `sam3 eval` draws: crates/sam3-cli/assets/eval/scenes.jsonl.gz.

    python tools/demo_model/make_scenes.py            # --check compares with what is committed (run by CI)

One JSON object a line, in `evaluate.py`'s order:

- `top`, `bottom`, `across`, `noise`: the background's two colours, whether they run left to right, and the noise's strength
- `objects`: kind, RGB shade, and box (x0, y0, x1, y1) on a canvas of twice the picture's size, in the order of drawing
- `text`: the prompt, or null where `example` (x0, y0, x1, y1 in the picture's pixels) is all there is
- `targets`: which objects the prompt asks for, counted from 0; one too hidden to count is never among them

The grain of the noise is not in it: `sam3` draws its own.
"""

import argparse
import gzip
import json
import sys
from pathlib import Path

import numpy as np
import scenes

SEED, COUNT = 99, 512
TARGET = Path(__file__).resolve().parents[2] / "crates/sam3-cli/assets/eval/scenes.jsonl.gz"


def recipe(rng):
    """One scene and its prompt, by the same steps as `scenes.draw` and `scenes.ask`."""
    ground, placed = scenes.background(rng), scenes.place(rng, 2 * scenes.SIZE)
    _, objects = scenes.paint(ground, placed)
    prompt = scenes.ask(rng, objects)
    example = None
    if prompt.exemplar:
        x, y, w, h = (value * scenes.SIZE for value in prompt.exemplar)
        example = [round(float(side)) for side in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]
    return dict(
        top=ground.top.tolist(),
        bottom=ground.bottom.tolist(),
        across=ground.across,
        noise=round(ground.strength, 2),
        objects=[
            dict(kind=o.kind, shade=list(o.shade), box=[round(float(side), 2) for side in o.box]) for o in placed
        ],
        text=None if example else " ".join(prompt.words),
        example=example,
        targets=[o.number - 1 for o in prompt.targets],
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=TARGET)
    parser.add_argument("--check", action="store_true", help="only compare with the file")
    args = parser.parse_args()
    rng = np.random.default_rng(SEED)
    lines = [json.dumps(recipe(rng), separators=(",", ":")) + "\n" for _ in range(COUNT)]
    if args.check:
        same = gzip.decompress(args.output.read_bytes()).decode() == "".join(lines)
        print(f"{args.output.name}: {'as made here' if same else 'differs from what this script makes'}")
        sys.exit(0 if same else 1)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_bytes(gzip.compress("".join(lines).encode(), 9, mtime=0))
    print(f"{args.output.stat().st_size} bytes, {COUNT} scenes")


if __name__ == "__main__":
    main()
