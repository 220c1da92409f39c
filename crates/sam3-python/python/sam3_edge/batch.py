"""A folder of pictures through a Ray cluster, or this machine: python -m sam3_edge.batch IN OUT --prompt boat

Writes OUT/part-*.parquet, a row a picture, and at the end OUT/coco.json. Run again after a kill, it goes on with the
pictures that no part has.
"""

import argparse
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

import sam3_edge

PICTURES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


def main():
    parser = argparse.ArgumentParser(prog="python -m sam3_edge.batch", description=__doc__.splitlines()[0])
    parser.add_argument("input", type=Path, help="a folder of pictures, with those below it, that every machine sees")
    parser.add_argument("output", type=Path, help="a folder for the results")
    parser.add_argument("--checkpoint", required=True, help="a package, at the same path on every machine")
    parser.add_argument("--prompt", action="append", required=True, help="a noun phrase; may be repeated")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--tiles", help="auto, 4x3, or pixels")
    parser.add_argument("--threads", type=int, help="of each actor, and the CPUs that Ray reserves for it")
    parser.add_argument("--actors", type=int, help="without it, as many as the cluster has CPUs for")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--compute", default="auto")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--num-gpus", type=float, help="of each actor; 0 where Ray sees no GPU")
    parser.add_argument("--address", help="of a cluster; without it, RAY_ADDRESS, or this machine alone")
    parser.add_argument("--part", type=int, default=256, help="pictures a part: what a kill may cost")
    args = parser.parse_args()
    pictures = sorted(path for path in args.input.rglob("*") if path.suffix.lower() in PICTURES)
    if not pictures:
        parser.error(f"{args.input}: no pictures, whose names end with one of {' '.join(sorted(PICTURES))}")
    # A model that cannot be opened, or a prompt that cannot be, is told at once.
    sam3_edge.Model(args.checkpoint, device="cpu")
    args.output.mkdir(parents=True, exist_ok=True)
    settings = dict(prompts=args.prompt, threshold=args.threshold, tiles=args.tiles, checkpoint=args.checkpoint)
    settings = {**settings, "compute": args.compute, "image_size": args.image_size}
    done = check_settings(args.output, settings)
    left = [path for path in pictures if str(path) not in done]
    print(f"{len(pictures)} pictures, {len(pictures) - len(left)} of them done before", flush=True)
    if left:
        run(args, left)
    write_coco(args.output, args.prompt)


def check_settings(output, settings):
    """The pictures that parts have; those of other settings are no results of this run."""
    path = output / "settings.json"
    parts = sorted(output.glob("part-*.parquet"))
    if path.exists() and parts and json.loads(path.read_text()) != settings:
        raise SystemExit(f"{output}: has results of other settings ({path}); take another folder, or remove its parts")
    path.write_text(json.dumps(settings, indent=1) + "\n")
    done = set()
    for part in parts:
        done.update(parquet.read_table(part, columns=["path"])["path"].to_pylist())
    return done


def run(args, pictures):
    import ray

    import sam3_edge.ray

    if not ray.is_initialized():
        ray.init(address=args.address, log_to_driver=False)
    ds = ray.data.from_arrow(pa.table({"path": [str(path) for path in pictures]})).repartition(
        max(1, len(pictures) // args.part + 1)
    )
    found = sam3_edge.ray.segment_dataset(
        ds,
        args.checkpoint,
        args.prompt,
        threshold=args.threshold,
        tiles=args.tiles,
        threads=args.threads,
        actors=args.actors,
        device=args.device,
        compute=args.compute,
        image_size=args.image_size,
        num_gpus=args.num_gpus,
    )
    numbers = (int(part.stem.split("-")[1]) for part in args.output.glob("part-*.parquet"))
    number = max(numbers, default=-1) + 1
    for rows in found.iter_batches(batch_size=args.part, batch_format="pyarrow"):
        part = args.output / f"part-{number:06}.parquet"
        # Whole or not at all.
        staged = part.with_suffix(".tmp")
        parquet.write_table(rows, staged)
        staged.rename(part)
        number += 1


def write_coco(output, prompts):
    """All parts as one COCO file, in the order of the pictures' paths."""
    categories = {prompt: number for number, prompt in enumerate(prompts, start=1)}
    rows = [row for part in sorted(output.glob("part-*.parquet")) for row in parquet.read_table(part).to_pylist()]
    rows.sort(key=lambda row: row["path"])
    images, annotations, failed = [], [], 0
    for image_id, row in enumerate(rows, start=1):
        if row["error"]:
            failed += 1
            continue
        images.append(dict(id=image_id, file_name=row["path"], width=row["width"], height=row["height"]))
        for label, score, box, area, size, counts in zip(
            row["labels"], row["scores"], row["boxes"], row["areas"], row["rle_sizes"], row["rle_counts"]
        ):
            x1, y1, x2, y2 = box
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=categories[label],
                    segmentation=dict(size=size, counts=counts),
                    bbox=[x1, y1, x2 - x1, y2 - y1],
                    area=area,
                    iscrowd=0,
                    score=score,
                )
            )
    coco = dict(
        images=images,
        annotations=annotations,
        categories=[dict(id=number, name=prompt) for prompt, number in categories.items()],
    )
    staged = output / "coco.tmp"
    staged.write_text(json.dumps(coco))
    staged.rename(output / "coco.json")
    print(f"{len(images)} pictures with {len(annotations)} instances, {failed} that failed: {output / 'coco.json'}")


if __name__ == "__main__":
    main()
