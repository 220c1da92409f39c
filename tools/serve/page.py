"""Uses the page of `sam3 serve` in a real browser, and fails where something is not as it should be:

    python tools/serve/page.py target/release/sam3 [FOLDER FOR SCREENSHOTS]

Needs Playwright from PyPI and Debian's `chromium` (or CHROMIUM=path).
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image
from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "crates/sam3-model/tests/goldens/tracker"
TOKEN = "correct-horse-battery"
# What the tracker's miniature finds much of.
WORDS = "av ct j hb f"
# Milliseconds for twenty masks at 3840 x 2160: several times what they take on two cores without a GPU.
DRAWN, MADE = 200, 2000


def serve(binary, checkpoint, *flags):
    """A server on a free port, and its address."""
    command = [binary, "serve", "--json", "--quiet", "--listen", "127.0.0.1:0", "--device", "cpu", "--checkpoint-path", checkpoint, *flags]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    url = json.loads(server.stdout.readline())["url"]
    # Until the model is loaded the page gets 503, which the browser counts as an error.
    while subprocess.run(["curl", "-sf", f"{url}/ready"], stdout=subprocess.DEVNULL).returncode:
        assert server.poll() is None, "the server ended"
        time.sleep(0.05)
    return server, url


class Page:
    """A page with what it complained about, and which other hosts it asked."""

    def __init__(self, browser, url, **options):
        self.page = browser.new_page(viewport={"width": 1280, "height": 800}, **options)
        self.faults = []
        self.page.on("console", lambda message: self.faults.append(message.text) if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: None if request.url.startswith((url, "blob:", "data:")) else self.faults.append(request.url))
        self.requests = []
        self.page.on("request", lambda request: self.requests.append(f"{request.method} {request.url.removeprefix(url)}"))
        self.page.goto(url)

    def asked(self, part):
        return sum(part in request for request in self.requests)

    def done(self):
        assert not self.faults, self.faults
        self.page.close()


def says(page, words):
    expect(page.locator("#status")).to_have_text(re.compile(words))


def rows(page, count):
    expect(page.locator("#instances li")).to_have_count(count)


def ellipse(width, height, centre, radii):
    """A mask as COCO's compressed run lengths."""
    counts, outside = [], 0
    for x in range(width):
        share = 1 - ((x - centre[0]) / radii[0]) ** 2
        half = int(radii[1] * share**0.5) if share > 0 else 0
        top, bottom = max(0, centre[1] - half), min(height, centre[1] + half)
        if half:
            counts += [outside + top, bottom - top]
            outside = height - bottom
        else:
            outside += height
    counts.append(outside)
    text = ""
    for at, value in enumerate(counts):
        value -= counts[at - 2] if at > 2 else 0
        is_last = False
        while not is_last:
            bits, value = value & 31, value >> 5
            is_last = value == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if is_last else 32))
    return {"size": [height, width], "counts": text}


def large(browser, url):
    """Twenty masks on a picture of 3840 x 2160: no pause when they come, and none when they are drawn again."""
    own = Page(browser, url)
    masks = [ellipse(3840, 2160, (300 + 170 * i, 400 + 65 * i), (280, 350)) for i in range(20)]
    took = own.page.evaluate(
        """async (segmentations) => {
          const { View, colourOf, rgb } = await import('/page/view.js');
          const { decode, paint } = await import('/page/mask.js');
          const [canvas, holder] = [document.createElement('canvas'), document.createElement('div')];
          Object.assign(canvas, { width: 3840, height: 2160 });
          holder.append(canvas);
          canvas.getContext('2d', { willReadFrequently: true });
          const view = new View(canvas);
          view.bitmap = await createImageBitmap(new ImageData(3840, 2160));
          const start = performance.now();
          const instances = segmentations.map((segmentation, key) => {
            const mask = decode(segmentation);
            return { key, mask, painted: paint(mask, rgb(colourOf(key)), 5) };
          });
          const made = performance.now() - start;
          view.scene = { instances, points: [], boxes: [], lit: null };
          const drawn = Array.from({ length: 15 }, () => {
            const start = performance.now();
            view.paint(view.context, 1, true);
            view.context.getImageData(0, 0, 1, 1);
            return performance.now() - start;
          });
          const area = instances.reduce((sum, { mask }) => sum + mask.bits.reduce((own, bit) => own + bit, 0), 0);
          return { made, drawn: drawn.sort((a, b) => a - b)[7], area, lit: view.at({ x: 300, y: 400 }).key };
        }""",
        masks,
    )
    assert abs(took["area"] / 20 / (3.14159 * 280 * 350) - 1) < 0.01, took
    # Of the two masks there, the one that is drawn over the other.
    assert took["lit"] == 1, took
    print(f"3840 x 2160, 20 masks: {took['made']:.0f} ms from run lengths to pictures, {took['drawn']:.1f} ms to draw all")
    assert took["drawn"] < DRAWN and took["made"] < MADE, took
    own.done()


def texts(browser, url, scene, shots):
    """A text, the slider, hiding, examples, undo, downloads."""
    own = Page(browser, url)
    page = own.page
    page.set_input_files("#file", scene)
    says(page, " ms$")
    page.fill("#prompt", "boat")
    page.press("#prompt", "Enter")
    rows(page, 3)
    if shots:
        page.locator("#instances li").nth(1).hover()
        page.screenshot(path=shots / "page-text.png")
    # The list and the picture light each other up.
    box = page.locator("#canvas").bounding_box()
    scale = box["width"] / 672
    at = lambda x, y: (box["x"] + x * scale, box["y"] + y * scale)
    page.mouse.move(*at(380, 150))
    lit = page.locator("#instances li.lit")
    expect(lit).to_have_count(1)
    first = lit.get_attribute("data-key")
    page.mouse.move(*at(500, 260))
    expect(lit).to_have_count(1)
    assert lit.get_attribute("data-key") != first
    page.mouse.move(*at(10, 10))
    expect(lit).to_have_count(0)
    before = own.asked("/segment")
    page.locator("#threshold").fill("0.93")
    rows(page, 2)
    page.locator("#threshold").fill("0.5")
    rows(page, 3)
    assert own.asked("/segment") == before, "the slider asks nobody"
    page.locator("#instances input").first.uncheck()
    with page.expect_download() as download:
        page.click("#coco")
    coco = json.loads(Path(download.value.path()).read_text())
    assert len(coco["annotations"]) == 2 and coco["images"][0]["width"] == 672, coco
    page.locator("#instances input").first.check()
    with page.expect_download() as download:
        page.click("#overlay")
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    downloads = []
    page.on("download", lambda download: downloads.append(download))
    page.click("#masks")
    page.wait_for_timeout(1000)
    assert len(downloads) == 3, len(downloads)
    # An example by mouse.
    page.check("input[value=example]")
    page.evaluate("document.getElementById('status').textContent = ''")
    page.mouse.move(*at(308, 49))
    page.mouse.down()
    page.mouse.move(*at(453, 199), steps=4)
    page.mouse.up()
    says(page, "found in")
    assert own.asked("/segment") == before + 1
    if shots:
        page.emulate_media(color_scheme="dark")
        page.mouse.move(*at(380, 150))
        page.screenshot(path=shots / "page-example.png")
        page.emulate_media(color_scheme="light")
        page.mouse.move(*at(10, 10))
    page.click("#undo")
    page.click("#undo")
    rows(page, 3)
    page.keyboard.press("Control+z")
    rows(page, 0)
    page.keyboard.press("Control+y")
    rows(page, 3)
    own.done()


def clicks(browser, url, picture, shots):
    """Clicks by mouse, by touch and by keyboard; a box."""
    own = Page(browser, url, color_scheme="dark", has_touch=True)
    page = own.page
    page.set_input_files("#file", picture)
    says(page, " ms$")
    canvas = page.locator("#canvas")
    box = canvas.bounding_box()
    canvas.click(position={"x": box["width"] * 0.35, "y": box["height"] * 0.3})
    rows(page, 1)
    canvas.click(position={"x": box["width"] * 0.7, "y": box["height"] * 0.7}, modifiers=["Shift"])
    says(page, " ms$")
    page.click("#next")
    canvas.tap(position={"x": box["width"] * 0.6, "y": box["height"] * 0.4})
    rows(page, 2)
    # The keys alone.
    canvas.focus()
    page.keyboard.press("n")
    for _ in range(5):
        page.keyboard.press("Control+ArrowRight")
    page.keyboard.press("Enter")
    rows(page, 3)
    page.keyboard.press("n")
    page.check("input[value=object]")
    canvas.focus()
    page.keyboard.press("Enter")
    for key in ["ArrowLeft", "ArrowUp"] * 4:
        page.keyboard.press(f"Control+{key}")
    page.keyboard.press("Enter")
    rows(page, 4)
    if shots:
        page.screenshot(path=shots / "page-clicks.png")
    own.done()


def drops(browser, url, scene):
    """A file that is dropped, and one that is pasted."""
    own = Page(browser, url)
    page = own.page
    for kind, target in (("drop", "#stage"), ("paste", "body")):
        page.evaluate(
            """async ([kind, target, bytes]) => {
              const files = new DataTransfer();
              files.items.add(new File([new Uint8Array(bytes)], 'dropped.png', { type: 'image/png' }));
              const options = { bubbles: true, cancelable: true };
              const event = kind === 'drop' ? new DragEvent(kind, { ...options, dataTransfer: files }) : new ClipboardEvent(kind, { ...options, clipboardData: files });
              document.querySelector(target).dispatchEvent(event);
            }""",
            [kind, target, list(Path(scene).read_bytes())],
        )
        says(page, " ms$")
        page.evaluate("document.getElementById('status').textContent = ''")
    assert own.asked("POST /v1/images") == 2
    own.done()


def camera(browser, url):
    """The browser's camera, of which Chromium has a stand-in."""
    own = Page(browser, url, permissions=["camera"])
    page = own.page
    page.click("#camera")
    page.click("#shoot")
    says(page, " ms$")
    own.done()


def speaking(folder):
    """The tracker's miniature with a vocabulary that has its words, and a video that it finds something in."""
    state = torch.load(GOLDENS / "mini.pt", weights_only=True)
    state = state.get("model", state)
    for name, tensor in state.items():
        if name.endswith("encoder.token_embedding.weight"):
            state[name] = tensor.repeat(49408 // len(tensor), 1)
        elif name.endswith("encoder.positional_embedding"):
            state[name] = torch.nn.functional.pad(tensor, (0, 0, 0, 32 - len(tensor)))
    config = json.loads((GOLDENS / "config.json").read_text())
    config["text_config"] |= dict(vocab_size=49408, max_position_embeddings=32, bos_token_id=49406, eos_token_id=49407)
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(state, folder / "mini.pt")
    video = folder / "gate.mjpeg"
    # Its first frame again and again: on the others the miniature loses what is clicked.
    with video.open("wb") as file:
        for _ in range(24):
            Image.open(GOLDENS / "video/00.png").convert("RGB").save(file, "JPEG", quality=100)
    return folder / "mini.pt", video


def stream(browser, url, shots):
    """A camera of the server: a text, a click, an object that is let go of, and back to pictures."""
    own = Page(browser, url)
    page = own.page
    page.select_option("#stream", "gate")
    expect(page.locator("#live")).to_have_text(re.compile(r"frame \d+: \d+ ms after it came"))
    rows(page, 0)
    # The prompt may be changed while it runs.
    page.fill("#prompt", WORDS)
    page.press("#prompt", "Enter")
    expect(page.locator("#instances .name").first).to_have_text(re.compile(WORDS))
    if shots:
        page.screenshot(path=shots / "page-stream.png")
    page.fill("#prompt", "")
    page.press("#prompt", "Enter")
    rows(page, 0)
    # A click is followed, another one corrects it.
    canvas = page.locator("#canvas")
    box = canvas.bounding_box()
    at = {"x": box["width"] * 0.75, "y": box["height"] * 0.77}
    canvas.click(position=at)
    name = page.locator("#instances .name")
    expect(name).to_have_text(re.compile("object 1"))
    seen = page.locator("#live").text_content()
    expect(page.locator("#live")).not_to_have_text(seen)
    expect(name).to_have_count(1)
    canvas.click(position=at)
    page.click("#next")
    page.check("input[value=object]")
    scale = box["width"] / 160
    page.mouse.move(box["x"] + 10 * scale, box["y"] + 60 * scale)
    page.mouse.down()
    page.mouse.move(box["x"] + 70 * scale, box["y"] + 119 * scale, steps=4)
    page.mouse.up()
    rows(page, 2)
    page.locator("#instances button").first.click()
    rows(page, 1)
    expect(name).to_have_text(re.compile("object 2"))
    page.select_option("#stream", "")
    expect(page.locator("#hint")).to_be_visible()
    # A source that cannot be read says so.
    page.select_option("#stream", "yard")
    says(page, "away: ")
    own.done()


def token(browser, url):
    """The page asks for the token once, and scripts do not see the cookie."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    page.fill("#token", "wrong-token")
    page.press("#token", "Enter")
    expect(page.locator("#login-status")).to_contain_text("token")
    page.fill("#token", TOKEN)
    page.press("#token", "Enter")
    expect(page.locator("#model")).to_contain_text("model.safetensors")
    assert page.evaluate("document.cookie") == ""
    page.reload()
    expect(page.locator("#model")).to_contain_text("model.safetensors")
    context.close()


def main():
    binary = sys.argv[1]
    shots = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        subprocess.run([binary, "demo", "--quiet", "--output", folder], check=True, stdout=subprocess.DEVNULL)
        model, scene = f"{folder}/desktop/model.safetensors", f"{folder}/scene.png"
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"),
            args=["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
        )
        spoken, video = speaking(Path(folder))
        words = Path(folder) / "words.mp4"
        words.write_text("no video")
        sources = ["--source", f"gate={video}", "--source", f"yard={words}"]
        servers = [serve(binary, model), serve(binary, spoken, *sources), serve(binary, str(GOLDENS / "mini.pt")), serve(binary, model, "--token", TOKEN)]
        try:
            (_, demo), (_, streams), (_, clickable), (_, guarded) = servers
            for name, check in [
                ("texts", lambda: texts(browser, demo, scene, shots)),
                ("clicks", lambda: clicks(browser, clickable, str(GOLDENS / "picture.png"), shots)),
                ("drops", lambda: drops(browser, demo, scene)),
                ("camera", lambda: camera(browser, demo)),
                ("stream", lambda: stream(browser, streams, shots)),
                ("token", lambda: token(browser, guarded)),
                ("large", lambda: large(browser, demo)),
            ]:
                check()
                print(f"{name}: fine")
        finally:
            for server, _ in servers:
                server.terminate()
                server.wait()
        browser.close()


if __name__ == "__main__":
    main()
