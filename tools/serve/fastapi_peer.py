"""The demo's miniature by transformers behind FastAPI, as one would write it, and `sam3 serve` beside it:

    pip install --target /tmp/fastapi fastapi uvicorn
    PYTHONPATH=/tmp/fastapi ~/.cache/sam3-ci/venv/bin/python tools/serve/fastapi_peer.py target/release/sam3

Both get the same PNG and the same text from the same clients, in turns, and answer boxes, scores and COCO's run lengths; the
text is encoded once. One process with two threads of PyTorch; a lock before the model, as the threads of two requests would
be in each other's way. Prints requests a second, median and p99; fails where the two do not find the same.
"""

import functools
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TOOLS), str(TOOLS / "demo_model"), str(TOOLS / "serve")]

PORT, ROUNDS, SECONDS, THREADS = 7871, 3, 5, 2
PATH = "/v1/segment?prompt=boat"
# Pixels of a box and parts of a score by which the two may differ: each rounds and resizes for itself.
PIXELS, SCORE = 2, 0.02


def peer():
    """The FastAPI application."""
    import numpy as np
    import torch
    from evaluate import read
    from fastapi import FastAPI, Request
    from fastapi.concurrency import run_in_threadpool
    from PIL import Image
    from pycocotools import mask as coco

    import reference
    import scenes

    torch.set_num_threads(THREADS)
    model, lock, app = read(TOOLS.parent / "crates/sam3-cli/assets/demo"), threading.Lock(), FastAPI()

    @functools.cache
    def encoded(prompt):
        ids = torch.tensor([scenes.token_ids(prompt.split())])
        return ids, reference.encode_text(model, ids)

    @torch.inference_mode()
    def find(picture, prompt):
        image = Image.open(io.BytesIO(picture)).convert("RGB")
        size = (image.height, image.width)
        seen = image.resize((scenes.SIZE, scenes.SIZE), Image.Resampling.BILINEAR)
        with lock:
            ids, text = encoded(prompt)
            pixels = reference.normalise(torch.from_numpy(np.array(seen)))
            found = reference.ground(model, *reference.encode_image(model, pixels), ids, text=text)
            scores = found["pred_logits"][0].sigmoid() * found["presence_logits"][0].sigmoid()
            kept = scores > 0.5
            masks = torch.nn.functional.interpolate(found["pred_masks"][:, kept], size, mode="bilinear")[0] > 0
            boxes = found["pred_boxes"][0][kept] * torch.tensor([size[1], size[0], size[1], size[0]])
        instances = []
        for score, box, mask in zip(scores[kept].tolist(), boxes.tolist(), masks.numpy()):
            lengths = coco.encode(np.asfortranarray(mask, dtype=np.uint8))
            lengths["counts"] = lengths["counts"].decode()
            instances.append(dict(score=score, box=box, area=int(mask.sum()), segmentation=lengths))
        return dict(prompts=[dict(prompt=prompt, instances=instances)])

    @app.post("/v1/segment")
    async def segment(prompt: str, request: Request):
        return await run_in_threadpool(find, await request.body(), prompt)

    @app.get("/ready")
    async def ready():
        return {}

    return app


class Peer:
    """The peer in a process of its own."""

    def __init__(self):
        self.process, self.port = subprocess.Popen([sys.executable, __file__, "--peer"]), PORT

    def wait(self):
        from load import kept_connection

        for _ in range(600):
            try:
                return kept_connection(PORT, "/ready", None, 0.01)
            except OSError:
                time.sleep(0.1)
        sys.exit("the peer does not answer")

    def end(self):
        self.process.terminate()
        self.process.wait(30)


def same(first, second):
    """That two answers have the same objects."""
    first, second = [sorted(json.loads(own)["prompts"][0]["instances"], key=lambda own: own["box"]) for own in (first, second)]
    return len(first) == len(second) > 0 and all(
        abs(one["score"] - other["score"]) < SCORE
        and all(abs(side - other_side) < PIXELS for side, other_side in zip(one["box"], other["box"]))
        for one, other in zip(first, second)
    )


def main():
    from load import Server, kept_connection, summary

    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.argv[1], "demo", "--quiet", "--output", folder], check=True, stdout=subprocess.DEVNULL)
        scene = Path(f"{folder}/scene.png").read_bytes()
        servers = {"sam3 serve": Server(sys.argv[1], f"{folder}/desktop/model.safetensors"), "FastAPI": Peer()}
        try:
            answers = []
            for server in servers.values():
                server.wait()
                answers.append(kept_connection(server.port, PATH, scene, 2)[-1][1])
            if not same(*answers):
                sys.exit("\n".join(["they do not find the same:", *(answer.decode()[:1000] for answer in answers)]))
            for clients in (1, 8):
                asked = {name: [] for name in servers}
                for _ in range(ROUNDS):
                    for name, server in servers.items():
                        with ThreadPoolExecutor(clients) as pool:
                            run = [pool.submit(kept_connection, server.port, PATH, scene, SECONDS) for _ in range(clients)]
                            asked[name] += [took for own in run for took, _ in own.result()]
                for name, times in asked.items():
                    rate = len(times) / ROUNDS / SECONDS
                    print(f"{clients} clients  {name:10}  {rate:6.1f} requests a second, {summary(times)}")
        finally:
            for server in servers.values():
                server.end()


if __name__ == "__main__":
    if sys.argv[1:] == ["--peer"]:
        import uvicorn

        uvicorn.run(peer(), port=PORT, log_level="warning", workers=1)
    else:
        main()
