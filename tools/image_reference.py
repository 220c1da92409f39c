"""Writes crates/sam3-model/tests/fixtures/pictures.json: what Pillow, torchvision, torch and pycocotools make of small
pictures.

    python tools/image_reference.py crates/sam3-model/tests/fixtures/pictures.json

Needs pillow, torch, torchvision and pycocotools. Seeded: the same versions write the same file.
"""

import io
import json
import sys

import numpy as np
import torch
import torchvision.transforms.v2.functional as F
from PIL import Image, ImageOps
from pycocotools import mask as coco

rng = np.random.default_rng(3)


def noise(width, height):
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def files():
    """Encoded pictures, and the RGB that Pillow reads; all but the JPEGs are to be equal."""
    rgb = noise(6, 4)
    alpha = rgb.copy()
    alpha.putalpha(Image.fromarray(rng.integers(0, 256, (4, 6), dtype=np.uint8)))
    flat = Image.new("RGB", (16, 8), (200, 90, 30))
    cases = [
        ("png", rgb, {}),
        ("bmp", rgb, {}),
        ("webp", rgb, {"lossless": True}),
        ("png", rgb.convert("L"), {}),
        ("png", rgb.convert("LA"), {}),
        ("png", rgb.convert("1"), {}),
        ("png", rgb.quantize(8), {}),
        ("png", rgb.quantize(8), {"transparency": 2}),
        ("png", alpha, {}),
        ("webp", alpha, {"lossless": True, "exact": True}),
        ("jpeg", flat, {"quality": 95}),
        ("jpeg", flat.convert("L"), {"quality": 95}),
        ("jpeg", flat.convert("CMYK"), {"quality": 95}),
    ]
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x112] = orientation
        cases.append(("png", rgb, {"exif": exif.tobytes()}))
    exif[0x112] = 6
    cases.append(("jpeg", flat, {"quality": 95, "exif": exif.tobytes()}))
    cases.append(("webp", rgb, {"lossless": True, "exif": exif.tobytes()}))
    for kind, image, options in cases:
        data = io.BytesIO()
        image.save(data, kind, **options)
        read = ImageOps.exif_transpose(Image.open(io.BytesIO(data.getvalue()))).convert("RGB")
        name = f"{kind} {image.mode} {sorted(k for k in options)}"
        yield {"name": name, "file": data.getvalue().hex(), "size": read.size, "rgb": read.tobytes().hex()}


def resized():
    for (width, height), size in [((1, 1), 3), ((13, 7), 5), ((5, 9), 16), ((40, 3), 7), ((8, 8), 8), ((31, 33), 14)]:
        image = noise(width, height)
        out = F.resize(F.to_image(image), [size, size], antialias=True).permute(1, 2, 0).numpy()
        bicubic = image.resize((size, size), Image.Resampling.BICUBIC)
        case = {"size": image.size, "rgb": image.tobytes().hex(), "to": size, "resized": out.tobytes().hex()}
        yield case | {"bicubic": bicubic.tobytes().hex()}


def rle(mask):
    encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": encoded["size"], "counts": encoded["counts"].decode()}


def upsampled():
    for (h, w), (height, width) in [((6, 7), (31, 65)), ((5, 3), (4, 2)), ((1, 4), (9, 130)), ((8, 8), (64, 64))]:
        logits = torch.from_numpy(rng.normal(size=(h, w)).astype(np.float32))
        full = torch.nn.functional.interpolate(logits[None, None], (height, width), mode="bilinear", align_corners=False)
        yield {"from": [h, w], "logits": logits.flatten().tolist(), "to": [height, width], "rle": rle((full[0, 0].sigmoid() > 0.5).numpy())}


def masks():
    for height, width in [(1, 1), (1, 5), (5, 1), (7, 9), (64, 64), (65, 67), (130, 3)]:
        for density in [0.0, 0.03, 0.5, 1.0]:
            mask = rng.random((height, width)) < density
            yield {"inside": np.flatnonzero(mask).tolist(), "rle": rle(mask)}
    mask = np.zeros((900, 700), bool)  # runs of more than 2¹⁵ pixels
    mask[450, 350] = mask[451, 690] = True
    yield {"inside": np.flatnonzero(mask).tolist(), "rle": rle(mask)}


if __name__ == "__main__":
    parts = {"files": files(), "resized": resized(), "upsampled": upsampled(), "masks": masks()}
    with open(sys.argv[1], "w") as f:
        rows = (f'"{name}": [\n' + ",\n".join(json.dumps(row) for row in part) + "\n]" for name, part in parts.items())
        f.write("{\n" + ",\n".join(rows) + "\n}\n")
