"""`sam3` on a GPU: is it right, beside the CPU; how fast is it, beside PyTorch on the same card. `tools/check_cuda.sh`
calls this.

    python tools/bench_gpu.py parity --binary target/release/sam3 --demo sam3-demo --package sam3_fp16.pth --image photo.jpg
    python tools/bench_gpu.py times --checkpoint sam3.pt --fp16 fp16.pth --bf16 bf16.pth --int8 int8.pth --image photo.jpg
    python tools/bench_gpu.py memory --image photo.jpg fp16.pth int8.pth

All print Markdown for docs/BENCHMARKS.md with the card's name, and exit with 1 where a bound is broken. `--device cpu`
runs every step without a GPU, to test this script: then `sam3` is compared with itself.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bench_pytorch

# Largest difference of a stage's output that is allowed, as a share of its largest magnitude.
BOUNDS = dict(f32=1e-3, f16=1e-2, bf16=1e-1)
# First aim: this share of PyTorch's time in the same precision.
AIM = 0.7


def sam3(args, *words):
    """The JSON that a command of the binary prints."""
    command = [str(word) for word in (args.binary, *words, "--json", "--quiet")]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        sys.exit(f"{' '.join(command)}: exit code {run.returncode}")
    return json.loads(run.stdout)


def device(args):
    return ["--device", "cuda:0" if args.device == "cuda" else "cpu"]


def computes(args):
    """What is compared with f32 on the CPU; the CPU has no f16."""
    return ("f32", "f16", "bf16") if args.device == "cuda" else ("f32", "bf16")


def parity(args):
    """Every stage of the big model on a picture, and the demo's scenes end to end, against f32 on the CPU."""
    broken = []
    model = args.demo / "desktop" / "model.safetensors"
    reference = ["--against-device", "cpu", "--against-compute", "f32"]
    rows = []
    for compute in computes(args):
        run = ["eval", *device(args), "--compute", compute, *reference]
        scenes = sam3(args, *run, "--checkpoint-path", model, "--against", model, "--scenes", args.scenes)
        instances = scenes["against"]["instances"]
        if compute != "bf16" and instances["matched"] < max(instances["instances"]):
            counts = f"{instances['matched']} of {instances['instances']}"
            broken.append(f"{compute}: {counts} instances of the scenes match")
        rows.append((compute, scenes["model"]["device"], instances))
    print(f"The demo's {args.scenes} scenes on {rows[0][1]} against f32 on the CPU:\n")
    print("| compute | instances | matched | IoU mean, worst | score | box px |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for compute, _, found in rows:
        iou = ", ".join("" if found[key] is None else f"{found[key]:.4f}" for key in ("mean_iou", "worst_iou"))
        print(
            f"| {compute} | {found['instances'][1]} | {found['matched']} of {found['instances'][0]} | {iou} | "
            f"{found['score_difference'] or 0:.1e} | {found['box_difference'] or 0:.2f} |"
        )
    if args.package:
        broken += stages(args, reference)
    return broken


def stages(args, reference):
    """The table of stage errors of `--package`, and what of it is out of bounds."""
    broken, columns = [], {}
    for compute in computes(args):
        run = ["eval", *device(args), "--compute", compute, *reference, "--image", args.image, "--prompt", args.prompt]
        result = sam3(args, *run, "--checkpoint-path", args.package, "--against", args.package)
        columns[compute] = result["stages"]
        for error in result["stages"]:
            # `not <=`: a NaN is out of bounds too.
            if not error["max"] <= BOUNDS[compute]:
                broken.append(f"{compute}: {error['stage']}, {error['output']}: {error['max']:.1e} > {BOUNDS[compute]}")
        instances = result["instances"]
        matched = f"{instances['matched']} of {instances['instances'][0]} instances matched"
        print(f"\n{args.package.name}, {args.image.name}, {compute}: {matched}, worst IoU {instances['worst_iou']}")
        if compute == "f32" and instances["matched"] < max(instances["instances"]):
            broken.append(f"{compute}: {matched} of {args.image}")
    print("\n| largest error of a stage | output | " + " | ".join(columns) + " |")
    print("| --- | --- |" + " ---: |" * len(columns))
    for errors in zip(*columns.values()):
        cells = " | ".join(f"{error['max']:.1e}" for error in errors)
        print(f"| {errors[0]['stage']} | {errors[0]['output']} | {cells} |")
    return broken


def ours(args, package, compute):
    """Medians of one warm run of `sam3 bench`."""
    words = ["--warm-up", args.warm_up, "--rounds", args.rounds, "--prompt", "a yellow school bus"]
    words += ["--image", args.image] if args.image else []
    run = sam3(args, "bench", *device(args), "--checkpoint-path", package, "--compute", compute, *words)
    parts = run["uninterrupted_seconds"] or {}
    memory = run["device_memory_bytes"] or {}
    stage = run["stage_seconds"]
    return dict(
        name=run["device"],
        trunk=stage["vision trunk"],
        neck=stage["vision neck"],
        text=stage["text encoder"],
        load=run["load_seconds"],
        encode=parts.get("encode", stage["vision trunk"] + stage["vision neck"]),
        prompt=parts.get("prompt"),
        end_to_end=parts.get("end_to_end", run["total_seconds"]),
        peak_mb=memory.get("peak", run["peak_rss_bytes"]) / 2**20,
    )


def theirs(args, precision):
    """Medians of PyTorch's worker; it ends, and frees the card, before ours starts."""
    worker = bench_pytorch.spawn(args, precision)
    runs = [bench_pytorch.ask(worker) for _ in range(args.warm_up + args.rounds)][args.warm_up :]
    worker.stdin.close()
    worker.wait()
    median = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return dict(
        text=median["text_encoder"],
        load=median["load"],
        encode=median["encode"],
        prompt=median["prompt"],
        end_to_end=median["end_to_end"],
        peak_mb=median.get("peak_device_mb", median["peak_rss_mb"]),
    )


def times(args):
    """One table of medians; alternating would only reload models of gigabytes."""
    args.model, args.uninterrupted = args.checkpoint, True
    columns = {}
    half = ("fp16", "bf16") if args.device == "cuda" else ("bf16",)
    for precision in half:
        columns[f"PyTorch {precision}"] = theirs(args, precision)
    packages = dict(fp16=args.fp16, bf16=args.bf16, int8=args.int8)
    for name, package in packages.items():
        if package:
            columns[f"sam3 {name}"] = ours(args, package, "auto")
    place = next(column["name"] for name, column in columns.items() if name.startswith("sam3"))
    print(f"\n{place}, one picture and prompt, medians of {args.rounds} rounds after {args.warm_up}:\n")
    print("| ms | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    titles = dict(encode="encode", prompt="prompt", end_to_end="**end to end**", trunk="trunk, clocked")
    titles |= dict(neck="neck, clocked", text="text encoder, clocked", load="load")
    for key, title in titles.items():
        cells = (f"{column[key] * 1e3:,.1f}" if column.get(key) else "" for column in columns.values())
        print(f"| {title} | " + " | ".join(cells) + " |")
    print("| peak memory MB | " + " | ".join(f"{column['peak_mb']:,.0f}" for column in columns.values()) + " |")
    broken = []
    for peer in (name for name in columns if name.startswith("PyTorch")):
        ratios = {name: column["end_to_end"] / columns[peer]["end_to_end"] for name, column in columns.items()}
        print(f"| end to end / {peer} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios.values()) + " |")
        own = ratios.get(peer.replace("PyTorch", "sam3"))
        if own is not None and own > AIM:
            broken.append(f"{peer.replace('PyTorch', 'sam3')}: {own:.2f} of PyTorch's time, where {AIM} is the aim")
    return broken


def memory(args):
    """What each package takes of the card and of main memory."""
    print("One picture and prompt, in MB; nvidia-smi's peak is less what was in use before:\n")
    print("| package | weights | peak | in use beside it | nvidia-smi | main memory, its own |")
    print("| --- |" + " ---: |" * 5)
    for package in args.packages:
        words = ["bench", *device(args), "--checkpoint-path", package, "--warm-up", 0, "--rounds", 1, "--prompt", "boat"]
        words += ["--image", args.image] if args.image else []
        command = [str(word) for word in (args.binary, *words, "--json", "--quiet")]
        before = peak = in_use_on_card(args)
        run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while run.poll() is None:
            peak = max(peak, in_use_on_card(args))
            time.sleep(0.1)
        if run.returncode:
            sys.exit(f"{' '.join(command)}: exit code {run.returncode}")
        report = json.load(run.stdout)
        card = report["device_memory_bytes"] or dict.fromkeys(("weights", "peak", "beside"), 0)
        parts = [card["weights"] / 1e6, card["peak"] / 1e6, card["beside"] / 1e6, peak - before, report["anonymous_bytes"] / 1e6]
        print(f"| {package.name} | " + " | ".join(f"{part:,.0f}" for part in parts) + " |")
    return []


def in_use_on_card(args):
    """MB, by nvidia-smi."""
    if args.device == "cpu":
        return 0
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    return float(subprocess.run(query, stdout=subprocess.PIPE, text=True, check=True).stdout.split()[0]) * 2**20 / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("parity", parity), ("times", times), ("memory", memory)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--binary", type=Path, default=Path("target/release/sam3"))
        command.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
        command.add_argument("--image", type=Path)
        if name == "parity":
            command.add_argument("--demo", type=Path, required=True, help="the folder that `sam3 demo` made")
            command.add_argument("--scenes", type=int, default=512)
            command.add_argument("--package", type=Path, help="a package of the full size; needs --image")
            command.add_argument("--prompt", default="boat")
        elif name == "memory":
            command.add_argument("packages", type=Path, nargs="+")
        else:
            command.add_argument("--checkpoint", type=Path, required=True, help="for PyTorch")
            for package in ("fp16", "bf16", "int8"):
                command.add_argument(f"--{package}", type=Path)
            command.add_argument("--warm-up", type=int, default=3)
            command.add_argument("--rounds", type=int, default=10)
            command.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    broken = args.run(args)
    for complaint in broken:
        print(complaint, file=sys.stderr)
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
