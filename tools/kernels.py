"""Compiles the GPU's kernels without a CUDA toolkit and without a GPU, for `SAM3_KERNELS`:

    python tools/kernels.py kernels                    # every card: 80, 86, 87, 89, 90, 110, 120
    python tools/kernels.py kernels --cards 87 90
    SAM3_KERNELS=$PWD/kernels cargo build --release --features cuda

NVIDIA's run-time compiler (NVRTC) comes from PyPI, as `kernels_12.6.txt` and `kernels_13.0.txt` pin it: 25 MB, and 90
MB more for the cards that 12.6 does not know. What 12.6 compiled, any later driver loads, too. The folder gets
MODULE_CARD.cubin, and for cards later than all of these MODULE_90.ptx. Says for each file how many registers its
kernels take; exits with 1 where one spills more than 64 bytes of them to memory. x86-64 Linux.
"""

import argparse
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
KERNELS = TOOLS.parent / "crates/sam3-tensor/kernels"
CARDS = (80, 86, 87, 89, 90, 110, 120)
NEWEST_OF_12 = 90
# A handful of bytes is ptxas trading them for a block more on each multiprocessor.
MOST_SPILLED = 64

# What the kernels want of the C library's headers, which NVRTC does not read.
STDINT = b"""
typedef signed char int8_t; typedef short int16_t; typedef int int32_t; typedef long long int64_t;
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned int uint32_t; typedef unsigned long long uint64_t;
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
"""


def toolchain(version, cache):
    """The compiler's folder, fetched once; pip checks each wheel's SHA-256."""
    pins = TOOLS / f"kernels_{version}.txt"
    folder = cache / f"nvrtc-{version}-{hashlib.sha256(pins.read_bytes()).hexdigest()[:12]}"
    if not folder.is_dir():
        print(f"fetching NVRTC {version} into {folder}", file=sys.stderr)
        fresh = folder.with_name(f"{folder.name}.{os.getpid()}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"]
        pip += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--target", fresh, "-r", pins]
        subprocess.run([str(word) for word in pip], check=True)
        try:
            fresh.rename(folder)
        except OSError:  # Another run was faster.
            shutil.rmtree(fresh)
    return folder


class Compiler:
    """NVRTC of one version."""

    def __init__(self, folder):
        # It looks for its builtins where the system has libraries: opened before, they are found.
        self.builtins = ctypes.CDLL(str(next(folder.rglob("libnvrtc-builtins.so.*"))))
        self.library = ctypes.CDLL(str(next(folder.rglob("libnvrtc.so.*"))))
        self.library.nvrtcGetErrorString.restype = ctypes.c_char_p
        self.includes = sorted({path.parent for path in folder.rglob("cuda_fp16.h")})

    def check(self, status, what):
        if status:
            raise SystemExit(f"{what}: {self.library.nvrtcGetErrorString(status).decode()}")

    def text(self, program, what):
        size = ctypes.c_size_t()
        self.check(getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), what)
        buffer = ctypes.create_string_buffer(size.value)
        self.check(getattr(self.library, f"nvrtcGet{what}")(program, buffer), what)
        return buffer.raw

    def compile(self, source, architecture):
        """The compiled bytes, and what the assembler says of registers."""
        program = ctypes.c_void_p()
        header = (ctypes.c_char_p * 1)(STDINT), (ctypes.c_char_p * 1)(b"stdint.h")
        arguments = ctypes.byref(program), source.read_bytes(), source.name.encode(), 1, *header
        self.check(self.library.nvrtcCreateProgram(*arguments), source.name)
        options = [f"--gpu-architecture={architecture}", "--std=c++17", "--ptxas-options=-v", f"-I{source.parent}"]
        options += [f"-I{path}" for path in self.includes]
        options.append("--pre-include=stdint.h")
        words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        status = self.library.nvrtcCompileProgram(program, len(options), words)
        log = self.text(program, "ProgramLog").rstrip(b"\0").decode()
        if status or "warning" in log:
            raise SystemExit(f"{source.name} for {architecture}:\n{log}")
        kind = "CUBIN" if architecture.startswith("sm_") else "PTX"
        code = self.text(program, kind)
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        return code, log


def write(path, content):
    """Leaves a file alone that holds this already: cargo would compile for its new time."""
    if not path.is_file() or path.read_bytes() != content:
        path.write_bytes(content)


def report(name, card, log):
    """A line about a file's kernels, and whether they keep to their registers."""
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", log)]
    spilled = max([0, *(int(n) for n in re.findall(r"(\d+) bytes spill stores", log))])
    print(f"{name}.cu for sm_{card}: {len(registers)} kernels, at most {max(registers)} registers and {spilled} bytes spilled")
    return spilled <= MOST_SPILLED


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cards", type=int, nargs="+", choices=CARDS, default=CARDS, metavar="CARD")
    parser.add_argument("--cache", type=Path, default=Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sam3-ci")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    args.folder.mkdir(parents=True, exist_ok=True)
    compilers = {}

    def compiler(card):
        version = "12.6" if card <= NEWEST_OF_12 else "13.0"
        if version not in compilers:
            compilers[version] = Compiler(toolchain(version, args.cache))
        return compilers[version]

    keep = True
    for source in sorted(KERNELS.glob("*.cu")):
        name = source.stem
        for card in args.cards:
            code, log = compiler(card).compile(source, f"sm_{card}")
            write(args.folder / f"{name}_{card}.cubin", code)
            keep = report(name, card, log) and keep
        ptx, _ = compiler(NEWEST_OF_12).compile(source, f"compute_{NEWEST_OF_12}")
        write(args.folder / f"{name}_{NEWEST_OF_12}.ptx", ptx)
    sys.exit(0 if keep else 1)


if __name__ == "__main__":
    main()
