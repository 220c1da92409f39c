"""Clicks and videos on a seeded miniature with a tracker: as the program answers them."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import sam3_edge

GOLDENS = Path(__file__).parents[2] / "sam3-model/tests/goldens/tracker"
POINT = (120.016, 92.676)


@pytest.fixture(scope="module")
def clicking():
    return sam3_edge.Model(GOLDENS / "mini.pt", device="cpu", compute="f32")


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A folder with 20 frames of 160 x 120 pixels, which move over the picture."""
    folder = tmp_path_factory.mktemp("frames")
    picture = Image.open(GOLDENS / "picture.png").convert("RGB").resize((240, 180))
    for index in range(20):
        picture.crop((2 * index, index, 160 + 2 * index, 120 + index)).save(folder / f"{index:05}.png")
    return folder


def run(program, *arguments):
    command = [program, *arguments, "--checkpoint-path", GOLDENS / "mini.pt", "--compute", "f32", "--device", "cpu"]
    output = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE).stdout
    return [json.loads(line) for line in output.splitlines()]


def test_a_click_is_the_programs(clicking, program, tmp_path):
    picture = GOLDENS / "picture.png"
    [record] = run(program, "click", "--image", picture, "--point", "60,50", "--output", tmp_path, "--json", "--quiet")
    found = clicking.click(picture, [(60, 50)])
    [said] = record["objects"][0]["instances"] if "instances" in record["objects"][0] else record["objects"][0]["masks"]
    assert found.ious[np.argmax(found.ious)] == np.float32(said.get("iou", said.get("score")))
    assert np.array_equal(found.mask, coco.decode(said["segmentation"]).astype(bool))
    encoded = clicking.encode(picture)
    again = clicking.click(encoded, [(60, 50), (20, 20)], labels=[1, 0], logits=found.logits)
    assert again.mask.shape == found.mask.shape and len(again) == 1
    assert len(clicking.click(encoded, [(60, 50)], multimask=True)) == 3
    assert clicking.click(encoded, box=(20, 20, 90, 80)).mask.any()
    with pytest.raises(sam3_edge.PromptError, match="nothing is clicked"):
        clicking.click(encoded)
    with pytest.raises(sam3_edge.PromptError):
        clicking.click(encoded, [(60, 50)], logits=np.zeros((3, 3), np.float32))


def test_a_video_is_the_programs(clicking, program, frames, tmp_path):
    point = ",".join(map(str, POINT))
    lines = run(program, "track", "--source", frames, "--point", point, "--output", tmp_path, "--json", "--quiet")
    paths = sorted(frames.iterdir())
    video = clicking.video(frames=len(paths))
    video.look(0, paths[0])
    identity, mask = video.click([POINT])
    assert mask.shape == (120, 160) and video.objects == [identity]
    found = [frame for path in paths for frame in video.push(path)] + video.finish()
    assert [frame.frame for frame in found] == [line["frame"] for line in lines] == list(range(20))
    for frame, line in zip(found, lines):
        assert frame.ids == [item["id"] for item in line["objects"]]
        for mask, item in zip(frame.masks, line["objects"]):
            assert np.array_equal(mask, coco.decode(item["segmentation"]).astype(bool)), frame
    with pytest.raises(RuntimeError, match="finished"):
        video.push(paths[0])
    other = clicking.video()
    other.look(0, paths[0])
    first, _ = other.click([POINT])
    other.push(paths[0])
    assert other.remove(first) and other.objects == [] and not other.remove(first)
    with pytest.raises(sam3_edge.PromptError):
        other.click()
