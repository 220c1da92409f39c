#!/usr/bin/env python3
"""Whether a crate's tests notice changes to its code: a seeded sample of cargo-mutants' changes, each tried with that
crate's tests.

    tools/mutants.py sam3-package 100 1      # 100 mutants, drawn with seed 1

Run again, it goes on where it stopped, and tries again what survived if HEAD has moved since. What is tried is the last
commit, in a clone that is kept in ${XDG_CACHE_HOME:-~/.cache}/sam3-ci/mutants with its build. The verdicts are in
tools/mutants/CRATE-SEED.tsv, with the commit that each is about. tools/mutants/CRATE.txt lists the mutants that may
survive: a line with the mutant, then indented lines with the reason. Exits with 1 where a mutant survived that is not
listed, or where more than 5 % survived.

Needs `cargo install cargo-mutants --locked`. A mutant takes about half a minute of one core.
"""

import hashlib
import os
import re
import resource
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sam3-ci/mutants"
TREE = CACHE / "tree"
MAY_SURVIVE = 0.05

# A mutant that loops for ever is ended by the processor time it used, which a busy machine does not change; only one
# that waits for ever is ended by the clock. One that fills the memory is ended as well.
CPU_SECONDS = 300
CLOCK_SECONDS = 600
DATA_BYTES = 6 << 30


def run(command, cwd=TREE, **options):
    return subprocess.run(command, cwd=cwd, check=True, text=True, **options)


def check_out():
    """Brings the kept clone to the last commit of this repository. Returns that commit."""
    if not TREE.exists():
        run(["git", "clone", "--quiet", "--no-checkout", ROOT, TREE], cwd=ROOT)
    run(["git", "fetch", "--quiet", ROOT, "HEAD"])
    run(["git", "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"])
    return run(["git", "rev-parse", "HEAD"], stdout=subprocess.PIPE).stdout.strip()


def listed(crate):
    """All mutants as cargo-mutants spells them, by a name without the line, which moves with the code above it."""
    lines = run(["cargo", "mutants", "--list", "--package", crate], stdout=subprocess.PIPE).stdout.splitlines()
    seen, mutants = Counter(), {}
    for line in lines:
        name = re.sub(r"^([^:]+):\d+:\d+: ", r"\1: ", line)
        seen[name] += 1
        mutants[name if seen[name] == 1 else f"{name} ({seen[name]})"] = line
    return mutants


def drawn(names, count, seed):
    """A sample that stays the same for the mutants which a later commit still has."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())[:count]


def tests_pass(crate):
    """Without it, every mutant would look as if it were caught."""
    run(["cargo", "test", "--quiet", "--locked", "--package", crate, "--lib", "--tests"], stdout=subprocess.DEVNULL)


def verdict(crate, spelled, index, total):
    """caught, missed, timeout or unviable (it does not compile)."""
    command = ["cargo", "mutants", "--in-place", "--package", crate, "--shard", f"{index}/{total}", "--baseline", "skip"]
    command += ["--timeout", str(CLOCK_SECONDS), "--output", str(CACHE), "--", "--lib", "--tests"]
    log = subprocess.run(command, cwd=TREE, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    out = CACHE / "mutants.out"
    for kind in ("caught", "missed", "timeout", "unviable"):
        if (out / f"{kind}.txt").read_text().splitlines() == [spelled]:
            ended = any("SIGXCPU" in path.read_text(errors="replace") for path in (out / "log").iterdir())
            return "timeout" if ended else kind
    sys.exit(f"{spelled}: no verdict\n{log}")


def main():
    crate, count, seed = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    CACHE.mkdir(parents=True, exist_ok=True)
    os.environ["CARGO_TARGET_DIR"] = str(CACHE / "target")
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 10))
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))
    (ROOT / "tools/mutants").mkdir(exist_ok=True)
    reasons = ROOT / "tools/mutants" / f"{crate}.txt"
    allowed = {line for line in reasons.read_text().splitlines() if line.startswith("crates/")} if reasons.exists() else set()

    commit = check_out()
    mutants = listed(crate)
    order = list(mutants)
    sample = drawn(order, count, seed)
    tried = ROOT / "tools/mutants" / f"{crate}-{seed}.tsv"
    tried.touch()
    known = {}
    for line in tried.read_text().splitlines():
        kind, at, name = line.split("\t")
        known[name] = (kind, at)

    def is_open(name):
        kind, at = known.get(name, ("", ""))
        return kind not in ("caught", "unviable") and at != commit and not (kind and name in allowed)

    waiting = [name for name in sample if is_open(name)]
    if waiting:
        tests_pass(crate)
    for name in waiting:
        kind = verdict(crate, mutants[name], order.index(name), len(order))
        known[name] = (kind, commit)
        with tried.open("a") as file:
            file.write(f"{kind}\t{commit}\t{name}\n")
        print(kind, name, sep="\t", flush=True)

    kinds = Counter(known[name][0] for name in sample)
    print(", ".join(f"{number} {kind}" for kind, number in kinds.most_common()), f"of {len(sample)}")
    survivors = [name for name in sample if known[name][0] == "missed"]
    unlisted = [name for name in survivors if name not in allowed]
    if unlisted:
        print(f"survived, and is not in {reasons.relative_to(ROOT)}:", *unlisted, sep="\n")
    sys.exit(bool(unlisted) or len(survivors) > MAY_SURVIVE * len(sample))


if __name__ == "__main__":
    main()
