"""Compares `sam3 track --prompt` with transformers' `Sam3VideoModel` on a full-width, reduced-depth model at 1008 px.

    cargo build --release && python tools/interop/track_text.py --binary target/release/sam3

Takes the frames of `track.py` and the `wide3` model of `segment.py`, whose scores are spread and shifted so that the
text finds one object of the 200: the largest logit of the first frame comes above the threshold of new objects, the
second below that of detections. transformers' detector is run with the official semantics (`reference.py`), and its
tracker with those of `track.py`.

It asserts that one object is found on the first frame and followed on each, and that the logits of its masks are within
1e-3 of their largest value, and its score within 1e-3. Then it prints what a frame takes beside transformers', in the
same run, on as many threads.

Exits with 1 and names what differs.
"""

import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import Sam3VideoConfig, Sam3VideoModel
from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

sys.path.insert(0, str(Path(__file__).resolve().parent))

import click
import segment
import track

sys.path.insert(0, str(segment.TOOLS))

import reference

TEXT, IDS = "a yellow school bus", torch.tensor([segment.BUS + [0] * (32 - len(segment.BUS))])
# How far scores are spread, and where the largest two of the first frame come to lie around.
SPREAD, MIDDLE = 8.0, 0.25
TOLERANCE = 1e-3


class Official(Sam3VideoModel):
    """What transformers does otherwise than the official code, as there."""

    def run_detection(self, inference_session, vision_embeds):
        levels, positions = vision_embeds.fpn_hidden_states[:-1], vision_embeds.fpn_position_encoding[:-1]
        found = reference.ground(self.detector_model, list(levels), list(positions), IDS)
        scores = (found["pred_logits"].sigmoid() * found["presence_logits"].sigmoid())[0]
        kept = scores > self.score_threshold_detection
        names = dict(bbox="pred_boxes", mask="pred_masks")
        return {0: {name: found[key][0, kept] for name, key in names.items()} | dict(scores=scores[kept])}


def load(folder):
    """The model of a whole checkpoint in transformers' layout."""
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["backbone_config"]["layer_norm_eps"] = reference.OFFICIAL_EPS
    tracker = dict(model_type="sam3_tracker_video", vision_config=config["vision_config"])
    model = Official(Sam3VideoConfig(detector_config=config, tracker_config=tracker)).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"))
    reference.official(model.detector_model)
    model.tracker_model.__class__ = track.Official
    return model


def find_one(model, picture):
    """Changes the layer that scores queries, in place, so that one query is found in a picture; returns its tensors."""
    detector, scoring = model.detector_model, model.detector_model.dot_product_scoring
    seen = {}
    watch = scoring.text_proj.register_forward_hook(lambda _module, _inputs, output: seen.update(text=output))
    features = detector.get_vision_features(pixel_values=pixels([picture]))
    levels, positions = features.fpn_hidden_states[:-1], features.fpn_position_encoding[:-1]
    logits = reference.ground(detector, list(levels), list(positions), IDS)["pred_logits"][0]
    watch.remove()
    middle = SPREAD * logits.topk(2).values.mean().item()
    text, layer = seen["text"].flatten(), scoring.query_proj
    # A bias along the text shifts every query's score by the same.
    shift = (MIDDLE - middle) * math.sqrt(len(text)) * text / text.dot(text)
    layer.weight.mul_(SPREAD)
    layer.bias.mul_(SPREAD).add_(shift)
    return {f"detector.dot_prod_scoring.hs_proj.{name}": tensor.clone() for name, tensor in layer.named_parameters()}


def pixels(pictures):
    """float32 [frames, 3, S, S] in [-1, 1]."""
    video = torch.stack([torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1) for picture in pictures])
    return (video / 255 - 0.5) / 0.5


def expected(model, pictures):
    """Each frame's masks by their objects' ids and scores, and its seconds."""
    side = segment.OWN_SIZE
    session = Sam3VideoInferenceSession(pixels(pictures), side, side, dtype=torch.float32)
    session.prompt_input_ids[session.add_prompt(TEXT)] = IDS
    session.prompt_attention_masks[0] = (IDS != 0).long()
    found, seconds = [], []
    for index in range(len(pictures)):
        start = time.perf_counter()
        output = model(session, frame_idx=index)
        seconds.append(time.perf_counter() - start)
        found.append((output.obj_id_to_mask, output.obj_id_to_score))
    return found, seconds


def compare(wanted, found):
    """Complaints about what was found."""
    if len(wanted) != len(found):
        return [f"{len(found)} frames, expected {len(wanted)}"]
    complaints = []
    for index, ((masks, scores), (own, objects)) in enumerate(zip(wanted, found)):
        if not (len(masks) == len(own) == len(objects) == 1):
            complaints.append(f"frame {index}: {len(masks)} and {len(own)} objects, expected one")
            continue
        mask, score = masks[0][0], scores[0]
        apart, largest = (mask - own[0]).abs().max().item(), mask.abs().max().item()
        off = abs(score - objects[0]["score"])
        print(f"frame {index}: masks {apart:.1e} of {largest:.1f}, {(mask > 0).sum()} cells, score {off:.1e}")
        if not (mask > 0).any() or not (apart <= TOLERANCE * largest and off <= TOLERANCE):
            complaints.append(f"frame {index}")
    return complaints


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
    model = load(files["transformers"].parent)
    pictures = track.frames(args.frames)
    changed = find_one(model, pictures[0])
    wanted, theirs = expected(model, pictures)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        state = torch.load(files["official"], weights_only=True)
        if not changed.keys() <= state.keys():
            sys.exit(f"{files['official']} has no {', '.join(changed)}")
        torch.save({**state, **changed}, folder / "sam3.pt")
        found, ours = track.tracked(args.binary, folder / "sam3.pt", pictures, folder, ["--prompt", TEXT, "--at-once"])
    complaints = compare(wanted, found)
    share = ours[-1] / theirs[-1]
    print(f"the last frame by text: transformers {theirs[-1]:.2f} s, sam3 {ours[-1]:.2f} s, {share:.2f} of it")
    if complaints:
        sys.exit(f"differs: {', '.join(complaints)}")


if __name__ == "__main__":
    main()
