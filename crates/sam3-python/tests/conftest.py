"""The demo's trained model and scene, and the program that the wheel's answers are compared with."""

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

import sam3_edge


@pytest.fixture(scope="session")
def program():
    """The `sam3` that came with the wheel."""
    return os.environ.get("SAM3_PROGRAM") or Path(sysconfig.get_path("scripts")) / "sam3"


@pytest.fixture(scope="session")
def demo(program, tmp_path_factory):
    """A folder with the demo's checkpoint, package and scene."""
    folder = tmp_path_factory.mktemp("demo")
    subprocess.run([program, "demo", "--quiet", "--output", folder], check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="session")
def checkpoint(demo):
    return demo / "desktop" / "model.safetensors"


@pytest.fixture(scope="session")
def scene(demo):
    return demo / "scene.png"


@pytest.fixture(scope="session")
def model(checkpoint):
    return sam3_edge.Model(checkpoint, device="cpu", compute="f32", threads=2)


@pytest.fixture(scope="session")
def segment(program, checkpoint, scene, tmp_path_factory):
    """What `sam3 segment` says of the scene, with more flags."""

    def run(*flags):
        command = [program, "segment", "--checkpoint-path", checkpoint, "--image", scene, "--device", "cpu"]
        command += ["--compute", "f32", "--output", tmp_path_factory.mktemp("out"), "--json", "--quiet", *flags]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    return run
