"""Has the formats' own tools read what `sam3 track --format` writes, of a miniature and the video beside it.

    cargo build --release && python tools/interop/track_formats.py --binary target/release/sam3

Two objects are shown on a frame in the middle and followed both ways, every third frame. TrackEval then scores each
format against truth that is made here of `track.jsonl`, so that every frame, id, class and mask has to be right for a
HOTA of 1: MOTChallenge's boxes, MOTSChallenge's masks, YouTube-VIS and DAVIS. That this says something is shown by
truth that is moved by some pixels: its HOTA is below 1. pycocotools' `COCO` loads YouTube-VIS's file, and Pillow
DAVIS's, each with all pixels.

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
import trackeval
from PIL import Image
from pycocotools import mask as rles
from pycocotools.coco import COCO

GOLDENS = Path(__file__).resolve().parents[2] / "crates/sam3-model/tests/goldens/tracker"
FRAMES = 24
CLASS = 2  # the pedestrians, whom TrackEval scores


def decoded(found):
    return rles.decode(found["segmentation"]).astype(bool)


def apart(objects):
    """Masks by id, of which each pixel is the best one's."""
    masks, taken = {}, False
    for found in sorted(objects, key=lambda found: -found["score"]):
        masks[found["id"] + 1] = decoded(found) & ~np.asarray(taken)
        taken = taken | decoded(found)
    return {own: mask for own, mask in masks.items() if mask.any()}


def encoded(mask):
    return {"size": list(mask.shape), "counts": rles.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()}


def runs(mask):
    """As YouTube-VIS has truth: the lengths of runs down the columns, the first one outside."""
    pixels = np.concatenate([[0], mask.ravel(order="F"), [2]])
    edges = np.flatnonzero(np.diff(pixels))
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate([[0], edges])).tolist()}


def hota(dataset):
    """The HOTA of the only tracker and sequence of a dataset."""
    tracker, sequence, name = dataset.tracker_list[0], dataset.seq_list[0], dataset.class_list[0]
    raw = dataset.get_raw_seq_data(tracker, sequence)
    data = dataset.get_preprocessed_seq_data(raw, name)
    if data["num_tracker_dets"] == 0:
        raise SystemExit(f"{dataset.get_name()} found nothing")
    return float(trackeval.metrics.HOTA().eval_sequence(data)["HOTA"].mean())


def quiet(make):
    with contextlib.redirect_stdout(io.StringIO()):
        return make()


def challenge(kind, folder, rows, truth):
    """HOTA of a text of rows against truth in the same layout."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("truth/video/gt", "trackers/sam3/data"):
        (folder / name).mkdir(parents=True)
    (folder / "truth/video/gt/gt.txt").write_text("".join(truth))
    (folder / "trackers/sam3/data/video.txt").write_text(rows)
    config = {
        "GT_FOLDER": str(folder / "truth"),
        "TRACKERS_FOLDER": str(folder / "trackers"),
        "SKIP_SPLIT_FOL": True,
        "SEQ_INFO": {"video": FRAMES},
        "PRINT_CONFIG": False,
    }
    return quiet(lambda: hota(kind(config)))


def youtube(folder, file, truth):
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("truthyoutube_vis_val", "trackersyoutube_vis_val/sam3/data"):
        (folder / name).mkdir(parents=True)
    (folder / "truthyoutube_vis_val/truth.json").write_text(json.dumps(truth))
    results = json.loads(file.read_text())["annotations"]
    (folder / "trackersyoutube_vis_val/sam3/data/results.json").write_text(json.dumps(results))
    config = {
        "GT_FOLDER": str(folder / "truth"),
        "TRACKERS_FOLDER": str(folder / "trackers"),
        "SPLIT_TO_EVAL": "val",
        "PRINT_CONFIG": False,
    }
    return quiet(lambda: hota(trackeval.datasets.YouTubeVIS(config)))


def davis(folder, pictures, truth):
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "truth/video").mkdir(parents=True)
    for name, indices in truth.items():
        Image.fromarray(indices).save(folder / "truth/video" / name)
    shutil.copytree(pictures, folder / "trackers/sam3/data/video")
    config = {
        "GT_FOLDER": str(folder / "truth"),
        "TRACKERS_FOLDER": str(folder / "trackers"),
        "PRINT_CONFIG": False,
    }
    return quiet(lambda: hota(trackeval.datasets.DAVIS(config)))


def check(what, holds):
    if not holds:
        raise SystemExit(f"differs: {what}")


def score(name, right, moved):
    print(f"{name}: HOTA {right:.6f}; against a truth that is moved {moved:.3f}")
    check(f"{name}: HOTA {right}", abs(right - 1) < 1e-6)
    check(f"{name}: a truth that is moved makes no difference", moved < 0.999)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, required=True)
    binary = parser.parse_args().binary.resolve()
    with tempfile.TemporaryDirectory() as folder:
        compare(binary, Path(folder))


def compare(binary, folder):
    out = folder / "out"
    flags = ["--point", "120.016,92.676@12", "--object", "--box", "90,60,150,110@12", "--direction", "both"]
    flags += ["--every", "3", "--compute", "f32", "--memory-dtype", "f32", "--format", "mot,mots,ytvis,davis"]
    files = ["--source", GOLDENS / "video", "--checkpoint-path", GOLDENS / "mini.pt", "--output", out]
    subprocess.run([binary, "track", "--quiet", *flags, *files], check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (out / "track.jsonl").read_text().splitlines()]
    lines = {line["frame"]: line["objects"] for line in sorted(lines, key=lambda line: line["frame"])}
    check("frames", list(lines) == list(range(0, FRAMES, 3)))
    check("objects", {found["id"] for objects in lines.values() for found in objects} == {0, 1})

    # Boxes. A truth's last columns say that it counts, its class, and how much of it is seen.
    def boxes(by):
        for frame, objects in lines.items():
            for found in objects:
                left, top, right, bottom = found["box"]
                left += by
                yield f"{frame + 1},{found['id'] + 1},{left + 1},{top + 1},{right - left + 1 + by},{bottom - top + 1},1,1,1\n"

    rows = (out / "mot.txt").read_text()
    kind = trackeval.datasets.MotChallenge2DBox
    found = [challenge(kind, folder / "mot", rows, boxes(by)) for by in (0, 30)]
    score("MOTChallenge", *found)

    # Masks. What was clicked is of class 1, and TrackEval scores class 2 alone.
    def masks(by):
        for frame, objects in lines.items():
            for own, mask in apart(objects).items():
                rle = encoded(np.roll(mask, by, axis=1))
                yield f"{frame + 1} {own} {CLASS} {mask.shape[0]} {mask.shape[1]} {rle['counts']}\n"

    rows = [row.split(" ") for row in (out / "mots.txt").read_text().splitlines()]
    check("classes", {row[2] for row in rows} == {"1"})
    rows = "".join(" ".join([*row[:2], str(CLASS), *row[3:]]) + "\n" for row in rows)
    kind = trackeval.datasets.MOTSChallenge
    found = [challenge(kind, folder / "mots", rows, masks(by)) for by in (0, 30)]
    score("MOTSChallenge", *found)

    # YouTube-VIS
    coco = quiet(lambda: COCO(out / "ytvis.json"))
    video = coco.dataset["videos"][0]
    names = [f"video/{frame:02}.png" for frame in lines]
    check("names of frames", video["file_names"] == names and video["length"] == len(names))
    check("categories", [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["object"])
    truth = {key: coco.dataset[key] for key in ("videos", "categories")}

    def tracks(by):
        for own in (0, 1):
            shown = [next((found for found in objects if found["id"] == own), None) for objects in lines.values()]
            shown = [np.roll(decoded(found), by, axis=1) if found else None for found in shown]
            segmentations = [None if mask is None else runs(mask) for mask in shown]
            areas = [None if mask is None else int(mask.sum()) for mask in shown]
            about = {"id": own + 1, "video_id": 1, "category_id": 1, "iscrowd": 0, "height": 120, "width": 160}
            yield about | {"segmentations": segmentations, "areas": areas}

    for track, expected in zip(coco.loadAnns(coco.getAnnIds()), tracks(0), strict=True):
        for rle, run in zip(track["segmentations"], expected["segmentations"], strict=True):
            check("masks", rle == run or rle == encoded(rles.decode(rles.frPyObjects(run, 120, 160))))
        check("areas", track["areas"] == expected["areas"])
        shapes = [None if rle is None else list(rles.toBbox(rle)) for rle in track["segmentations"]]
        check("boxes", track["bboxes"] == shapes)
    found = [youtube(folder / "ytvis", out / "ytvis.json", truth | {"annotations": list(tracks(by))}) for by in (0, 30)]
    score("YouTube-VIS", *found)

    # DAVIS
    expected = {}
    for frame, objects in lines.items():
        indices = np.zeros((120, 160), np.uint8)
        for own, mask in apart(objects).items():
            indices[mask] = own
        expected[f"{frame:05}.png"] = indices
    check("names of pictures", sorted(path.name for path in (out / "davis").iterdir()) == list(expected))
    for name, indices in expected.items():
        picture = Image.open(out / "davis" / name)
        check(f"{name}: mode {picture.mode}", picture.mode == "P")
        check(f"{name}: palette", picture.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0])
        check(name, np.array_equal(np.asarray(picture), indices))
    moved = {name: np.roll(indices, 30, axis=1) for name, indices in expected.items()}
    found = [davis(folder / "davis", out / "davis", truth) for truth in (expected, moved)]
    score("DAVIS", *found)


if __name__ == "__main__":
    sys.exit(main())
