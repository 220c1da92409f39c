"""Time of one image and one prompt on the CPU: PyTorch (transformers) against `sam3`, alternating in one run.

    python tools/checkpoints.py --config full --output /tmp/sam3.pt
    sam3 package --checkpoint-path /tmp/sam3.pt --output /tmp/fp16.pth --no-tarball
    sam3 package --checkpoint-path /tmp/sam3.pt --output /tmp/int8.pth --no-tarball --quantize int8
    python tools/bench_segment.py --checkpoint /tmp/sam3.pt --fp16 /tmp/fp16.pth --int8 /tmp/int8.pth --image photo.jpg

PyTorch's workers (`bench_pytorch.py`) stay loaded and run once before the rounds that count. Each of ours is a process
of its own that starts cold, so its weights are first touched inside the time. Prints a table of the medians, a stage a
row.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import bench_pytorch

STAGES = {
    "vision encoder": (("vision_encoder",), ("vision trunk", "vision neck")),
    "text encoder": (("text_encoder",), ("text encoder",)),
    "geometry encoder": (("geometry_encoder",), ("geometry encoder",)),
    "fusion encoder": (("fusion_encoder",), ("fusion encoder",)),
    "decoder": (("decoder", "scoring"), ("decoder",)),
    "mask head": (("mask_head",), ("mask head",)),
}


def ours(args, package, compute):
    """One cold run of `sam3 bench`, with the names of the table."""
    words = [args.binary, "bench", "--json", "--warm-up", 0, "--rounds", 1, "--checkpoint-path", package, "--device", "cpu"]
    words += ["--compute", compute, "--prompt", "a yellow school bus"]
    words += ["--image", args.image] if args.image else []
    words += ["--image-size", args.image_size] if args.image_size else []
    output = subprocess.run([str(word) for word in words], check=True, stdout=subprocess.PIPE).stdout
    run = json.loads(output)
    row = {name: sum(run["stage_seconds"][stage] for stage in stages) for name, (_, stages) in STAGES.items()}
    return dict(
        row,
        total=run["total_seconds"],
        load=run["load_seconds"],
        second=run["second_prompt_seconds"],
        rss=run["peak_rss_bytes"] / 1e6,
    )


def theirs(worker):
    """One run of a PyTorch worker, with the names of the table."""
    run = bench_pytorch.ask(worker)
    row = {name: sum(run[stage] for stage in stages) for name, (stages, _) in STAGES.items()}
    return dict(row, total=run["total"], load=run["load"], rss=run["peak_rss_mb"] * 1.048576)


def table(rows):
    """A Markdown table of medians, then each total's ratio to PyTorch's two."""
    median = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for name, runs in rows.items()
    }
    lines = ["| s | " + " | ".join(rows) + " |", "| --- |" + " ---: |" * len(rows)]
    for key in (*STAGES, "total", "load", "second", "rss"):
        title = dict(total="**total**", second="second prompt", rss="peak RSS MB").get(key, key)
        digits = 0 if key == "rss" else 2
        cells = (f"{values[key]:,.{digits}f}" if key in values else "" for values in median.values())
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    for peer in ("PyTorch fp32", "PyTorch bf16"):
        if peer in median:
            cells = (f"{values['total'] / median[peer]['total']:.2f}" for values in median.values())
            lines.append(f"| total / {peer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="for PyTorch")
    parser.add_argument("--fp16", type=Path, required=True, help="package for f32 and bf16 compute")
    parser.add_argument("--int8", type=Path, required=True, help="package for int8 compute")
    parser.add_argument("--binary", type=Path, default=Path("target/release/sam3"))
    parser.add_argument("--image", type=Path)
    parser.add_argument("--image-size", type=int, metavar="N", help="the model's input (default: the checkpoint's, 1008)")
    parser.add_argument("--peers", default="fp32,bf16", help="PyTorch's precisions: bf16 takes minutes without AVX-512 BF16")
    parser.add_argument("--modes", default="f32,bf16,int8", help="of sam3: its `--compute`s")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's numbers")
    args = parser.parse_args()
    args.model, args.device, args.uninterrupted = args.checkpoint, "cpu", False
    workers = {precision: bench_pytorch.spawn(args, precision) for precision in args.peers.split(",")}
    for worker in workers.values():
        bench_pytorch.ask(worker)
    packages = dict(f32=args.fp16, bf16=args.fp16, int8=args.int8)
    modes = {f"sam3 {compute}": (packages[compute], compute) for compute in args.modes.split(",")}
    rows = {name: [] for name in (*(f"PyTorch {precision}" for precision in workers), *modes)}
    for index in range(args.rounds):
        for precision, worker in workers.items():
            rows[f"PyTorch {precision}"].append(theirs(worker))
        for name, (package, compute) in modes.items():
            rows[name].append(ours(args, package, compute))
        totals = ", ".join(f"{name} {runs[-1]['total']:.1f}" for name, runs in rows.items())
        print(f"round {index + 1}: {totals}", file=sys.stderr, flush=True)
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1) + "\n")
        # Should the run be cut short, what is there is a table too.
        print(table(rows), flush=True)


if __name__ == "__main__":
    main()
