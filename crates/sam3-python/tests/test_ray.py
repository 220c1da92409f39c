"""Ray Data on a cluster of two nodes of this machine: every row once, as of a single process, whoever is killed."""

import os
import random
import signal
import subprocess
import sys
import threading
import time

import pytest

ray = pytest.importorskip("ray")

import sam3_edge.ray  # noqa: E402

PICTURES = int(os.environ.get("SAM3_RAY_PICTURES", "200"))


@pytest.fixture(scope="module")
def pictures(scene, tmp_path_factory):
    """Crops of the scene of different sizes, and one that is no picture."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    whole, random_ = Image.open(scene).convert("RGB"), random.Random(7)
    for index in range(PICTURES):
        x, y = random_.randrange(200), random_.randrange(200)
        side = random_.randrange(300, 460)
        whole.crop((x, y, x + side, y + side)).save(folder / f"{index:05}.jpg")
    (folder / "bad.jpg").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1))
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def actors():
    """Processes of actors."""
    found = subprocess.run(["pgrep", "-f", r"ray::.*Segment"], stdout=subprocess.PIPE, text=True).stdout
    return [int(pid) for pid in found.split()]


def kill_one(killed):
    """Kills an actor once some are at work."""
    for _ in range(600):
        time.sleep(0.1)
        if pids := actors():
            time.sleep(2)
            os.kill(pids[0], signal.SIGKILL)
            killed.append(pids[0])
            return


def test_every_picture_once_though_an_actor_is_killed(cluster, pictures, checkpoint, model):
    paths = sorted(str(path) for path in pictures.iterdir())
    ds = ray.data.from_items([dict(path=path, number=number) for number, path in enumerate(paths)]).repartition(20)
    killed = []
    killer = threading.Thread(target=kill_one, args=[killed])
    killer.start()
    rows = sam3_edge.ray.segment_dataset(
        ds, checkpoint, ["boat", "circle"], threads=1, actors=2, compute="f32", batch_size=4
    ).take_all()
    killer.join()
    assert killed, "no actor was found"
    assert sorted(row["path"] for row in rows) == paths
    assert all(row["path"] == paths[row["number"]] for row in rows)
    failed = [row for row in rows if row["error"]]
    assert [os.path.basename(row["path"]) for row in failed] == ["bad.jpg"] and "bad.jpg" in failed[0]["error"]
    for row in random.Random(1).sample([row for row in rows if not row["error"]], min(50, PICTURES)):
        expected = model.segment(row["path"], ["boat", "circle"])
        assert row["labels"] == expected.labels
        assert row["rle_counts"] == [rle["counts"] for rle in expected.rle()]
        assert row["scores"] == expected.scores.tolist()


def test_a_folder_goes_on_after_a_kill(pictures, checkpoint, tmp_path):
    import json

    command = [sys.executable, "-m", "sam3_edge.batch", pictures, tmp_path / "out", "--checkpoint", checkpoint]
    command += ["--prompt", "boat", "--threads", "1", "--actors", "1", "--compute", "f32", "--part", "16"]
    command = [str(word) for word in command]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = tmp_path / "out"
    for _ in range(1200):
        time.sleep(0.1)
        if len(list(parts.glob("part-*.parquet"))) >= 2:
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = {part: part.stat().st_mtime_ns for part in parts.glob("part-*.parquet")}
    assert len(before) >= 2
    said = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert "0 of them done before" not in said
    assert all(part.stat().st_mtime_ns == time_ for part, time_ in before.items()), "finished parts stay"
    coco = json.loads((parts / "coco.json").read_text())
    assert len(coco["images"]) == PICTURES and "1 that failed" in said
    assert [image["file_name"] for image in coco["images"]] == sorted(str(path) for path in pictures.glob("0*.jpg"))
    other = subprocess.run([*command, "--threshold", "0.4"], env=environment, stderr=subprocess.PIPE, text=True)
    assert other.returncode == 1 and "other settings" in other.stderr
