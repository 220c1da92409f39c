"""What was found, as other libraries take it. Each is imported when it is asked for."""

import numpy as np


def to_supervision(found):
    """`supervision.Detections`, with the prompts as `class_name`."""
    import supervision

    return supervision.Detections(
        xyxy=found.boxes,
        mask=found.masks if len(found) else None,
        confidence=found.scores,
        class_id=np.array(found.class_ids, dtype=int),
        data={"class_name": np.array(found.labels, dtype=str)},
    )


def to_fiftyone(found):
    """`fiftyone.Detections`: boxes as shares of the picture's sides, masks cut out of them."""
    import fiftyone

    detections = []
    for index, (label, score, box) in enumerate(zip(found.labels, found.scores, found.boxes)):
        x1, y1 = (max(0, int(np.floor(side))) for side in box[:2])
        x2, y2 = min(found.width, int(np.ceil(box[2]))), min(found.height, int(np.ceil(box[3])))
        detections.append(
            fiftyone.Detection(
                label=label,
                confidence=float(score),
                bounding_box=[
                    x1 / found.width,
                    y1 / found.height,
                    (x2 - x1) / found.width,
                    (y2 - y1) / found.height,
                ],
                mask=found.mask(index)[y1:y2, x1:x2],
            )
        )
    return fiftyone.Detections(detections=detections)


def to_coco(found, image_id=1, first_id=1):
    """COCO annotations: dicts with `segmentation` as compressed run lengths, `bbox` as x, y, width, height."""
    annotations = []
    areas, rles = found.areas, found.rle()
    for index, (category, score, box) in enumerate(zip(found.class_ids, found.scores, found.boxes)):
        x1, y1, x2, y2 = (float(side) for side in box)
        annotations.append(
            {
                "id": first_id + index,
                "image_id": image_id,
                "category_id": category + 1,
                "segmentation": rles[index],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": areas[index],
                "iscrowd": 0,
                "score": float(score),
            }
        )
    return annotations
