"""Pictures: the same answers as the program's, however a picture is given."""

import threading
import time

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

import sam3_edge


def are_equal(found, record):
    """That instances are those of the program's JSON, bit for bit."""
    instances = [instance for prompt in record["prompts"] for instance in prompt["instances"]]
    assert len(found) == len(instances) > 0
    assert found.scores.tolist() == [np.float32(instance["score"]) for instance in instances]
    assert np.array_equal(found.boxes, np.array([instance["box"] for instance in instances], dtype=np.float32))
    assert found.rle() == [instance["segmentation"] for instance in instances]
    assert found.areas == [instance["area"] for instance in instances]
    assert found.labels == [prompt["prompt"] for prompt in record["prompts"] for _ in prompt["instances"]]
    assert np.array_equal(found.presence, np.array([prompt["presence"] for prompt in record["prompts"]], np.float32))


def test_the_program_says_the_same(model, scene, segment):
    are_equal(model.segment(scene, "boat"), segment("--prompt", "boat"))
    are_equal(model.segment(scene, ["boat", "red circle"]), segment("--prompt", "boat,red circle"))
    box = (308, 49, 453, 199)
    are_equal(model.segment(scene, boxes=[box]), segment("--box", "308,49,453,199"))
    both = model.segment(scene, "boat", boxes=[box, (10, 20, 80, 90)], labels=[1, 0], threshold=0.25)
    flags = ["--prompt", "boat", "--box", "308,49,453,199", "--box", "10,20,80,90,0", "--threshold", "0.25"]
    are_equal(both, segment(*flags))
    are_equal(model.segment(scene, "boat", tiles=(2, 2)), segment("--prompt", "boat", "--tiles", "2x2"))


def test_a_picture_is_the_same_however_it_is_given(model, scene):
    expected = model.segment(scene, "boat")
    picture = Image.open(scene)
    array = np.asarray(picture.convert("RGB"))
    bgr = array[:, :, ::-1].copy()
    for given in [str(scene), scene.read_bytes(), picture, array, bgr[:, :, ::-1], np.asfortranarray(array)]:
        found = model.segment(given, "boat")
        assert found.rle() == expected.rle()
        assert np.array_equal(found.scores, expected.scores)
    encoded = model.encode(array)
    assert (encoded.width, encoded.height) == picture.size and encoded.bytes > 0
    assert model.segment(encoded, "boat").rle() == expected.rle()


def test_masks_are_dense_on_demand(model, scene):
    found = model.segment(scene, "boat")
    masks = found.masks
    assert masks.dtype == bool and masks.shape == (3, 672, 672)
    assert masks.sum((1, 2)).tolist() == found.areas
    for index, rle in enumerate(found.rle()):
        assert np.array_equal(masks[index], coco.decode(rle).astype(bool))
        assert np.array_equal(found.mask(index - 3), masks[index])
    assert all(len(outline) % 2 == 0 and len(outline) >= 6 for outlines in found.polygons() for outline in outlines)
    with pytest.raises(IndexError):
        found.mask(3)
    nothing = model.segment(scene, "boat", threshold=1.0)
    assert len(nothing) == 0 and nothing.masks.shape == (0, 672, 672) and nothing.boxes.shape == (0, 4)


def test_what_a_model_cannot_do_is_told(model, scene):
    with pytest.raises(sam3_edge.CheckpointError, match="no tracker"):
        model.click(scene, [(380, 120)])
    with pytest.raises(sam3_edge.CheckpointError, match="no tracker"):
        model.video("boat")


def test_errors_have_classes(model, scene, tmp_path):
    with pytest.raises(FileNotFoundError):
        model.segment(tmp_path / "none.png", "boat")
    with pytest.raises(FileNotFoundError):
        sam3_edge.Model(tmp_path / "none.pth")
    with pytest.raises(sam3_edge.ImageError):
        model.segment(b"no picture", "boat")
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"PK no zip")
    with pytest.raises(sam3_edge.CheckpointError):
        sam3_edge.Model(broken)
    for bad in [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 4), np.uint8), np.zeros((5, 5, 3), np.float32), 7, None]:
        with pytest.raises(TypeError, match="uint8"):
            model.segment(bad, "boat")
    for arguments in [
        dict(),
        dict(prompts=" "),
        dict(prompts=[]),
        dict(prompts="boat", threshold=2.0),
        dict(prompts="boat", tiles="many"),
        dict(prompts="boat", tiles="2x2", overlap=0.9),
        dict(boxes=[(1, 2, 3, 4)], labels=[2]),
        dict(boxes=[(1, 2, 3, 4)], labels=[1, 1]),
        dict(boxes=[(100, 2, 3, 4)]),
    ]:
        with pytest.raises(sam3_edge.PromptError):
            model.segment(scene, **arguments)
    with pytest.raises(ValueError, match="cuda:N"):
        sam3_edge.Model(tmp_path, device="gpu")
    with pytest.raises(sam3_edge.DeviceError):
        sam3_edge.Model(tmp_path, device="cuda:0")
    assert issubclass(sam3_edge.PromptError, sam3_edge.Sam3Error)


def test_a_call_costs_little_beside_the_model(model, scene):
    """What Python adds to a call, by a prompt on a picture that is encoded already, with a threshold nothing passes."""
    encoded = model.encode(scene)
    with pytest.raises(sam3_edge.PromptError):
        model.segment(encoded, " ")
    calls = []
    for _ in range(200):
        start = time.perf_counter()
        with pytest.raises(sam3_edge.PromptError):
            # All of a call but the model: the arguments, a thread, the GIL, and an exception.
            model.segment(encoded, " ")
        calls.append(time.perf_counter() - start)
    # Those that no other program of the machine kept waiting.
    quick = sorted(calls)[20]
    print(f"{1e3 * quick:.3f} ms a call")
    assert quick < 0.2e-3


def test_other_threads_run_meanwhile_and_share_the_model(model, scene):
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0.001)

    counter = threading.Thread(target=count)
    counter.start()
    expected = model.segment(scene, "boat").rle()
    found = []
    threads = [threading.Thread(target=lambda: found.append(model.segment(scene, "boat").rle())) for _ in range(4)]
    before = counted[0]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    during = counted[0] - before
    stop.set()
    counter.join()
    assert found == [expected] * 4
    assert during > 3, "the GIL was held"
