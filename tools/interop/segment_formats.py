"""Has the formats' own tools read what `sam3 segment --format` writes, of drawn scenes.

    cargo build --release && python tools/interop/segment_formats.py --binary target/release/sam3

Judge is each picture's JSON, whose masks pycocotools decodes. pycocotools' `COCO` loads coco.json, supervision labelme's,
YOLO's and COCO's files, and Pillow VOC's masks. Masks of polygons are simplified: those of each object have to be the
JSON's within an IoU, and a mask moved by three pixels has to be below it. What labelme saved is not replaced, and two
pictures of one name in two folders stay apart.

Exits with 1 and names what differs.
"""

import argparse
import contextlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import supervision
from PIL import Image
from pycocotools import mask as rles
from pycocotools.coco import COCO

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "demo_model"))
import scenes  # noqa: E402

PROMPTS = ["boat", "circle", "star"]
# Corners may lie 0.75 px beside the mask's; of an object of several parts, OpenCV draws the lines that join them, too.
LEAST_IOU = 0.8


def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


def closed(mask):
    """The mask with the pixels on the right and below its edge, which OpenCV and what does as it fill, too."""
    padded = np.pad(mask, ((1, 0), (1, 0)))
    return padded[1:, 1:] | padded[:-1, 1:] | padded[1:, :-1] | padded[:-1, :-1]


class Complaints(list):
    def masks(self, tool, picture, found, expected):
        """`found` and `expected` are lists of class and mask, in one order."""
        if [name for name, _ in found] != [name for name, _ in expected]:
            return self.append(f"{tool}: {picture}: classes {[n for n, _ in found]}, not {[n for n, _ in expected]}")
        for (name, mask), (_, right) in zip(found, expected):
            if iou(mask, right) < LEAST_IOU:
                self.append(f"{tool}: {picture}: a {name} of {right.sum()} px and an IoU of {iou(mask, right):.3f}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--binary", type=Path, required=True)
    binary = arguments.parse_args().binary
    wrong = Complaints()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        pictures, out = scratch / "pictures", scratch / "out"
        rng = np.random.default_rng(21)
        for name in ["a.one", "b", "c", "d", "sub/b"]:
            picture, _ = scenes.draw(rng, 2)
            (pictures / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(pictures / f"{name}.png")
        subprocess.run([binary, "demo", "--quiet", "--output", scratch / "demo"], check=True, capture_output=True)
        command = [binary, "segment", "--quiet", "--image", pictures, "--recursive", "--prompt", *PROMPTS]
        command += ["--checkpoint-path", scratch / "demo/desktop/model.safetensors", "--output", out]
        command += ["--threshold", "0.3", "--format", "coco,labelme,yolo-seg,voc-mask"]
        subprocess.run(command, check=True, capture_output=True)

        expected, scores = {}, {}
        for path in sorted(pictures.rglob("*.png")):
            name = str(path.relative_to(pictures))
            results = json.loads((out / name).with_suffix(".json").read_text())
            objects = [(p["prompt"], i) for p in results["prompts"] for i in p["instances"]]
            expected[name] = [(prompt, rles.decode(found["segmentation"]).astype(bool)) for prompt, found in objects]
            scores[name] = [found["score"] for _, found in objects]
        count = sum(map(len, expected.values()))
        moved = [iou(np.roll(mask, 3, 1), mask) for own in expected.values() for _, mask in own]
        if count < 8 or min(moved) > LEAST_IOU:
            wrong.append(f"{count} objects, and moved ones have an IoU of {min(moved):.3f}: that says nothing")

        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(out / "coco.json"))
        names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
        if list(names.values()) != PROMPTS or {i["file_name"] for i in coco.imgs.values()} != set(expected):
            wrong.append(f"coco.json: {names}, {coco.imgs}")
        for image in coco.imgs.values():
            own = coco.loadAnns(coco.getAnnIds([image["id"]]))
            masks = [(names[one["category_id"]], coco.annToMask(one).astype(bool)) for one in own]
            wrong.masks("pycocotools", image["file_name"], masks, expected[image["file_name"]])
            if [one["area"] for one in own] != [mask.sum() for _, mask in expected[image["file_name"]]]:
                wrong.append(f"coco.json: {image['file_name']}: areas")

        for path in expected:
            with Image.open((out / "voc-mask/SegmentationObject" / path).with_suffix(".png")) as png:
                objects, mode = np.asarray(png), png.mode
            classes = np.asarray(Image.open((out / "voc-mask/SegmentationClass" / path).with_suffix(".png")))
            taken = np.zeros(objects.shape, bool)
            for place in np.argsort(scores[path], kind="stable")[::-1]:
                prompt, mask = expected[path][place]
                if not (objects[mask & ~taken] == place + 1).all() or not (
                    classes[mask & ~taken] == PROMPTS.index(prompt) + 1
                ).all():
                    wrong.append(f"voc-mask: {path}: object {place + 1}")
                taken |= mask
            if mode != "P" or objects[~taken].any():
                wrong.append(f"voc-mask: {path}: mode {mode}, or objects where there are none")

        # supervision reads folders that are flat.
        flat, labels = scratch / "flat", out / "yolo-seg/labels"
        flat.mkdir()
        own = [path for path in expected if "/" not in path]
        for path in own:
            shutil.copy(pictures / path, flat)
        read = supervision.DetectionDataset
        for tool, dataset in {
            "yolo": read.from_yolo(str(flat), str(labels), str(out / "yolo-seg/data.yaml"), force_masks=True),
            "labelme": read.from_labelme(str(flat), str(out / "labelme"), force_masks=True),
        }.items():
            for path, _, found in dataset:
                masks = [] if found.mask is None else found.mask
                found = [(dataset.classes[c], np.asarray(m, bool)) for c, m in zip(found.class_id, masks)]
                # labelme has an entry for each part of an object.
                right = [(name, closed(mask)) for name, mask in expected[Path(path).name]]
                if tool == "labelme" and len(found) > len(right):
                    continue
                wrong.masks(f"{tool} by supervision", path, found, right)
            if sorted(Path(path).name for path, _, _ in dataset) != sorted(own):
                wrong.append(f"{tool}: supervision reads other pictures")

        if subprocess.run(command, capture_output=True).returncode != 0:
            wrong.append("the formats of an earlier run are in the way")
        label = out / "labelme/b.json"
        saved = json.loads(label.read_text())
        stamp = saved.pop("generator")
        label.write_text(json.dumps(saved | {"generator": stamp}))
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 2 or "labelme/b.json" not in done.stderr or json.loads(label.read_text()) != saved | {
            "generator": stamp
        }:
            wrong.append(f"labelme's own file is replaced: {done.returncode} {done.stderr}")
        print(f"{count} objects in {len(expected)} pictures; moved by 3 px, IoU at least {min(moved):.3f}")
    for complaint in wrong:
        print(complaint)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
