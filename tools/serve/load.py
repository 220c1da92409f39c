"""Many clients at once at `sam3 serve`, some of them rude; every answer is compared with that of `sam3 segment`:

    python tools/serve/load.py target/release/sam3 [SECONDS] [CLIENTS]

Fails on a wrong answer, on a status of 500 and above but 503, and where memory does not come back.
"""

import collections
import http.client
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

# What the process may keep beside what it had before, in bytes.
KEPT = 20 << 20
PROMPTS = ["boat", "buoy", "red car"]


def resident(pid):
    """The process's own memory, without mapped files."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def without_times(answer):
    """An answer but for what differs between two runs."""
    return {"prompts": answer["prompts"], "sha256": answer["image"]["sha256"]}


class Load:
    """Clients of one server, what they got, and how long it took."""

    def __init__(self, port, scene, expected, seconds):
        self.port, self.scene, self.expected = port, scene, expected
        self.end = time.monotonic() + seconds
        self.statuses = collections.Counter()
        self.times = collections.defaultdict(list)
        self.wrong = []

    def ask(self, method, path, body=None, kind="application/json"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        start = time.monotonic()
        try:
            connection.request(method, path, body, {"Content-Type": kind} if body else {})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        self.statuses[answer.status] += 1
        if answer.status >= 500 and answer.status != 503:
            self.wrong.append(f"{method} {path}: {answer.status} {content[:200]}")
        if answer.status == 200:
            self.times[path.split("?")[0].split("/")[-1]].append(time.monotonic() - start)
        return answer.status, content

    def compare(self, prompt, content):
        if without_times(json.loads(content)) != self.expected[prompt]:
            self.wrong.append(f"{prompt}: {content[:300]}")

    def polite(self, chance):
        prompt = chance.choice(PROMPTS)
        status, content = self.ask("POST", f"/v1/segment?prompt={prompt.replace(' ', '%20')}", self.scene, "image/png")
        if status == 200:
            self.compare(prompt, content)

    def encoded(self, chance):
        status, content = self.ask("POST", "/v1/images", self.scene, "image/png")
        if status != 201:
            return
        name = json.loads(content)["id"]
        for prompt in chance.sample(PROMPTS, 2):
            status, content = self.ask("POST", f"/v1/images/{name}/segment", json.dumps({"prompts": [prompt]}))
            if status == 200:
                self.compare(prompt, content)
        self.ask("DELETE", f"/v1/images/{name}")

    def damaged(self, chance):
        picture = bytearray(self.scene)
        for _ in range(20):
            picture[chance.randrange(len(picture))] = chance.randrange(256)
        self.ask("POST", "/v1/segment?prompt=boat", bytes(picture[: chance.randrange(len(picture))]), "image/png")

    def cut_off(self, chance):
        head = f"POST /v1/segment?prompt=boat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(self.scene)}\r\n\r\n"
        sent = head.encode() + self.scene
        with socket.create_connection(("127.0.0.1", self.port)) as stream:
            stream.sendall(sent[: chance.choice([10, 200, len(sent) // 2, len(sent)])])
            time.sleep(chance.random() * 0.05)

    def slow(self, chance):
        with socket.create_connection(("127.0.0.1", self.port)) as stream:
            for byte in b"GET /health HTTP/1.1\r\nHost: localhost\r\n"[: chance.randrange(40)]:
                stream.sendall(bytes([byte]))
                time.sleep(0.02)

    def looks(self, chance):
        self.ask("GET", chance.choice(["/health", "/ready", "/metrics", "/v1/info", "/openapi.json", "/"]))

    def client(self, number):
        chance = random.Random(number)
        kinds = [self.polite, self.polite, self.encoded, self.damaged, self.cut_off, self.slow, self.looks]
        while time.monotonic() < self.end:
            try:
                chance.choice(kinds)(chance)
            except OSError as error:
                # A request that is refused early is answered before its body is read.
                self.statuses[type(error).__name__] += 1

    def run(self, clients):
        threads = [threading.Thread(target=self.client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def main():
    binary = sys.argv[1]
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 15
    clients = int(sys.argv[3]) if len(sys.argv) > 3 else 64
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([binary, "demo", "--quiet", "--output", folder], check=True, stdout=subprocess.DEVNULL)
        model, scene = f"{folder}/desktop/model.safetensors", Path(f"{folder}/scene.png")
        how = ["--device", "cpu", "--compute", "f32", "--checkpoint-path", model]
        command = [binary, "segment", "--json", "--quiet", "--image", scene, "--prompt", ",".join(PROMPTS), "--output", f"{folder}/out", *how]
        known = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        expected = {}
        for found in known["prompts"]:
            # Each is asked for alone, so ids begin with 1.
            instances = [{**instance, "id": number} for number, instance in enumerate(found["instances"], 1)]
            expected[found["prompt"]] = {"prompts": [{**found, "instances": instances}], "sha256": known["image"]["sha256"]}
        server = subprocess.Popen([binary, "serve", "--json", "--quiet", "--listen", "127.0.0.1:0", *how], stdout=subprocess.PIPE, text=True)
        try:
            port = int(json.loads(server.stdout.readline())["url"].rsplit(":", 1)[1])
            load = Load(port, scene.read_bytes(), expected, seconds)
            while load.ask("GET", "/ready")[0] != 200:
                time.sleep(0.05)
            alone = Load(port, scene.read_bytes(), expected, 2)
            chance = random.Random(0)
            while time.monotonic() < alone.end:
                alone.polite(chance)
            time.sleep(3)
            before = resident(server.pid)
            load.end = time.monotonic() + seconds
            load.statuses.clear()
            load.run(clients)
            time.sleep(13)
            after = resident(server.pid)
            status, _ = load.ask("GET", "/health")
        finally:
            server.terminate()
            code = server.wait(30)
    for route, times in sorted(load.times.items()):
        times.sort()
        print(f"{route:14} {len(times):6} answers, median {statistics.median(times) * 1e3:7.1f} ms, p99 {times[int(len(times) * 0.99)] * 1e3:7.1f} ms")
    print(f"one client     {statistics.median(alone.times['segment']) * 1e3:7.1f} ms a picture")
    print("statuses", dict(sorted(load.statuses.items(), key=str)))
    print(f"own memory {before >> 20} MB before, {after >> 20} MB after; exit code {code}")
    wrong = alone.wrong + load.wrong
    if after > before + KEPT:
        wrong.append(f"{(after - before) >> 20} MB did not come back")
    if code != 0 or status != 200:
        wrong.append(f"exit code {code}, then {status}")
    if not load.statuses[200]:
        wrong.append("nothing was answered")
    print("\n".join(wrong[:20]) or "no wrong answer")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
