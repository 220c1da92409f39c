// The canvas: the picture, masks over it, points and boxes, and where a pointer or the keys' cross is.

const COLOURS = ["#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#00a5b5", "#d83bd2", "#7a9a01", "#c2185b", "#008080", "#9a6324", "#5e35b1"];

export const colourOf = (index) => COLOURS[index % COLOURS.length];
export const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.bitmap = null;
    this.cross = null;
    this.draft = null;
    this.scene = { instances: [], points: [], boxes: [] };
    this.waits = false;
    new ResizeObserver(() => this.fit()).observe(canvas.parentElement);
  }

  show(bitmap) {
    const { width, height } = this.bitmap ?? {};
    this.bitmap?.close();
    this.bitmap = bitmap;
    // The next frame of a stream: the cross, and a box that is being drawn, stay where they are.
    if (bitmap.width === width && bitmap.height === height) return this.draw();
    this.cross = { x: bitmap.width / 2, y: bitmap.height / 2 };
    this.draft = null;
    this.canvas.setAttribute("aria-label", `Picture of ${bitmap.width} by ${bitmap.height} pixels`);
    this.fit();
  }

  // Nothing is shown.
  clear() {
    this.bitmap?.close();
    this.bitmap = null;
    this.scene = { instances: [], points: [], boxes: [] };
    this.canvas.width = this.canvas.height = 0;
    this.canvas.setAttribute("aria-label", "No picture yet");
  }

  // Device pixels of the canvas for a pixel of the picture.
  fit() {
    if (!this.bitmap) return;
    const { clientWidth, clientHeight } = this.canvas.parentElement;
    const room = 24;
    const share = Math.min((clientWidth - room) / this.bitmap.width, (clientHeight - room) / this.bitmap.height, 4);
    const [width, height] = [this.bitmap.width, this.bitmap.height].map((side) => Math.max(1, Math.round(side * share)));
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.canvas.width = width * devicePixelRatio;
    this.canvas.height = height * devicePixelRatio;
    this.draw();
  }

  // A place of the page in pixels of the picture, inside of it.
  place({ clientX, clientY }) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const within = (share, side) => Math.round(Math.min(Math.max(share, 0), 1) * side * 10) / 10;
    const [x, y] = [within((clientX - left) / width, this.bitmap.width), within((clientY - top) / height, this.bitmap.height)];
    return { x: Math.min(x, this.bitmap.width - 0.1), y: Math.min(y, this.bitmap.height - 0.1) };
  }

  // The instance whose mask is at a place; of several the one that is drawn last.
  at({ x, y }) {
    const isInside = ({ mask }) => {
      if (!mask) return false;
      const [column, row] = [Math.floor(x) - mask.x, Math.floor(y) - mask.y];
      return column >= 0 && row >= 0 && column < mask.width && row < mask.height && mask.bits[row * mask.width + column] === 1;
    };
    return this.scene.instances.findLast(isInside);
  }

  draw() {
    if (this.waits) return;
    this.waits = true;
    requestAnimationFrame(() => {
      this.waits = false;
      if (this.bitmap) this.paint(this.context, this.canvas.width / this.bitmap.width, true);
    });
  }

  // Everything at a scale; without what is of the screen alone, for a file.
  paint(context, scale, onScreen) {
    const { width, height } = this.bitmap;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.globalAlpha = 1;
    context.drawImage(this.bitmap, 0, 0);
    const { instances, points, boxes, lit } = this.scene;
    for (const { mask, painted, key } of instances) {
      if (!mask) continue;
      context.globalAlpha = lit && lit !== key ? 0.35 : 1;
      context.drawImage(painted, mask.x, mask.y);
    }
    context.globalAlpha = 1;
    if (!onScreen) return;
    const unit = devicePixelRatio / scale;
    for (const { xyxy, positive } of boxes) this.frame(context, xyxy, positive, unit);
    if (this.draft) this.frame(context, corners(this.draft.from, this.draft.to), this.draft.positive, unit);
    for (const { x, y, positive } of points) {
      context.beginPath();
      context.arc(x, y, 6 * unit, 0, 2 * Math.PI);
      context.fillStyle = positive ? "#0a8f3c" : "#c62828";
      context.fill();
      context.lineWidth = 2 * unit;
      context.strokeStyle = "#fff";
      context.stroke();
    }
    if (document.activeElement === this.canvas && this.canvas.matches(":focus-visible")) {
      context.lineWidth = unit;
      for (const [colour, offset] of [["#000", unit], ["#fff", 0]]) {
        context.strokeStyle = colour;
        context.beginPath();
        context.moveTo(this.cross.x + offset, 0);
        context.lineTo(this.cross.x + offset, height);
        context.moveTo(0, this.cross.y + offset);
        context.lineTo(width, this.cross.y + offset);
        context.stroke();
      }
    }
  }

  frame(context, [x1, y1, x2, y2], positive, unit) {
    context.lineWidth = 2 * unit;
    context.strokeStyle = positive ? "#0a8f3c" : "#c62828";
    context.setLineDash(positive ? [] : [6 * unit, 4 * unit]);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    context.setLineDash([]);
  }
}

export const corners = (a, b) => [Math.min(a.x, b.x), Math.min(a.y, b.y), Math.max(a.x, b.x), Math.max(a.y, b.y)];
