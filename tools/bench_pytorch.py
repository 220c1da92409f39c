"""Times transformers' Sam3Model, stage by stage: the peer that `docs/BENCHMARKS.md` compares with.

    python tools/checkpoints.py --config full --output /tmp/sam3.pt
    python tools/bench_pytorch.py --model /tmp/sam3.pt --rounds 3 --json pytorch.json
    python tools/bench_pytorch.py --model /tmp/sam3.pt --device cuda --precision fp16 bf16

One image and one text prompt. Each precision runs in its own process, which loads the model once; rounds alternate
between the precisions after a warm-up. The official CLS token is included, as in `reference.py`. stdout is a JSON
object: per precision the median seconds of each stage and in total, every round, and peak RSS.

A second run of each round has no clock between the stages, which a GPU would have to stop for: `encode` is an 8-bit
picture in main memory to its features, `prompt` a text that was encoded before to masks of the picture's size in main
memory, `end_to_end` both without waiting for the device between them.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

STAGES = dict(
    vision_encoder="vision_encoder",
    text_encoder="text_encoder",
    geometry_encoder="geometry_encoder",
    fusion_encoder="detr_encoder",
    decoder="detr_decoder",
    scoring="dot_product_scoring",
    mask_head="mask_decoder",
)
PRECISIONS = dict(fp32="float32", bf16="bfloat16", fp16="float16")
PROMPT = [49406, 320, 4481, 1228, 2840, 49407]  # "a yellow school bus"


class Clock:
    """Seconds spent in each named submodule of a model."""

    def __init__(self, model, wait):
        self.seconds, self.started, self.wait, self.running = {}, {}, wait, True
        for stage, name in STAGES.items():
            module = getattr(model, name)
            module.register_forward_pre_hook(lambda *_, stage=stage: self.start(stage))
            module.register_forward_hook(lambda *_, stage=stage: self.stop(stage))

    def start(self, stage):
        if self.running:
            self.wait()
            self.started[stage] = time.perf_counter()

    def stop(self, stage):
        if not self.running:
            return
        self.wait()
        self.seconds[stage] = time.perf_counter() - self.started[stage]


def picture(image):
    """The picture (or a seeded one), uint8 [H, W, 3]."""
    import numpy as np
    import torch
    from PIL import Image

    if image:
        return torch.from_numpy(np.asarray(Image.open(image).convert("RGB")).copy())
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (427, 641, 3), dtype=np.uint8))


def pixels(model, rgb):
    """The picture as the model's input, where the picture lies."""
    from torchvision.transforms import v2

    import reference

    side = model.config.vision_config.image_size
    resized = v2.Resize((side, side), antialias=True)(rgb.permute(2, 0, 1))
    return reference.normalise(resized.permute(1, 2, 0))


def masks(outputs, height, width):
    """The kept instances' masks at the picture's size, in main memory, as the official processor makes them."""
    from torch.nn import functional

    scores = outputs["pred_logits"].float().sigmoid() * outputs["presence_logits"].float().sigmoid()
    logits = outputs["pred_masks"][scores > 0.5].float()
    if len(logits) == 0:
        return logits.cpu()
    resized = functional.interpolate(logits[None], (height, width), mode="bilinear", align_corners=False)
    return (resized > 0).cpu()


def uninterrupted(model, rgb, ids, text, dtype, wait):
    """Seconds of both halves of the work, and of the whole: see the top."""
    import torch

    import reference

    def encode():
        with torch.no_grad():
            return reference.encode_image(model, pixels(model, rgb.to(ids.device)).to(dtype))

    def prompt(features, position):
        return masks(reference.ground(model, features, position, ids, text=text), *rgb.shape[:2])

    seconds = {}
    wait()
    start = time.perf_counter()
    encoded = encode()
    wait()
    seconds["encode"] = time.perf_counter() - start
    start = time.perf_counter()
    prompt(*encoded)
    seconds["prompt"] = time.perf_counter() - start
    start = time.perf_counter()
    prompt(*encode())
    seconds["end_to_end"] = time.perf_counter() - start
    return seconds


def worker(args):
    """Loads the model, then answers each line on stdin with one run's timings."""
    import torch

    import reference

    torch.set_num_threads(args.threads)
    start = time.perf_counter()
    dtype = getattr(torch, PRECISIONS[args.worker])
    wait = torch.cuda.synchronize if args.device == "cuda" else lambda: None
    model = reference.load(args.model, image_size=args.image_size).to(dtype).to(args.device)
    wait()
    loaded = time.perf_counter() - start
    rgb = picture(args.image)
    inputs = pixels(model, rgb).to(dtype).to(args.device)
    ids = torch.tensor([PROMPT + [0] * (32 - len(PROMPT))], device=args.device)
    with torch.no_grad():
        text = reference.encode_text(model, ids)
    clock = Clock(model, wait)
    for _ in sys.stdin:
        wait()
        start = time.perf_counter()
        reference.forward(model, inputs, ids)
        wait()
        run = dict(**clock.seconds, total=time.perf_counter() - start, load=loaded)
        if args.uninterrupted:
            clock.running = False
            run |= uninterrupted(model, rgb, ids, text, dtype, wait)
            clock.running = True
        run["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        if args.device == "cuda":
            run["peak_device_mb"] = torch.cuda.max_memory_allocated() / 2**20
        print(json.dumps(run), flush=True)


def spawn(args, precision):
    """A worker process of one precision."""
    command = [sys.executable, __file__, "--worker", precision, "--model", args.model, "--threads", args.threads]
    command += ["--device", args.device] + (["--uninterrupted"] if args.uninterrupted else [])
    command += ["--image", args.image] if args.image else []
    command += ["--image-size", args.image_size] if args.image_size else []
    return subprocess.Popen([str(w) for w in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def ask(process):
    """One run of a worker."""
    process.stdin.write("run\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        sys.exit("a worker ended early: see its message above")
    return json.loads(line)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="sam3.pt, or a folder with model.safetensors")
    parser.add_argument("--image", type=Path, help="a photo (default: seeded noise; the time is the same)")
    parser.add_argument("--image-size", type=int, metavar="N", help="the model's input (default: the config's, 1008)")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["fp32", "bf16"])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--uninterrupted", action="store_true", help="the second run of each round too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    parser.add_argument("--worker", choices=PRECISIONS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args)
        return
    workers = {precision: spawn(args, precision) for precision in args.precision}
    rounds = {precision: [] for precision in workers}
    for index in range(args.warm_up + args.rounds):
        for precision, process in workers.items():
            run = ask(process)
            print(f"{'warm-up' if index < args.warm_up else 'round'} {precision} {run['total']:.1f} s", file=sys.stderr)
            if index >= args.warm_up:
                rounds[precision].append(run)
    for process in workers.values():
        process.stdin.close()
        process.wait()
    result = {
        precision: dict(median={k: round(statistics.median(r[k] for r in runs), 3) for k in runs[0]}, rounds=runs)
        for precision, runs in rounds.items()
    }
    text = json.dumps(result, indent=1)
    print(text)
    if args.json:
        args.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
