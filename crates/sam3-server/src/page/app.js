// What happens on the page: pictures come in, the server is asked, what it finds is shown.

import * as api from "./api.js";
import { decode, paint } from "./mask.js";
import { View, colourOf, corners, rgb } from "./view.js";
import { saveCoco, saveMasks, saveOverlay } from "./files.js";
import { inputs } from "./inputs.js";
import { camera } from "./camera.js";
import { Streams } from "./streams.js";

const $ = (id) => document.getElementById(id);
const view = new View($("canvas"));
const streams = new Streams({ view, say, shown: render, left: leave });

// Found below this score nothing is asked for; the slider shows less of it without asking again.
const LEAST = 0.05;
// Instances that no step has: no picture, or nothing asked.
const NOTHING = { prompt: "", examples: [], found: [], objects: [], current: null };

let picture = null;
let history = [NOTHING];
let at = 0;
let asked = null;
const hidden = new Set();
let lit = null;

const now = () => history[at];
const negative = (event) => $("negative").checked || Boolean(event?.shiftKey);
const tool = () => document.querySelector("input[name=tool]:checked").value;

function say(text, isWrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", isWrong);
}

// A new step; what was undone is gone.
function step(change) {
  history = [...history.slice(0, at + 1), { ...now(), ...change }];
  at = history.length - 1;
  render();
}

function go(by) {
  if (streams.isOn || !history[at + by]) return;
  asked?.abort();
  at += by;
  $("prompt").value = now().prompt;
  render();
}

// Asks the server; a later question, or an undo, ends this one.
async function ask(what, question) {
  asked?.abort();
  const own = (asked = new AbortController());
  say(what);
  document.body.setAttribute("aria-busy", "true");
  const start = performance.now();
  try {
    const answer = await question(own.signal);
    if (own.signal.aborted) return null;
    say(`${Math.round(performance.now() - start)} ms`);
    return answer;
  } catch (error) {
    if (error.name === "AbortError") return null;
    if (error.status === 401) return login();
    if (error.kind === "not_found" && picture?.id) picture.id = null;
    say(error.message, true);
    return null;
  } finally {
    if (asked === own) document.body.removeAttribute("aria-busy");
  }
}

// The picture's name at the server, which may have let go of it.
async function identity(signal) {
  picture.id ??= (await api.encode(picture.blob, signal)).id;
  return picture.id;
}

async function open(blob, name) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    return say("this browser cannot read that picture", true);
  }
  if (streams.isOn) streams.close();
  if (picture?.id) api.forget(picture.id);
  picture = { blob, name: name || "picture.png", width: bitmap.width, height: bitmap.height, id: null };
  [history, at, lit] = [[NOTHING], 0, null];
  hidden.clear();
  $("hint").hidden = true;
  view.show(bitmap);
  render();
  await ask("encoding …", identity);
}

// From a stream back to pictures: there is none yet.
function leave() {
  if (picture?.id) api.forget(picture.id);
  picture = null;
  [history, at, lit] = [[NOTHING], 0, null];
  $("hint").hidden = false;
  view.clear();
  say("");
  render();
}

function instance(found, label, kind) {
  const mask = decode(found.segmentation);
  const { score, area, segmentation } = found;
  return { key: crypto.randomUUID?.() ?? String(Math.random()), label, kind, score, area, segmentation, mask };
}

async function find() {
  const prompt = $("prompt").value.trim();
  if (streams.isOn) return streams.look(prompt);
  const { examples } = now();
  if (!picture || (!prompt && !examples.length)) return;
  const body = { prompts: prompt ? [prompt] : [], threshold: LEAST };
  if (examples.length) body.boxes = examples.map(({ xyxy, positive }) => ({ box: xyxy, label: Number(positive) }));
  const answer = await ask("looking …", async (signal) => api.segment(await identity(signal), body, signal));
  if (!answer) return;
  const [{ prompt: label, instances }] = answer.prompts;
  step({ prompt, found: instances.map((found) => instance(found, label, "text")) });
  const shown = visible().filter(({ kind }) => kind === "text").length;
  say(`${shown} found in ${$("status").textContent}`);
}

// Sends all clicks of an object, with the logits of the step before.
async function clicked(change) {
  const current = { points: [], box: null, logits: null, ...now().current, ...change };
  const object = { points: current.points.map(({ x, y, positive }) => [x, y, Number(positive)]) };
  if (current.box) object.box = current.box;
  if (current.logits) object.logits = current.logits;
  const answer = await ask("clicking …", async (signal) => {
    const id = await identity(signal);
    // Another name is another encoding, which has no logits yet.
    if (current.id !== id) delete object.logits;
    return api.click(id, { objects: [object] }, signal);
  });
  if (!answer) return;
  const [{ logits, instances: [found] }] = answer.objects;
  const shown = instance(found, `object ${now().objects.length + 1}`, "click");
  step({ current: { ...current, logits, id: picture.id, shown } });
}

function next() {
  if (streams.isOn) return streams.next();
  const { current, objects } = now();
  if (current) step({ current: null, objects: [...objects, current.shown] });
}

// A point or a box of the picture, by pointer or keys.
function onPoint({ x, y }, event) {
  if (tool() !== "point") return;
  if (streams.isOn) return streams.point({ points: [[x, y, Number(!negative(event))]] });
  clicked({ points: [...(now().current?.points ?? []), { x, y, positive: !negative(event) }] });
}

function onBox(from, to, event) {
  const xyxy = corners(from, to);
  if (xyxy[2] - xyxy[0] < 1 || xyxy[3] - xyxy[1] < 1) return;
  if (streams.isOn) return tool() === "object" ? streams.point({ box: xyxy }) : say("a stream takes no examples", true);
  if (tool() === "object") return clicked({ box: xyxy, points: [], logits: null });
  step({ examples: [...now().examples, { xyxy, positive: !negative(event) }] });
  find();
}

// Every instance of this step, in the order of the list.
function all() {
  if (streams.isOn) return streams.objects;
  const { found, objects, current } = now();
  return [...found, ...objects, ...(current ? [current.shown] : [])];
}

const isAbove = ({ kind, score }) => kind !== "text" || score > Number($("threshold").value);
const listed = () => all().filter(isAbove);
const visible = () => listed().filter(({ key }) => !hidden.has(key));

function render() {
  const { examples, current } = streams.isOn ? NOTHING : now();
  const line = picture ? Math.max(1, Math.round(Math.max(picture.width, picture.height) / 700)) : 1;
  all().forEach((own, index) => {
    own.colour ??= colourOf(index);
    own.painted ??= own.mask && paint(own.mask, rgb(own.colour), line);
  });
  // Who is hidden or undone under the pointer lights nothing any more.
  if (!visible().some(({ key }) => key === lit)) lit = null;
  view.scene = { instances: visible(), points: current?.points ?? [], boxes: [...examples], lit };
  if (current?.box) view.scene.boxes.push({ xyxy: current.box, positive: true });
  view.draw();
  renderList();
  $("hint").hidden = Boolean(picture) || streams.isOn;
  $("undo").disabled = streams.isOn || at === 0;
  $("redo").disabled = streams.isOn || at === history.length - 1;
  $("find").disabled = !picture && !streams.isOn;
  $("next").disabled = streams.isOn ? streams.current === null : !current;
  for (const id of ["coco", "masks", "overlay"]) $(id).disabled = streams.isOn || !visible().length;
}

function light(key) {
  if (lit === key) return;
  lit = key;
  view.scene.lit = key;
  view.draw();
  for (const row of $("instances").children) row.classList.toggle("lit", row.dataset.key === key);
}

// A mask under the pointer shows its row.
function onHover(instance) {
  light(instance?.key ?? null);
  $("instances").querySelector(".lit")?.scrollIntoView({ block: "nearest" });
}

function renderList() {
  const shown = [...$("instances").children];
  const isAsBefore = (own, place) => shown[place]?.dataset.key === own.key;
  if (streams.isOn && listed().length === shown.length && listed().every(isAsBefore)) {
    // The next frame of a stream: whoever is at a row with the keys stays there.
    listed().forEach(({ score }, place) => (shown[place].querySelector(".score").textContent = score.toFixed(2)));
    return;
  }
  const rows = listed().map((own) => {
    const row = document.createElement("li");
    row.dataset.key = own.key;
    row.classList.toggle("lit", own.key === lit);
    const [label, box, swatch, name, score] = ["label", "input", "span", "span", "span"].map((tag) => document.createElement(tag));
    Object.assign(box, { type: "checkbox", checked: !hidden.has(own.key) });
    box.addEventListener("change", () => {
      hidden[box.checked ? "delete" : "add"](own.key);
      view.scene.instances = visible();
      view.draw();
    });
    swatch.className = "swatch";
    swatch.style.background = own.colour;
    Object.assign(name, { className: "name", textContent: own.label });
    Object.assign(score, { className: "score", textContent: own.score.toFixed(2) });
    label.append(box, swatch, name, score);
    row.append(label);
    if (own.kind === "stream") {
      const stop = document.createElement("button");
      Object.assign(stop, { type: "button", textContent: "×", title: `Stop following ${own.label}` });
      stop.addEventListener("click", () => streams.stop(own.id));
      row.append(stop);
    }
    for (const [event, key] of [["pointerenter", own.key], ["pointerleave", null], ["focusin", own.key], ["focusout", null]]) {
      row.addEventListener(event, () => light(key));
    }
    return row;
  });
  $("instances").replaceChildren(...rows);
}

// The token is exchanged for a cookie, which scripts do not see.
function login() {
  $("login").showModal();
  say("");
  return null;
}

async function start() {
  try {
    const { model, tasks, prompts } = await api.info();
    $("model").textContent = `${model.file.split("/").pop()}, ${model.compute} on ${model.device}`;
    $("ask").hidden = !tasks.segment;
    $("tools").hidden = !tasks.segment && !tasks.click;
    for (const input of document.querySelectorAll("input[value=point], input[value=object]")) input.disabled = !tasks.click;
    const example = document.querySelector("input[value=example]");
    example.disabled = !tasks.segment;
    if (!tasks.click) example.checked = true;
    $("next").hidden = !tasks.click;
    if (prompts.length) $("prompt").placeholder = prompts.join(", ");
    await streams.list();
  } catch (error) {
    if (error.status === 401) return login();
    say(error.message, true);
    if (error.status === 503) setTimeout(start, 1000);
  }
}

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await api.login($("token").value);
    $("token").value = "";
    $("login").close();
    start();
  } catch (error) {
    $("login-status").textContent = error.message;
  }
});
$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  find();
});
$("threshold").addEventListener("input", () => {
  $("threshold-value").textContent = Number($("threshold").value).toFixed(2);
  render();
});
$("next").addEventListener("click", next);
$("undo").addEventListener("click", () => go(-1));
$("redo").addEventListener("click", () => go(1));
$("coco").addEventListener("click", () => saveCoco(picture, visible()));
$("masks").addEventListener("click", () => saveMasks(picture, visible()));
$("overlay").addEventListener("click", () => saveOverlay(picture, view));
inputs({ view, tool, negative, open, onPoint, onBox, onHover, next, undo: () => go(-1), redo: () => go(1), say });
camera({ open, say });
start();
