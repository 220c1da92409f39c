"""Makes the packages of crates/sam3-cli/tests/packages/ with the `sam3` of a released version. Needs Python alone.

    python tools/old_packages.py SAM3 VERSION        # SAM3: the binary of that version

The model is the miniature of tools/goldens/make.py, with CLIP's vocabulary in a text encoder of one narrow layer. Every
value is plus or minus its tensor's size, so that an archive of it is small; nothing can be segmented with it, but what
it finds is the same in every version. `expected.json` holds the first version's answer to the test's prompt and
picture.
"""

import argparse
import array
import json
import math
import os
import random
import struct
import subprocess
import tempfile
from pathlib import Path

ODD = Path("crates/sam3-model/tests/goldens/odd")
OUT = Path("crates/sam3-cli/tests/packages")
PICTURE = Path("crates/sam3-cli/assets/demo/scene.png")
TEXT = "text_encoder.text_model."
WIDTH, MLP, CONTEXT, VOCABULARY, MODEL = 8, 16, 32, 49408, 24
# CLIP's start, end, "boat" and "visual".
TOKENS = (49406, 49407, 4440, 7195)


def read(path):
    """Every tensor of a safetensors file of f32: name, shape, values."""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    for name, info in json.loads(data[8 : 8 + size]).items():
        if name != "__metadata__":
            begin, end = info["data_offsets"]
            yield name, info["shape"], array.array("f", data[8 + size + begin : 8 + size + end])


def write(path, tensors):
    """Writes a safetensors file of f32."""
    header, data = {}, b""
    for name, shape, values in tensors:
        begin = len(data)
        data += array.array("f", values).tobytes()
        header[name] = dict(dtype="F32", shape=shape, data_offsets=[begin, len(data)])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def coarse(values):
    """Plus or minus the root of the mean square, as a power of two."""
    mean = sum(value * value for value in values) / len(values)
    size = 2.0 ** round(math.log2(mean) / 2) if mean else 0.0
    return [math.copysign(size, value) for value in values]


def text_encoder():
    """The text encoder's tensors: seeded, and zero in the rows of tokens that no test asks for."""
    seeded = random.Random(1)
    shapes = {
        "embeddings.position_embedding.weight": [CONTEXT, WIDTH],
        "encoder.layers.0.mlp.fc1.weight": [MLP, WIDTH],
        "encoder.layers.0.mlp.fc1.bias": [MLP],
        "encoder.layers.0.mlp.fc2.weight": [WIDTH, MLP],
        "encoder.layers.0.mlp.fc2.bias": [WIDTH],
    }
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes[f"encoder.layers.0.self_attn.{part}.weight"] = [WIDTH, WIDTH]
        shapes[f"encoder.layers.0.self_attn.{part}.bias"] = [WIDTH]
    shapes = {TEXT + name: shape for name, shape in shapes.items()}
    shapes["text_encoder.text_projection.weight"] = [4, WIDTH]
    shapes["text_projection.weight"] = [MODEL, WIDTH]
    shapes["text_projection.bias"] = [MODEL]
    for name, shape in shapes.items():
        yield name, shape, coarse([seeded.gauss(0, 0.5) for _ in range(math.prod(shape))])
    for norm in ("encoder.layers.0.layer_norm1", "encoder.layers.0.layer_norm2", "final_layer_norm"):
        yield f"{TEXT}{norm}.weight", [WIDTH], [1.0] * WIDTH
        yield f"{TEXT}{norm}.bias", [WIDTH], [0.0] * WIDTH
    table = [0.0] * (VOCABULARY * WIDTH)
    for token in TOKENS:
        table[token * WIDTH : (token + 1) * WIDTH] = coarse([seeded.gauss(0, 1) for _ in range(WIDTH)])
    yield f"{TEXT}embeddings.token_embedding.weight", [VOCABULARY, WIDTH], table


def checkpoint(folder):
    """Writes the checkpoint and its config."""
    others = [(name, shape, coarse(values)) for name, shape, values in read(ODD / "model.safetensors") if not
              name.startswith(("text_encoder.", "text_projection."))]
    write(folder / "model.safetensors", [*others, *text_encoder()])
    config = json.loads((ODD / "config.json").read_text())
    config["text_config"].update(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=MLP, projection_dim=4, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=CONTEXT, bos_token_id=49406, eos_token_id=49407,
    )
    (folder / "config.json").write_text(json.dumps(config))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sam3", type=Path, help="the binary of that version")
    parser.add_argument("version", help="the folder's name")
    args = parser.parse_args()
    folder = OUT / args.version
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}

    def run(*arguments):
        command = [args.sam3.resolve(), *map(str, arguments)]
        return subprocess.run(command, check=True, env=environment, capture_output=True, text=True).stdout

    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        checkpoint(work)
        packages = {"fp16": ["--quantize", "fp16"], "int8": ["--quantize", "int8"]}
        packages["baked"] = ["--quantize", "fp16", "--components", "image", "--bake-prompts", "boat"]
        expected = {}
        for name, flags in packages.items():
            package = work / f"{name}.pth"
            run("package", "--checkpoint-path", work / "model.safetensors", "--output", package, *flags)
            (folder / f"{name}.tar.gz").write_bytes((work / f"{name}.tar.gz").read_bytes())
            asked = ["--image", PICTURE, "--prompt", "boat", "--threshold", "0", "--compute", "f32", "--device", "cpu"]
            found = run("segment", "--json", "--checkpoint-path", package, *asked, "--output", work / "out")
            prompt = json.loads(found)["prompts"][0]
            expected[name] = dict(
                presence=prompt["presence"],
                instances=[{key: one[key] for key in ("score", "box", "area")} for one in prompt["instances"]],
            )
        (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
