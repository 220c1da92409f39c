"""How far each package's clicks are from the full precision's: the click head's error by precision.

    python tools/click_error.py --binary target/release/sam3 --checkpoint sam3.pt --image photo.jpg \
        fp16.pth:f32 fp16.pth:bf16 int8.pth:f32 int8.pth:int8

Clicks the same seeded points and boxes by the checkpoint in f32 and by each package in the precision behind its colon,
on the CPU. Prints, over all masks: the largest and the mean difference of the low-resolution logits, as shares of the
reference's largest and mean magnitude; the mean and the lowest IoU of the masks of both; the largest differences of the
predicted IoUs and object scores.
"""

import argparse
import random
import subprocess
import tempfile
from pathlib import Path

from PIL import Image
from safetensors.torch import load_file


def objects(width, height, count):
    """Flags of as many objects: a point, then two points, then a box, and so on."""
    rng, words = random.Random(5), []
    place = lambda: (rng.uniform(0.1, 0.9) * width, rng.uniform(0.1, 0.9) * height)
    for index in range(count):
        x, y = place()
        words += ["--object"] if index else []
        if index % 3 < 2:
            words += ["--point", f"{x:.1f},{y:.1f}"]
        if index % 3 == 1:
            words += ["--point", "{:.1f},{:.1f},0".format(*place())]
        if index % 3 == 2:
            right, low = min(width, x + 0.3 * width), min(height, y + 0.3 * height)
            words += ["--box", f"{x:.1f},{y:.1f},{right:.1f},{low:.1f}"]
    return words


def clicked(args, checkpoint, compute, words):
    """Raw outputs of three masks of each object."""
    with tempfile.TemporaryDirectory() as folder:
        dump = Path(folder) / "dump.safetensors"
        line = [args.binary, "click", "--image", args.image, "--checkpoint-path", checkpoint, "--compute", compute]
        line += ["--device", "cpu", "--multimask", "--output", folder, "--dump-tensors", dump, "--quiet", *words]
        subprocess.run([str(word) for word in line], check=True, stdout=subprocess.DEVNULL)
        return load_file(dump)


def row(name, found, expected):
    """A row of the table."""
    logits, reference = found["low_res_masks"], expected["low_res_masks"]
    apart = (logits - reference).abs()
    inside, wanted = logits > 0, reference > 0
    shared, either = (inside & wanted).sum(dim=(2, 3)), (inside | wanted).sum(dim=(2, 3))
    ious = (shared / either)[either > 0]
    scores = [(found[key] - expected[key]).abs().max() for key in ("iou_scores", "object_score_logits")]
    largest, mean = apart.max() / reference.abs().max(), apart.mean() / reference.abs().mean()
    return (
        f"| {name} | {largest:.1e}, {mean:.1e} | {ious.mean():.4f}, {ious.min():.4f} | {scores[0]:.1e} | {scores[1]:.1e} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=Path("target/release/sam3"))
    parser.add_argument("--checkpoint", type=Path, required=True, help="the reference, in f32")
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--objects", type=int, default=12)
    parser.add_argument("packages", nargs="+", metavar="PACKAGE:COMPUTE")
    args = parser.parse_args()
    words = objects(*Image.open(args.image).size, args.objects)
    expected = clicked(args, args.checkpoint, "f32", words)
    print("| package, compute | logits | mask IoU | predicted IoU | object score |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for package in args.packages:
        file, compute = package.rsplit(":", 1)
        print(row(f"{Path(file).stem}, {compute}", clicked(args, file, compute, words), expected), flush=True)


if __name__ == "__main__":
    main()
