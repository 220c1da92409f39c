"""Packages: written, verified, and the damaged one told."""

from pathlib import Path

import pytest

import sam3_edge


def test_a_package_is_written_verified_and_finds_the_same(checkpoint, scene, model, tmp_path):
    output = tmp_path / "small.pth"
    files = sam3_edge.package(checkpoint, output, quantize="fp16")
    assert [Path(file).name for file in files] == ["small.pth", "small_metadata.json", "small.tar.gz"]
    tensors = sam3_edge.verify(output)
    assert tensors > 100 and sam3_edge.verify(tmp_path / "small.tar.gz") == tensors
    packaged = sam3_edge.Model(output, device="cpu", compute="f32")
    assert len(packaged.segment(scene, "boat")) == len(model.segment(scene, "boat")) == 3
    with pytest.raises(sam3_edge.Sam3Error, match="exists"):
        sam3_edge.package(checkpoint, output)
    sam3_edge.package(checkpoint, output, quantize="int8", tarball=False, force=True)
    data = bytearray(output.read_bytes())
    data[len(data) // 2] ^= 0xFF
    output.write_bytes(data)
    with pytest.raises(sam3_edge.Sam3Error):
        sam3_edge.verify(output)
    with pytest.raises(sam3_edge.VerificationError):
        sam3_edge.verify(checkpoint)
    with pytest.raises(ValueError, match="fp16"):
        sam3_edge.package(checkpoint, tmp_path / "x.pth", quantize="int4")
