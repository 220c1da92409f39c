"""Runs `sam3 segment` on full-size packages under the memory that they may take.

    python tools/checkpoints.py --config full --output sam3.pt
    sam3 package --checkpoint-path sam3.pt --output fp16.pth --no-tarball
    sam3 package --checkpoint-path sam3.pt --output int8.pth --no-tarball --quantize int8
    sam3 package --checkpoint-path sam3.pt --output baked.pth --no-tarball --quantize int8 --components image --bake-prompts boat,buoy
    python tools/check_memory.py --fp16 fp16.pth --int8 int8.pth --baked baked.pth --image photo.jpg

What is read of a package is let go of again, so the peak hardly depends on the package. It is compared with the limit;
and because nothing limits RSS on Linux without root, what the process allocates is limited to the same, by
`RLIMIT_DATA` (`ulimit -d`): `ulimit -v` would count the whole mapping and every thread's reserved stack. Prints a row a
run; exits with 1 if one fails or takes more.
"""

import argparse
import os
import resource
import sys
import tempfile
from pathlib import Path

# Bytes of peak RSS, of every package in every mode.
LIMIT = 650_000_000
RUNS = [("fp16", "auto"), ("int8", "auto"), ("int8", "int8"), ("baked", "auto"), ("baked", "int8")]


def run(words):
    """Exit status and peak RSS in bytes of a command that may allocate no more than `LIMIT`."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.execv(words[0], words)
    _, status, usage = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=Path("target/release/sam3"))
    for name in ("fp16", "int8", "baked"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--prompt", default="boat")
    args = parser.parse_args()
    good = True
    for name, compute in RUNS:
        package = getattr(args, name)
        if package is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            words = [args.binary.resolve(), "segment", "--image", args.image, "--prompt", args.prompt, "--quiet"]
            words += ["--checkpoint-path", package, "--compute", compute, "--output", folder]
            code, peak = run([str(word) for word in words])
        verdict = "ok" if code == 0 and peak <= LIMIT else "FAIL"
        print(f"{verdict:4} {name:5} {compute:4} peak {peak / 1e6:7,.0f} MB of {LIMIT / 1e6:,.0f}, exit code {code}", flush=True)
        good = good and verdict == "ok"
    sys.exit(not good)


if __name__ == "__main__":
    main()
