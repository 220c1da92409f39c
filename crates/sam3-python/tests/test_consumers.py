"""What other libraries make of what was found; those that are not installed are left out."""

import numpy as np
import pytest


def test_supervision_draws_and_filters(model, scene):
    supervision = pytest.importorskip("supervision")
    found = model.segment(scene, ["boat", "circle"])
    detections = found.to_supervision()
    assert len(detections) == len(found) > 0
    assert np.array_equal(detections.xyxy, found.boxes)
    assert np.array_equal(detections.mask, found.masks)
    assert detections.data["class_name"].tolist() == found.labels
    boats = detections[detections.class_id == 0]
    assert len(boats) == 3
    drawn = supervision.MaskAnnotator().annotate(np.zeros((672, 672, 3), np.uint8), boats)
    assert (drawn.any(2) == boats.mask.any(0)).mean() > 0.99
    empty = model.segment(scene, "boat", threshold=1.0).to_supervision()
    assert len(empty) == 0


def test_pycocotools_reads_annotations(model, scene):
    from pycocotools.coco import COCO

    found = model.segment(scene, "boat")
    coco = COCO()
    coco.dataset = dict(
        images=[dict(id=7, width=672, height=672)],
        annotations=found.to_coco(image_id=7),
        categories=[dict(id=1, name="boat")],
    )
    coco.createIndex()
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[7]))
    assert [annotation["id"] for annotation in annotations] == [1, 2, 3]
    for annotation, mask in zip(annotations, found.masks):
        assert np.array_equal(coco.annToMask(annotation).astype(bool), mask)


def test_fiftyones_labels(model, scene):
    fiftyone = pytest.importorskip("fiftyone")
    detections = model.segment(scene, "boat").to_fiftyone().detections
    assert [detection.label for detection in detections] == ["boat"] * 3
    for detection in detections:
        assert isinstance(detection, fiftyone.Detection) and detection.mask.dtype == bool
        assert all(0 <= side <= 1 for side in detection.bounding_box)
