"""Ray Data: a data set of pictures in, rows of what was found out, on as many machines as a cluster has.

    import ray, sam3_edge.ray

    ds = ray.data.from_items([{"path": path} for path in paths])
    rows = sam3_edge.ray.segment_dataset(ds, "/models/sam3_fp16.pth", ["boat"], threads=4, actors=8)
    rows.write_parquet("found")

A row has `path` (or `bytes`, or `image`, a uint8 array [height, width, 3]); what else it has goes along. Added are
`width`, `height`, `labels`, `scores`, `boxes` (x1, y1, x2, y2), `areas`, `rle_sizes` and `rle_counts` (COCO's compressed
run lengths), each a list with an item an instance, and `error`: null, or why this picture has none.
"""

import os

import pyarrow as pa
import ray

import sam3_edge

FOUND = {
    "width": pa.int32(),
    "height": pa.int32(),
    "labels": pa.list_(pa.string()),
    "scores": pa.list_(pa.float32()),
    "boxes": pa.list_(pa.list_(pa.float32())),
    "areas": pa.list_(pa.int64()),
    "rle_sizes": pa.list_(pa.list_(pa.int32())),
    "rle_counts": pa.list_(pa.string()),
    "error": pa.string(),
}
PICTURES = ("image", "bytes", "path")


def segment_dataset(
    ds,
    checkpoint,
    prompts=None,
    *,
    boxes=None,
    threshold=0.5,
    tiles=None,
    refine=False,
    threads=None,
    actors=None,
    device="cpu",
    compute="auto",
    image_size=None,
    num_gpus=None,
    batch_size=8,
):
    """Looks for prompts in each picture of a data set.

    Args:
        ds: A `ray.data.Dataset` with a column `path`, `bytes` or `image`.
        checkpoint: A package that every machine has at this path. Actors of one machine share its mapped pages.
        prompts, boxes, threshold, tiles, refine: As `Model.segment` takes them, the same for all pictures.
        threads: Of an actor; Ray reserves as many CPUs for it. Without it, 4, or as many as this machine has.
        actors: How many, or (least, most); without it, as many as the cluster has CPUs for.
        device: `cpu`, or `cuda` with a GPU an actor.
        num_gpus: GPUs an actor: 1 for `cuda`. Where Ray sees no GPU, as on a Jetson, give 0 or start Ray with
            `--num-gpus 1`.
        batch_size: Pictures that an actor is handed at once; what is lost when it dies is done again.

    Returns:
        A `ray.data.Dataset`, lazy as all of them.
    """
    threads = threads or min(4, os.cpu_count() or 1)
    on_gpu = device != "cpu"
    arguments = dict(
        checkpoint=os.path.abspath(checkpoint),
        model=dict(device=device, compute=compute, image_size=image_size, threads=threads),
        segment=dict(prompts=prompts, boxes=boxes, threshold=threshold, tiles=tiles, refine=refine),
    )
    if isinstance(actors, tuple):
        strategy = ray.data.ActorPoolStrategy(min_size=actors[0], max_size=actors[1])
    elif actors:
        strategy = ray.data.ActorPoolStrategy(size=actors)
    else:
        cpus = int(ray.cluster_resources().get("CPU", 1))
        strategy = ray.data.ActorPoolStrategy(min_size=1, max_size=max(1, cpus // threads))
    return ds.map_batches(
        Segment,
        fn_constructor_kwargs=arguments,
        compute=strategy,
        batch_size=batch_size,
        batch_format="pyarrow",
        num_cpus=threads,
        num_gpus=(1 if num_gpus is None else num_gpus) if on_gpu else None,
        # An actor that dies is started again, and its pictures are done again.
        max_restarts=-1,
        max_task_retries=-1,
    )


class Segment:
    """An actor: a model, opened once."""

    def __init__(self, checkpoint, model, segment):
        self.model = sam3_edge.Model(checkpoint, **model)
        self.segment = segment

    def __call__(self, batch):
        column = next((name for name in PICTURES if name in batch.column_names), None)
        if column is None:
            raise ValueError(f"expected a column path, bytes or image, found {batch.column_names}")
        pictures = batch[column].to_pylist() if column != "image" else list(batch["image"].to_numpy(zero_copy_only=False))
        rows = [found_in(self.model, picture, self.segment) for picture in pictures]
        kept = batch.drop_columns(["image"]) if column == "image" else batch
        kept = kept.drop_columns(["bytes"]) if column == "bytes" else kept
        for name, kind in FOUND.items():
            kept = kept.append_column(pa.field(name, kind), pa.array([row[name] for row in rows], kind))
        return kept


def found_in(model, picture, segment):
    """A row; a picture that cannot be segmented is one with its error."""
    row = dict.fromkeys(FOUND)
    try:
        found = model.segment(picture, **segment)
    except (sam3_edge.ImageError, OSError, TypeError) as error:
        row["error"] = str(error)
        return row
    rles = found.rle()
    row.update(
        width=found.width,
        height=found.height,
        labels=found.labels,
        scores=found.scores.tolist(),
        boxes=found.boxes.tolist(),
        areas=found.areas,
        rle_sizes=[rle["size"] for rle in rles],
        rle_counts=[rle["counts"] for rle in rles],
    )
    return row
