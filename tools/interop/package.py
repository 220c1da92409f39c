"""Checks that what `sam3 package` writes is what Python's tools expect.

    cargo build --release && python tools/interop/package.py --binary target/release/sam3

For the `odd` miniature as an official `.pt` (with a tracker), packages fp16 as `.pth` and `.safetensors` and asserts
that

- `torch.load(weights_only=True)`, with and without `mmap=True`, opens the `.pth`; names, order and shapes are the source's,
  complex buffers are untouched, and each tensor equals the source's fp32 or its fp16 cast bit for bit;
- matrices, convolutions and token embeddings are fp16, one-dimensional tensors fp32;
- `safetensors.torch.load_file` gives the same tensors;
- `tarfile` reads the archive, also through `zstandard`, and the metadata beside the package and the digests in it agree with
  the files;
- `compressed_tensors` reads the `quantization_config` of an int8 package, and dequantises it to what
  `sam3 package --quantize none` makes of it, half a step from the source at most;
- packaging the same input twice gives the same `.pth` tensors, byte for byte;
- a package with the whole precision kept (`--quantize none`) equals its source.
"""

import argparse
import contextlib
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import torch
import zstandard
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig
from compressed_tensors.quantization.lifecycle.forward import dequantize
from safetensors.torch import load_file

TOOLS = Path(__file__).resolve().parent.parent
INT8 = QuantizationArgs(num_bits=8, type="int", strategy="channel", symmetric=True)


def package(binary, source, output, precision, *flags):
    """Runs `sam3 package` and returns its metadata."""
    words = [binary, "package", "--checkpoint-path", source, "--output", output, "--quantize", precision, "-q", *flags]
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
    return json.loads(output.with_name(f"{output.stem}_metadata.json").read_text())


def check_cast(name, found, source):
    """A complaint, or None, about one fp16-packaged tensor."""
    if found.shape != source.shape:
        return f"{name}: shape {tuple(found.shape)}, expected {tuple(source.shape)}"
    wanted = source if found.dtype == source.dtype else source.half()
    if found.dtype != wanted.dtype or not torch.equal(found, wanted):
        return f"{name}: {found.dtype}, not the source's value or its fp16 cast"
    heavy = name.endswith(("token_embedding.weight", "qkv.weight", "in_proj_weight", "fc1.weight", "conv_3x3.weight"))
    if (heavy and found.dtype != torch.float16) or (source.dim() == 1 and found.dtype != torch.float32):
        return f"{name}: stored as {found.dtype}"
    return None


def check_pth(path, source):
    """Complaints about an fp16 `.pth`."""
    state = torch.load(path, weights_only=True)
    mapped = torch.load(path, weights_only=True, mmap=True)
    if list(state) != list(source):
        return [f"{path.name}: names or their order differ from the source's"]
    complaints = [check_cast(name, state[name], tensor) for name, tensor in source.items()]
    complaints += [f"{name}: differs under mmap" for name in state if not torch.equal(state[name], mapped[name])]
    return [c for c in complaints if c]


def check_safetensors(path, source):
    """Complaints about an fp16 `.safetensors`."""
    tensors = load_file(path)
    complaints = [f"{path.name}: lacks {name}" for name in sorted(set(source) - set(tensors))]
    complaints += [check_cast(name, tensors[name], source[name]) for name in source if name in tensors]
    return [c for c in complaints if c]


def check_int8(path, restored, source, metadata):
    """Complaints about an int8 package: `restored` is the same package as floats, by sam3 itself."""
    config = QuantizationConfig.model_validate(metadata["config"]["quantization_config"])
    (group,) = config.config_groups.values()
    state, floats = (torch.load(file, weights_only=True) for file in (path, restored))
    weights = [name for name, tensor in state.items() if tensor.dtype == torch.int8]
    complaints = [] if weights else [f"{path.name}: no int8 weight in it"]
    if group.weights != INT8:
        complaints.append(f"{path.name}: its quantization_config says {group.weights}")
    if group.targets != [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]:
        complaints.append(f"{path.name}: its quantization_config names other modules than those that are int8")
    for name in weights:
        scale = state[f"{name}_scale"]
        values = dequantize(state[name], scale, args=INT8)
        if not torch.equal(values, floats[name]):
            complaints.append(f"{name}: compressed_tensors and sam3 dequantise it differently")
        # Half a step, and what f32 rounds.
        if ((values - source[name]).abs() > scale * 0.5001).any():
            complaints.append(f"{name}: more than half a step from the source")
    return complaints


@contextlib.contextmanager
def opened(archive):
    """The tar in a `.tar.gz` or `.tar.zst`."""
    if archive.suffix == ".gz":
        with tarfile.open(archive) as tar:
            yield tar
    else:
        with open(archive, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as out:
            data = io.BytesIO(out.read())
        with tarfile.open(fileobj=data) as tar:
            yield tar


def check_archive(package_path, suffix):
    """Complaints about the archive beside a package: members, and that they are the files beside it."""
    complaints = []
    archive = package_path.with_name(f"{package_path.stem}{suffix}")
    with opened(archive) as tar:
        members = {
            member.name: hashlib.sha256(tar.extractfile(member).read()).hexdigest() for member in tar if member.isfile()
        }
    for file in (package_path, package_path.with_name(f"{package_path.stem}_metadata.json")):
        name = next((member for member in members if Path(member).name == file.name), None)
        if name is None:
            complaints.append(f"{archive.name}: lacks {file.name}, has {sorted(members)}")
        elif members[name] != hashlib.sha256(file.read_bytes()).hexdigest():
            complaints.append(f"{archive.name}: {name} differs from the file beside it")
    return complaints


def check_digests(path, metadata):
    """Complaints about the digests in the metadata: every tensor's SHA-256 occurs in it."""
    text = json.dumps(metadata)
    state = torch.load(path, weights_only=True)
    lacking = []
    for name, tensor in state.items():
        digest = hashlib.sha256(tensor.contiguous().reshape(-1).view(torch.uint8).numpy()).hexdigest()
        if digest not in text:
            lacking.append(name)
    return [f"metadata: no SHA-256 of the {len(lacking)} tensors such as {lacking[0]}"] if lacking else []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=Path, default=TOOLS.parent / "target/release/sam3")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        pt = folder / "sam3.pt"
        command = [sys.executable, TOOLS / "checkpoints.py", "--config", "odd", "--tracker", "--with-config"]
        subprocess.run([*command, "--output", pt], check=True)
        source = torch.load(pt, weights_only=True)

        half = folder / "half.pth"
        metadata = package(args.binary, pt, half, "fp16")
        complaints = check_pth(half, source) + check_archive(half, ".tar.gz") + check_digests(half, metadata)
        again = folder / "again.pth"
        package(args.binary, pt, again, "fp16")
        first, second = (torch.load(path, weights_only=True) for path in (half, again))
        complaints += [
            f"{name}: differs in a second run" for name in first if not torch.equal(first[name], second[name])
        ]

        tensors = folder / "tensors.safetensors"
        package(args.binary, pt, tensors, "fp16", "--archive", "zst")
        complaints += check_safetensors(tensors, source) + check_archive(tensors, ".tar.zst")

        int8, restored = folder / "int8.pth", folder / "restored.pth"
        metadata = package(args.binary, pt, int8, "int8")
        package(args.binary, int8, restored, "none")
        complaints += check_int8(int8, restored, source, metadata)

        whole = folder / "whole.pth"
        package(args.binary, pt, whole, "none")
        state = torch.load(whole, weights_only=True)
        complaints += [
            f"{name}: --quantize none changed it" for name in source if not torch.equal(state[name], source[name])
        ]
    for complaint in complaints[:10]:
        print(f"FAIL {complaint}")
    print(
        f"{len(complaints)} complaints"
        if complaints
        else f"the packages of {len(source)} tensors are as Python expects"
    )
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
