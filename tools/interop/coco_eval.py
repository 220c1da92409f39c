"""Has pycocotools score the results of `sam3 eval --coco`, and numpy and scipy count SA-Co's cgF1, beside its own scores.

    cargo build --release && python tools/interop/coco_eval.py --binary target/release/sam3

The pictures are drawn scenes, exported as COCO: masks as polygons, as compressed and as plain run lengths, some of them
moved by a few pixels, crowds, and classes that a picture lacks. Every one of the twelve numbers of boxes and of masks has
to be pycocotools' within 1e-6. A second run is ended in its midst and goes on; a third draws a part of the pictures,
whose labels lie beside the results. Of two packages the differences are those of their scores.

Exits with 1 and names what differs.
"""

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rles
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy.optimize import linear_sum_assignment

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "demo_model"))
import scenes  # noqa: E402

NAMES = "AP AP50 AP75 AP_small AP_medium AP_large AR1 AR10 AR100 AR_small AR_medium AR_large".split()
TOLERANCE = 1e-6


def outline(mask):
    """A polygon around a mask that is not exactly it: its rows' ends, down on the right and up on the left."""
    rows = np.flatnonzero(mask.any(1))
    right = [(int(np.flatnonzero(mask[y])[-1]) + 1, int(y) + 0.37) for y in rows]
    left = [(int(np.flatnonzero(mask[y])[0]), int(y) + 0.61) for y in rows]
    return [float(value) for corner in right + left[::-1] for value in corner]


def segmentation(mask, kind):
    if kind == 0 and mask.any(1).sum() > 2:
        return [outline(mask)]
    found = rles.encode(np.asfortranarray(mask, np.uint8))
    if kind == 1:
        return {"size": found["size"], "counts": found["counts"].decode()}
    pixels = np.concatenate([[0], mask.ravel(order="F"), [2]])
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate([[0], np.flatnonzero(np.diff(pixels))])).tolist()}


def export(folder, count, scale=1):
    """Writes `count` scenes and their labels; returns the labels' path."""
    rng = np.random.default_rng(11)
    images, annotations = [], []
    for image in range(count):
        # Large pictures have large objects.
        own = scale + 2 * (image % 5 == 4)
        picture, objects = scenes.draw(rng, own)
        name = f"{image:03}.png"
        Image.fromarray(picture).save(folder / name)
        images.append({"id": 3 * image + 2, "file_name": name, "width": len(picture), "height": len(picture)})
        for found in objects:
            mask = np.roll(found.mask, rng.integers(-3, 4, 2), (0, 1)) if rng.random() < 0.4 else found.mask
            ys, xs = np.nonzero(mask)
            box = [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": images[-1]["id"],
                    "category_id": 10 * scenes.SHAPES.index(found.kind) + 1,
                    "bbox": [value + round(rng.normal(), 2) * 0.5 for value in box],
                    "area": float(mask.sum()),
                    "segmentation": segmentation(mask, int(rng.integers(3))),
                    "iscrowd": int(rng.random() < 0.06),
                }
            )
    rng.shuffle(annotations)
    for annotation in annotations:
        annotation["bbox"][2:] = [max(value, 1.0) for value in annotation["bbox"][2:]]
        if annotation["iscrowd"] and isinstance(annotation["segmentation"], list):
            annotation["iscrowd"] = 0  # COCO has crowds as run lengths
    rng.shuffle(images)
    categories = [{"id": 10 * place + 1, "name": name} for place, name in enumerate(scenes.SHAPES)]
    labels = folder / "instances.json"
    labels.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return labels


def cgf1(truth, found, kind):
    """SA-Co's numbers as its paper defines them, each picture and class a phrase."""
    thresholds = np.linspace(0.5, 0.95, 10)
    right, detected, objects = np.zeros(10), 0, 0
    counts = dict(tp=0, fp=0, tn=0, fn=0)
    for image in truth.getImgIds():
        for category in truth.getCatIds():
            labels = truth.loadAnns(truth.getAnnIds([image], [category]))
            real = [label for label in labels if not label["iscrowd"]]
            own = [one for one in found if (one["image_id"], one["category_id"]) == (image, category)]
            own = [one for one in own if one["score"] >= 0.5]
            counts[("tp" if real else "fp") if own else ("fn" if real else "tn")] += 1
            if real:
                detected, objects = detected + len(own), objects + len(real)
            if real and own:
                shapes = [label["bbox"] if kind == "bbox" else truth.annToRLE(label) for label in real]
                ious = rles.iou([one["bbox" if kind == "bbox" else "segmentation"] for one in own], shapes, [0] * len(real))
                pairs = ious[linear_sum_assignment(-ious)]
                right += [(pairs >= threshold).sum() for threshold in thresholds]
    precision, recall = right / (detected + 1e-4), right / (objects + 1e-4)
    f1 = (2 * precision * recall / (precision + recall + 1e-4)).mean()
    tp, fp, tn, fn = (counts[name] for name in ("tp", "fp", "tn", "fn"))
    mcc = (tp * tn - fp * fn) / (float((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5 + 1e-6)
    return {"pmF1": f1, "IL_MCC": mcc, "cgF1": f1 * mcc}


def judged(labels, folder):
    """What pycocotools and the above say of the results in a folder."""
    scores = {}
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(labels))
        for kind in ("bbox", "segm"):
            results = folder / f"{kind}.json"
            run = COCOeval(truth, truth.loadRes(str(results)), kind)
            run.evaluate(), run.accumulate(), run.summarize()
            scores[kind] = dict(zip(NAMES, run.stats)) | cgf1(truth, json.loads(results.read_text()), kind)
    return scores


def apart(name, ours, theirs):
    """Says the largest difference of two sets of scores; whether it is too large."""
    differences = {(kind, key): abs(ours[kind][key] - theirs[kind][key]) for kind in theirs for key in theirs[kind]}
    worst = max(differences, key=differences.get)
    print(f"{name}: {len(differences)} numbers, largest difference {differences[worst]:.1e} ({'/'.join(worst)})")
    nothing = [key for key, value in theirs["segm"].items() if value == -1]
    if nothing:
        print(f"  nothing to find: {nothing}")
    return differences[worst] > TOLERANCE


def main():
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--binary", type=Path, required=True)
    arguments.add_argument("--pictures", type=int, default=40)
    binary, count = (value for value in vars(arguments.parse_args()).values())
    wrong = False
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        (scratch / "pictures").mkdir()
        labels = export(scratch / "pictures", count)
        subprocess.run([binary, "demo", "--quiet", "--output", scratch / "demo"], check=True, capture_output=True)
        model = scratch / "demo/desktop/model.safetensors"

        def sam3(output, *flags, check=True):
            command = [binary, "eval", "--json", "--coco", labels, "--coco-images", scratch / "pictures"]
            command += ["--checkpoint-path", model, "--output", scratch / output, *flags]
            done = subprocess.run(command, check=check, capture_output=True, text=True)
            return json.loads(done.stdout)

        whole = sam3("whole")
        wrong |= apart("whole", whole, judged(labels, scratch / "whole"))
        if not 0.1 < whole["segm"]["AP"] < 0.999 or whole["segm"]["cgF1"] <= 0:
            wrong = True
            print(f"the scores say nothing: {whole['segm']}")

        # As a run that was ended leaves it: half of the lines, the last one cut.
        lines = (scratch / "whole/detections.jsonl").read_bytes()
        (scratch / "again").mkdir()
        (scratch / "again/detections.jsonl").write_bytes(lines[: len(lines) // 2])
        again = sam3("again")
        if again["segm"] != whole["segm"] or (scratch / "again/segm.json").read_bytes() != (
            scratch / "whole/segm.json"
        ).read_bytes():
            wrong = True
            print("a run that goes on finds something else")

        part = sam3("part", "--limit", "12", "--seed", "5", "--against", model, "--against-compute", "f32",
                    "--threshold", "0.1", "--max-detections", "7", "--compute", "bf16")  # fmt: skip
        beside = scratch / "part/instances.json"
        wrong |= apart("part", part, judged(beside, scratch / "part"))
        wrong |= apart("part, reference", part["against"], judged(beside, scratch / "part/against"))
        for kind in ("bbox", "segm"):
            for name, found in part["against"]["differences"][kind].items():
                between = part[kind][name] - part["against"][kind][name]
                if abs(found["difference"] - between) > 1e-12:
                    wrong = True
                    print(f"{kind} {name}: a difference of {found['difference']}, and the scores' is {between}")
    sys.exit(int(wrong))


if __name__ == "__main__":
    main()
