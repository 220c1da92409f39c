"""Compares `sam3 track` with transformers' `Sam3TrackerVideoModel` on a full-width, reduced-depth model at 1008 px.

    cargo build --release && python tools/interop/track.py --binary target/release/sam3

Takes the `wide3` model of `segment.py`, draws seeded frames of 1008 x 1008 pixels, so that nobody resizes them, clicks
an object on the first, and follows it through `--frames`. Where transformers differs from the official code it is
corrected here: masks to remember are resized behind the sigmoid or the threshold, memories stay in f32, and the oldest
of the frames that an object was followed through gives no pointer. With one prompt and few frames, of which none is
bad, the choice of memories is the same.

It asserts that the logits of each frame are within 1e-3 of their largest value and object scores within 1e-3; and, so
that this says something, that the object is there on each frame, and that without its memory the last frame's logits
would be more than ten times as far away. Then it prints what a frame takes beside transformers', in the same run, on
as many threads.

Exits with 1 and names what differs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoModel
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoInferenceSession

sys.path.insert(0, str(Path(__file__).resolve().parent))

import click
import segment

SIZE = segment.OWN_SIZE
POINT = (480.0, 470.0)
TOLERANCE = 1e-3


class Official(Sam3TrackerVideoModel):
    """What transformers does otherwise than the official code, as there."""

    def _encode_new_memory(self, current_vision_feats, pred_masks_high_res, object_score_logits, is_mask_from_pts):
        shares = (pred_masks_high_res > 0).float() if is_mask_from_pts else pred_masks_high_res.sigmoid()
        side = 4 * self.prompt_encoder.mask_input_size[0]
        mask = torch.nn.functional.interpolate(shares * 20 - 10, (side, side), mode="bilinear", antialias=True)
        grid = self.backbone_feature_sizes[-1]
        memory, places = self.memory_encoder(current_vision_feats.permute(1, 2, 0).unflatten(2, grid), mask)
        absent = (object_score_logits <= 0).float()[..., None]
        memory = memory + absent * self.occlusion_spatial_embedding_parameter[..., None, None]
        return memory.flatten(2).permute(2, 0, 1), places.flatten(2).permute(2, 0, 1)

    def _get_object_pointers(self, *args, **kwargs):
        offsets, pointers, most = super()._get_object_pointers(*args, **kwargs)
        # The first is the prompt's.
        return (offsets[:-1], pointers[:-1], most) if len(offsets) > 1 else (offsets, pointers, most)


def frames(count):
    """The picture of `segment.py`, which goes to the left and gets brighter."""
    wide = segment.picture().resize((SIZE + 20 * count, SIZE), Image.BICUBIC)
    shown = [wide.crop((20 * i, 0, 20 * i + SIZE, SIZE)) for i in range(count)]
    return [picture.point(lambda value, i=i: min(value + 2 * i, 255)) for i, picture in enumerate(shown)]


def expected(model, pictures):
    """Logits and the object score of each frame, the last one's logits without memory, and each frame's seconds."""
    video = torch.stack([torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1) for picture in pictures])
    session = Sam3TrackerVideoInferenceSession((video / 255 - 0.5) / 0.5, SIZE, SIZE, dtype=torch.float32)
    place = session.obj_id_to_idx(1)
    points = dict(point_coords=torch.tensor([[[POINT]]]), point_labels=torch.ones(1, 1, 1, dtype=torch.int32))
    session.add_point_inputs(place, 0, points)
    session.obj_with_new_inputs.append(1)
    found, seconds = [], []
    for index in range(len(pictures)):
        start = time.perf_counter()
        output = model(session, frame_idx=index)
        seconds.append(time.perf_counter() - start)
        found.append((output.pred_masks.flatten(0, -3), output.object_score_logits.item()))
    maps, _ = model._prepare_vision_features(session, len(pictures) - 1, 1)
    maps = [level.permute(1, 2, 0).unflatten(2, size) for level, size in zip(maps, model.backbone_feature_sizes)]
    maps[-1] = maps[-1] + model.no_memory_embedding.reshape(1, -1, 1, 1)
    forgetful = model._single_frame_forward(image_embeddings=maps).pred_masks.flatten(0, -3)
    return found, forgetful, seconds


def tracked(binary, checkpoint, pictures, folder, prompt):
    """Logits and the objects of each frame, and its seconds. `prompt` are the flags of what is followed."""
    source, dump, output = (folder / name for name in ("frames", "dump", "output"))
    source.mkdir()
    for index, picture in enumerate(pictures):
        picture.save(source / f"{index}.png")
    words = [binary, "track", "--source", source, "--checkpoint-path", checkpoint, *prompt]
    words += ["--compute", "f32", "--memory-dtype", "f32", "--device", "cpu", "--threads", click.THREADS]
    words += ["--dump-tensors", dump, "--output", output, "--quiet"]
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
    lines = [json.loads(line) for line in (output / "track.jsonl").read_text().splitlines()]
    masks = [load_file(dump / f"{line['frame']:05}.safetensors")["low_res_masks"] for line in lines]
    return list(zip(masks, (line["objects"] for line in lines))), [line["compute_ms"] / 1e3 for line in lines]


def compare(wanted, found, forgetful):
    """Complaints about what was found."""
    if len(wanted) != len(found):
        return [f"{len(found)} frames, expected {len(wanted)}"]
    complaints = []
    for index, ((mask, score), (own, objects)) in enumerate(zip(wanted, found)):
        apart, largest = (mask - own).abs().max().item(), mask.abs().max().item()
        off = abs(score - objects[0]["object_score"]) if objects else float("nan")
        print(f"frame {index}: masks {apart:.1e} of {largest:.1f}, object score {off:.1e} of {score:.2f}")
        if not (score > 0 and apart <= TOLERANCE * largest and off <= TOLERANCE):
            complaints.append(f"frame {index}")
    without = (forgetful - found[-1][0]).abs().max().item()
    print(f"without memory the last frame would be {without:.1e} away")
    return complaints if without > 10 * TOLERANCE * largest else [*complaints, "memory says nothing"]


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=segment.TOOLS.parent / "target/release/sam3")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/sam3-ci")
    parser.add_argument("--frames", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(click.THREADS)
    cache = args.cache / f"wide3-{segment.digest()}"
    cache.mkdir(parents=True, exist_ok=True)
    files = segment.checkpoints(cache)
    model = click.load(files["transformers"].parent, Sam3TrackerVideoConfig, Official)
    pictures = frames(args.frames)
    wanted, forgetful, theirs = expected(model, pictures)
    with tempfile.TemporaryDirectory() as folder:
        point = ["--point", ",".join(map(str, POINT))]
        found, ours = tracked(args.binary, files["official"], pictures, Path(folder), point)
    complaints = compare(wanted, found, forgetful)
    share = ours[-1] / theirs[-1]
    print(f"the last frame: transformers {theirs[-1]:.2f} s, sam3 {ours[-1]:.2f} s, {share:.2f} of it")
    if complaints:
        sys.exit(f"differs: {', '.join(complaints)}")


if __name__ == "__main__":
    main()
