// The cameras of the server: frames and what is followed on them come by a socket; texts and clicks go back.

import * as api from "./api.js";
import { decode, paint } from "./mask.js";
import { colourOf, rgb } from "./view.js";

const $ = (id) => document.getElementById(id);
// How often the server is asked how the stream fares, which its frames do not tell while there are none.
const EVERY = 2000;

export class Streams {
  // `shown` is told of each frame, `left` of the end.
  constructor({ view, say, shown, left }) {
    Object.assign(this, { view, say, shown, left, name: null, socket: null, objects: [], current: null, frames: 0 });
    $("stream").addEventListener("change", () => ($("stream").value ? this.open($("stream").value) : this.close()));
  }

  get isOn() {
    return this.name !== null;
  }

  // Offers what there is; nothing where that is nothing.
  async list() {
    const { streams } = await api.streams();
    $("stream").hidden = !streams.length;
    const option = ({ name }) => new Option(name, name);
    $("stream").replaceChildren(new Option("Pictures", ""), ...streams.map(option));
  }

  async open(name) {
    this.end();
    Object.assign(this, { name, objects: [], current: null, frames: 0 });
    this.say("waiting for a frame …");
    this.shown();
    this.listen();
    this.timer = setInterval(() => this.ask(), EVERY);
    await this.ask((record) => ($("prompt").value = record.prompts.join(", ")));
  }

  listen() {
    const socket = (this.socket = new WebSocket(api.socket(this.name)));
    socket.binaryType = "blob";
    let record = null;
    let waiting = null;
    let isBusy = false;
    // A page that is slow shows the latest frame, not each.
    const take = async () => {
      if (isBusy || !waiting) return;
      isBusy = true;
      const [own, blob] = waiting;
      waiting = null;
      const bitmap = await createImageBitmap(blob);
      isBusy = false;
      if (this.socket !== socket) return bitmap.close();
      this.show(own, bitmap);
      take();
    };
    socket.addEventListener("message", ({ data }) => {
      if (typeof data === "string") record = JSON.parse(data);
      else {
        waiting = [record, data];
        take();
      }
    });
  }

  show(record, bitmap) {
    const line = Math.max(1, Math.round(Math.max(bitmap.width, bitmap.height) / 700));
    this.objects = record.objects.filter(({ segmentation }) => segmentation).map((object) => {
      const mask = decode(object.segmentation);
      const colour = colourOf(object.id);
      const painted = mask && paint(mask, rgb(colour), line);
      return { key: String(object.id), id: object.id, label: `${object.id} ${object.prompt}`, kind: "stream", score: object.score, mask, colour, painted };
    });
    if (this.frames++ === 0) this.say("");
    $("live").textContent = `frame ${record.frame}: ${Math.round(record.latency_ms)} ms after it came`;
    this.view.show(bitmap);
    this.shown();
  }

  // How it fares; `then` is told, too.
  async ask(then) {
    const { name } = this;
    try {
      const record = await api.stream(name);
      if (this.name !== name) return;
      const isFine = record.state === "open" || record.state === "opening";
      if (!isFine) this.say(`${record.state}: ${record.reason ?? "there are no more frames"}`, true);
      else if ($("status").classList.contains("wrong")) this.say("");
      if (this.socket?.readyState === WebSocket.CLOSED && record.state !== "ended") this.listen();
      then?.(record);
    } catch (error) {
      this.say(error.message, true);
    }
  }

  // Looks for other texts; commas separate them.
  async look(text) {
    const prompts = text.split(",").map((own) => own.trim()).filter(Boolean);
    this.current = null;
    await this.tell({ prompts });
  }

  // Shows an object on the latest frame: a new one, or the current one once more.
  async point(object) {
    const answer = await this.tell({ objects: [this.current === null ? object : { ...object, id: this.current }] });
    if (answer) this.current = answer.clicked[0].id;
  }

  next() {
    this.current = null;
  }

  async stop(id) {
    if (this.current === id) this.current = null;
    try {
      await api.stopObject(this.name, id);
    } catch (error) {
      // Another client may have been faster.
      if (error.kind !== "not_found") this.say(error.message, true);
    }
  }

  async tell(body) {
    try {
      const answer = await api.tellStream(this.name, body);
      this.say("");
      return answer;
    } catch (error) {
      this.say(error.message, true);
      return null;
    }
  }

  end() {
    clearInterval(this.timer);
    this.socket?.close();
    Object.assign(this, { name: null, socket: null, objects: [] });
    $("live").textContent = "";
  }

  close() {
    if (!this.isOn) return;
    this.end();
    $("stream").value = "";
    this.left();
  }
}
