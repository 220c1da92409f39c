"""Many clients at once at `sam3 serve`, some of them rude; every answer is compared with that of `sam3 segment`, `click` or
`track`:

    python tools/serve/load.py target/release/sam3 [SECONDS] [CLIENTS]

Fails on a wrong answer, on a status of 500 and above but 503, and where memory does not come back.

    python tools/serve/load.py target/release/sam3 --overhead

is one client with one connection that is kept: what a request takes beside the times that its answer tells of the model,
in which the picture's decoding is.
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

GOLDENS = Path(__file__).resolve().parents[2] / "crates/sam3-model/tests/goldens/tracker"
# What a process may keep beside what it had before, in bytes.
KEPT = 20 << 20
PROMPTS = ["boat", "buoy", "red car"]
POINT, FRAMES = [120.016, 92.676], 8
# A video that nobody sends anything for is dropped while the others go on.
IDLE = 4
HOW = ["--device", "cpu", "--compute", "f32"]


def printed(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Server:
    """`sam3 serve` of one model, its port, and what it had of memory."""

    def __init__(self, binary, model):
        command = [binary, "serve", "--json", "--quiet", "--listen", "127.0.0.1:0", "--video-idle", str(IDLE), *HOW, "--checkpoint-path", model]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(json.loads(self.process.stdout.readline())["url"].rsplit(":", 1)[1])
        self.before = None

    def resident(self):
        """The process's own memory, without mapped files."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))

    def wait(self):
        """Until the model is loaded."""
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
            connection.request("GET", "/ready")
            status = connection.getresponse().status
            connection.close()
            if status == 200:
                return
            time.sleep(0.05)

    def end(self):
        self.process.terminate()
        return self.process.wait(30)


def kept_connection(port, path, picture, seconds):
    """Times of requests on one connection that is kept, in milliseconds, each with its answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    asked, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        start = time.perf_counter()
        if picture:
            connection.request("POST", path, picture, {"Content-Type": "image/png"})
        else:
            connection.request("GET", path)
        answer = connection.getresponse()
        content = answer.read()
        asked.append(((time.perf_counter() - start) * 1e3, content))
        if answer.status != 200:
            sys.exit(f"{path}: {answer.status} {content[:200]}")
    connection.close()
    return asked


def summary(times):
    times = sorted(times)
    return f"median {statistics.median(times):6.2f} ms, p99 {times[int(len(times) * 0.99)]:6.2f} ms"


def overhead(binary, folder):
    server = Server(binary, f"{folder}/desktop/model.safetensors")
    try:
        server.wait()
        scene = Path(f"{folder}/scene.png").read_bytes()
        path = "/v1/segment?prompt=boat"
        kept_connection(server.port, path, scene, 2)
        asked = kept_connection(server.port, path, scene, 15)
        signs = kept_connection(server.port, "/health", None, 2)
    finally:
        server.end()
    told = [json.loads(content)["timings"] for _, content in asked]
    told = [sum(timings[name] for name in ("encode_ms", "text_ms", "detect_ms", "masks_ms")) for timings in told]
    print(f"{len(asked)} requests      {summary([took for took, _ in asked])}")
    print(f"told of the model {summary(told)}")
    print(f"beside it         {summary([took - own for (took, _), own in zip(asked, told)])}")
    print(f"GET /health       {summary([took for took, _ in signs])}")


class Expected:
    """What the commands find: of each text in the demo's scene, of a click in a picture, of a click through a video."""

    def __init__(self, binary, folder):
        out = ["--quiet", "--json", "--output", f"{folder}/out", *HOW]
        self.demo, self.scene = f"{folder}/desktop/model.safetensors", Path(f"{folder}/scene.png").read_bytes()
        self.mini, self.picture = str(GOLDENS / "mini.pt"), (GOLDENS / "picture.png").read_bytes()
        self.frames = [(GOLDENS / f"video/{number:02}.png").read_bytes() for number in range(FRAMES)]
        found = json.loads(printed([binary, "segment", "--image", f"{folder}/scene.png", "--prompt", ",".join(PROMPTS), "--checkpoint-path", self.demo, *out]))
        self.prompts = {}
        for own in found["prompts"]:
            # Each is asked for alone, so ids begin with 1.
            instances = [{**instance, "id": number} for number, instance in enumerate(own["instances"], 1)]
            self.prompts[own["prompt"]] = [{**own, "instances": instances}]
        point = ["--point", ",".join(map(str, POINT)), "--checkpoint-path", self.mini]
        self.clicked = json.loads(printed([binary, "click", "--image", GOLDENS / "picture.png", *point, *out]))["objects"][0]["instances"]
        lines = printed([binary, "track", "--source", GOLDENS / "video", "--max-frames", str(FRAMES), *point, *out]).splitlines()
        self.followed = [json.loads(line)["objects"] for line in lines]
        assert len(self.followed) == FRAMES and all(self.followed)


class Load:
    """Clients of both servers, what they got, and how long it took."""

    def __init__(self, texts, clicks, expected, seconds):
        self.texts, self.clicks, self.expected = texts, clicks, expected
        self.end = time.monotonic() + seconds
        self.statuses = collections.Counter()
        self.times = collections.defaultdict(list)
        self.wrong = []

    def ask(self, server, method, path, body=None, kind="application/json"):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
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

    def compare(self, what, found, expected):
        if found != expected:
            self.wrong.append(f"{what}: {str(found)[:300]}")

    def polite(self, chance):
        prompt = chance.choice(PROMPTS)
        status, content = self.ask(self.texts, "POST", f"/v1/segment?prompt={prompt.replace(' ', '%20')}", self.expected.scene, "image/png")
        if status == 200:
            self.compare(prompt, json.loads(content)["prompts"], self.expected.prompts[prompt])

    def image(self, server, picture):
        status, content = self.ask(server, "POST", "/v1/images", picture, "image/png")
        return f"/v1/images/{json.loads(content)['id']}" if status == 201 else None

    def encoded(self, chance):
        image = self.image(self.texts, self.expected.scene)
        if not image:
            return
        for prompt in chance.sample(PROMPTS, 2):
            status, content = self.ask(self.texts, "POST", f"{image}/segment", json.dumps({"prompts": [prompt]}))
            if status == 200:
                self.compare(prompt, json.loads(content)["prompts"], self.expected.prompts[prompt])
        self.ask(self.texts, "DELETE", image)

    def clicking(self, chance):
        image = self.image(self.clicks, self.expected.picture)
        if not image:
            return
        for _ in range(chance.randrange(1, 4)):
            status, content = self.ask(self.clicks, "POST", f"{image}/click", json.dumps({"objects": [{"points": [POINT]}]}))
            if status == 200:
                self.compare("click", json.loads(content)["objects"][0]["instances"], self.expected.clicked)
        self.ask(self.clicks, "DELETE", image)

    def following(self, chance):
        """A video to its end, or left in the middle."""
        status, content = self.ask(self.clicks, "POST", "/v1/videos", json.dumps({"frames": 24}))
        if status != 201:
            return time.sleep(0.1)
        video = f"/v1/videos/{json.loads(content)['id']}"
        objects = json.dumps({"objects": [{"points": [POINT]}]})
        for number in range(chance.choice([3, FRAMES, FRAMES])):
            body, kind = self.expected.frames[number], "image/png"
            if number == 0:
                part = b'--edge\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
                fields = [(b"image", body), (b"objects", json.dumps(json.loads(objects)["objects"]).encode())]
                body, kind = b"".join(part % field for field in fields) + b"--edge--\r\n", "multipart/form-data; boundary=edge"
            status = 429
            # A frame that found no place in the queue is not counted.
            while status in (429, 503):
                status, content = self.ask(self.clicks, "POST", f"{video}/frames", body, kind)
            if status != 200:
                return
            frames = json.loads(content)["frames"]
            self.compare(f"frame {number}", [(own["frame"], own["objects"]) for own in frames], [(number, self.expected.followed[number])])
        if number == FRAMES - 1:
            self.ask(self.clicks, *chance.choice([("DELETE", video), ("POST", f"{video}/finish")]))

    def damaged(self, chance):
        picture = bytearray(self.expected.scene)
        for _ in range(20):
            picture[chance.randrange(len(picture))] = chance.randrange(256)
        self.ask(self.texts, "POST", "/v1/segment?prompt=boat", bytes(picture[: chance.randrange(len(picture))]), "image/png")

    def cut_off(self, chance):
        scene = self.expected.scene
        head = f"POST /v1/segment?prompt=boat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(scene)}\r\n\r\n"
        sent = head.encode() + scene
        with socket.create_connection(("127.0.0.1", self.texts.port)) as stream:
            stream.sendall(sent[: chance.choice([10, 200, len(sent) // 2, len(sent)])])
            time.sleep(chance.random() * 0.05)

    def slow(self, chance):
        with socket.create_connection(("127.0.0.1", self.texts.port)) as stream:
            for byte in b"GET /health HTTP/1.1\r\nHost: localhost\r\n"[: chance.randrange(40)]:
                stream.sendall(bytes([byte]))
                time.sleep(0.02)

    def looks(self, chance):
        server = chance.choice([self.texts, self.clicks])
        self.ask(server, "GET", chance.choice(["/health", "/ready", "/metrics", "/v1/info", "/openapi.json", "/"]))

    def client(self, number):
        chance = random.Random(number)
        kinds = [self.polite, self.polite, self.encoded, self.clicking, self.following, self.damaged, self.cut_off, self.slow, self.looks]
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

    def one_client(self, kinds):
        """Each in turn until the end."""
        chance = random.Random(0)
        while time.monotonic() < self.end:
            for kind in kinds:
                kind(chance)


def main():
    binary = sys.argv[1]
    if "--overhead" in sys.argv:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([binary, "demo", "--quiet", "--output", folder], check=True, stdout=subprocess.DEVNULL)
            return overhead(binary, folder)
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 15
    clients = int(sys.argv[3]) if len(sys.argv) > 3 else 64
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([binary, "demo", "--quiet", "--output", folder], check=True, stdout=subprocess.DEVNULL)
        expected = Expected(binary, folder)
        servers = texts, clicks = Server(binary, expected.demo), Server(binary, expected.mini)
        try:
            load = Load(texts, clicks, expected, seconds)
            for server in servers:
                server.wait()
            alone = Load(texts, clicks, expected, 3)
            alone.one_client([alone.polite, alone.encoded, alone.clicking, alone.following])
            time.sleep(IDLE + 3)
            for server in servers:
                server.before = server.resident()
            load.end = time.monotonic() + seconds
            load.statuses.clear()
            load.run(clients)
            time.sleep(13)
            kept = [(server.before, server.resident()) for server in servers]
            videos = json.loads(load.ask(clicks, "GET", "/v1/info")[1])["videos"]["videos"]
        finally:
            codes = [server.end() for server in servers]
    for route, times in sorted(load.times.items()):
        times.sort()
        print(f"{route:14} {len(times):6} answers, median {statistics.median(times) * 1e3:7.1f} ms, p99 {times[int(len(times) * 0.99)] * 1e3:7.1f} ms")
    for route in ("segment", "click", "frames"):
        print(f"one client     {statistics.median(alone.times[route]) * 1e3:7.1f} ms {route}")
    print("statuses", dict(sorted(load.statuses.items(), key=str)))
    wrong = alone.wrong + load.wrong
    for (before, after), code in zip(kept, codes):
        print(f"own memory {before >> 20} MB before, {after >> 20} MB after; exit code {code}")
        if after > before + KEPT:
            wrong.append(f"{(after - before) >> 20} MB did not come back")
        if code != 0:
            wrong.append(f"exit code {code}")
    if videos:
        wrong.append(f"{videos} videos that nobody asks about are still there")
    for route in ("segment", "click", "frames"):
        if not load.times[route]:
            wrong.append(f"{route}: nothing was answered")
    print("\n".join(wrong[:20]) or "no wrong answer")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
