"""Packaging time, size and memory: Python's flow against `sam3 package`, alternating in one run.

    python tools/checkpoints.py --config full --output /tmp/sam3.pt
    python tools/bench_package.py --checkpoint /tmp/sam3.pt --binary target/release/sam3 --rounds 3

Python's flow is what packaging scripts do: `torch.load`, `.half()` on every floating-point tensor, `torch.save`, and
`tarfile` with gzip. Each run is its own process. "Peak RSS" is the kernel's (with mapped file pages); "peak anonymous"
is sampled from /proc and leaves out the page cache. The medians of the rounds are printed as a table; Python's total
leaves out its start-up, ours does not.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from pathlib import Path

PHASES = ("load", "half", "save", "tar.gz")


def python_flow(checkpoint, folder):
    """One run of Python's flow in this process: seconds of each phase."""
    import torch

    seconds, start = {}, time.perf_counter()

    def lap(phase):
        nonlocal start
        seconds[phase] = time.perf_counter() - start
        start = time.perf_counter()

    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    lap("load")
    for name in list(state):
        if state[name].is_floating_point():
            state[name] = state[name].half()
    lap("half")
    torch.save(state, folder / "package.pth")
    lap("save")
    (folder / "package_metadata.json").write_text(json.dumps(dict(quantization="fp16", tensors=len(state))))
    with tarfile.open(folder / "package.tar.gz", "w:gz") as archive:
        for file in ("package.pth", "package_metadata.json"):
            archive.add(folder / file, file)
    lap("tar.gz")
    return seconds


def anonymous_kb(pid):
    """RssAnon of a process now, or 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


def measure(command):
    """Runs a command; returns its stdout, wall seconds, peak RSS and peak anonymous memory in MB."""
    start, peak = time.perf_counter(), [0]
    process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE)
    ended = threading.Event()

    def sample():
        while not ended.wait(0.02):
            peak[0] = max(peak[0], anonymous_kb(process.pid))

    sampler = threading.Thread(target=sample)
    sampler.start()
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    ended.set()
    sampler.join()
    if process.returncode:
        sys.exit(f"{command[0]} ended with {process.returncode}")
    seconds = time.perf_counter() - start
    cpu = usage.ru_utime + usage.ru_stime
    return output, dict(total=seconds, cpu=cpu, rss=usage.ru_maxrss / 1024, anonymous=peak[0] / 1024)


def sizes(folder):
    """Bytes of the package and of its archive, as megabytes."""
    return {f"{file} MB": (folder / f"package.{file}").stat().st_size / 1e6 for file in ("pth", "tar.gz")}


def run_python(args, folder):
    """Python's flow in a child."""
    output, row = measure([sys.executable, __file__, "--child", folder, "--checkpoint", args.checkpoint])
    phases = json.loads(output)
    # The interpreter's start and `import torch` are shown, but not held against it.
    row.update(start=row["total"] - sum(phases.values()), total=sum(phases.values()))
    return {**phases, **row, **sizes(folder)}


def run_ours(args, folder):
    """`sam3 package` in a child."""
    command = [args.binary, "package", "--checkpoint-path", args.checkpoint, "--output", folder / "package.pth"]
    _, row = measure([*command, "--quantize", "fp16", "-q", *args.option])
    return {**row, **sizes(folder)}


def table(rows):
    """A Markdown table of medians, with the ratio of ours to Python's."""
    python, ours = rows["python"], rows["sam3"]
    lines = ["| | Python | sam3 | sam3 / Python |", "| --- | ---: | ---: | ---: |"]
    keys = ["start", *PHASES, "total", "cpu", "rss", "anonymous", "pth MB", "tar.gz MB"]
    titles = dict(
        start="start, import torch s",
        total="**total** (without start) s",
        cpu="CPU (with start) s",
        rss="peak RSS MB",
        anonymous="peak anonymous MB",
    )
    for key in keys:
        title = titles.get(key, f"{key} s" if key in PHASES else key)
        left = statistics.median(row[key] for row in python)
        if key in ours[0]:
            right = statistics.median(row[key] for row in ours)
            lines.append(f"| {title} | {left:,.1f} | {right:,.1f} | {right / left:.3f} |")
        else:
            lines.append(f"| {title} | {left:,.1f} | | |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True, help="a flat fp32 .pt, such as sam3.pt")
    parser.add_argument("--binary", type=Path, default=Path("target/release/sam3"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--option", action="append", default=[], help="passed on to `sam3 package`, e.g. --option=--archive=zst"
    )
    parser.add_argument(
        "--scratch", type=Path, help="where packages are written and removed (default: the temporary folder)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's numbers")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(python_flow(args.checkpoint, args.child)))
        return
    with open(args.checkpoint, "rb") as file:  # Both flows start with the checkpoint in the page cache.
        while file.read(1 << 24):
            pass
    rows = dict(python=[], sam3=[])
    for index in range(args.rounds):
        for name, run in (("python", run_python), ("sam3", run_ours)):
            with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
                rows[name].append(run(args, Path(folder)))
            print(f"round {index + 1} {name:7} {rows[name][-1]['total']:.1f} s", file=sys.stderr)
    print(table(rows))
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
