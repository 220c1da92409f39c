"""Writes the licences of the program and of all that is linked into it, from `cargo metadata`:

    python tools/dist/licenses.py --target aarch64-unknown-linux-gnu > LICENSE-program.txt
    python tools/dist/licenses.py --check          # for both machines: exits with 1 where a licence is not permissive

Each text stands once, below the crates that it is of, in an order that depends on nothing but the crates.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGETS = ("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")
# What a program may be passed on under, as long as the text goes along.
PERMISSIVE = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "CDLA-Permissive-2.0", "ISC", "MIT", "MIT-0",
    "OFL-1.1", "Ubuntu-font-1.0", "LicenseRef-UFL-1.0", "Unicode-3.0", "Unlicense", "Zlib",
}  # fmt: skip
FILES = re.compile(r"(?i)^(un)?licen[sc]e|^copy(ing|right)|^notice|^(ofl|ufl)\.txt$")

HEAD = """\
The licences of sam3 and of all that is linked into it.

sam3 itself is under the MIT License or the Apache License 2.0, as you like. Of the crates, each is under the licence
that stands beside its name; their texts follow. Rust's standard library, which is linked too, is under the same two
licences as sam3, copyright The Rust Project Developers; parts of libgcc are under the GPL with the GCC Runtime Library
Exception, which asks for nothing here. The C library and NVIDIA's libraries are the system's, and are not in the program.

The weights that the program reads are not part of it: they are Meta's, under the SAM License.
"""


def linked(target):
    """The crates that are linked into the program, as cargo's records: those below it but for builds, tests and macros."""
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", target]
    command += ["--manifest-path", ROOT / "crates/sam3-cli/Cargo.toml", "--features", "cuda,manual"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

    def is_macro(package):
        return any("proc-macro" in part["kind"] for part in packages[package]["targets"])

    root = next(package for package in packages if packages[package]["name"] == "sam3-cli")
    reached, ahead = set(), [root]
    while ahead:
        package = ahead.pop()
        if package in reached or is_macro(package):
            continue
        reached.add(package)
        ahead += [edge["pkg"] for edge in nodes[package]["deps"] if any(kind["kind"] is None for kind in edge["dep_kinds"])]
    found = [packages[package] for package in reached if packages[package]["source"]]
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def is_permissive(expression):
    """Whether one of the alternatives of an SPDX expression asks for no more than its text."""
    alternatives = re.split(r"\bOR\b|/", expression.replace("(", " ").replace(")", " "))
    words = [re.findall(r"[A-Za-z0-9.-]+", alternative) for alternative in alternatives]
    allowed = [part and all(word in PERMISSIVE or word in ("AND", "WITH", "LLVM-exception") for word in part) for part in words]
    # Of `A AND (B OR C)` no part may be one that is not allowed.
    return all(allowed) if "AND" in expression else any(allowed)


def texts(package):
    """The licences that come with a crate; of a folder of fonts, those beside the fonts."""
    folder = Path(package["manifest_path"]).parent
    named = [folder / package["license_file"]] if package["license_file"] else []
    files = [path for path in [*folder.iterdir(), *folder.glob("fonts/*")] if FILES.match(path.name) and path.is_file()]
    return [path.read_text(errors="replace").strip() for path in sorted({path.resolve() for path in named + files})]


def document(target):
    crates = linked(target)
    out = [HEAD]
    for package in crates:
        place = package["repository"] or package["homepage"] or ""
        out.append(f"{package['name']} {package['version']}: {package['license'] or 'see its text'}  {place}".rstrip())
    without = [f"{package['name']} {package['version']}" for package in crates if not texts(package)]
    if without:
        out.append(f"\n{', '.join(without)}: no text comes with these; of their licences, Apache-2.0, as below for sam3, is taken.")
    by_text = {}
    for title, path in (("sam3: MIT", "LICENSE-MIT"), ("sam3: Apache-2.0", "LICENSE-APACHE"), ("what else is in sam3", "THIRD_PARTY.md")):
        by_text.setdefault((ROOT / path).read_text().strip(), []).append(title)
    for package in crates:
        for text in texts(package):
            names = by_text.setdefault(text, [])
            name = f"{package['name']} {package['version']}"
            if name not in names:
                names.append(name)
    for text, names in by_text.items():
        out.append("\n" + "=" * 100 + "\n" + ", ".join(names) + "\n" + "=" * 100 + "\n\n" + text)
    return "\n".join(out) + "\n"


def check():
    bad = set()
    for target in TARGETS:
        crates = linked(target)
        print(f"{target}: {len(crates)} crates are linked")
        bad |= {f"{c['name']} {c['version']}: {c['license']}" for c in crates if not is_permissive(c["license"] or "")}
        bad |= {f"{c['name']} has no text" for c in crates if not texts(c) and "Apache-2.0" not in (c["license"] or "")}
    for line in sorted(bad):
        print(f"not to be passed on so: {line}")
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=TARGETS, default=TARGETS[0])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.check:
        sys.exit(check())
    sys.stdout.write(document(args.target))


if __name__ == "__main__":
    main()
