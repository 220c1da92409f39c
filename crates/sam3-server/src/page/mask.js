// COCO's compressed run lengths, and masks as small canvases of their bounding box.

// The runs of a mask in its column-major order: outside, inside, outside …
export function runs(text) {
  const found = [];
  for (let at = 0; at < text.length; ) {
    let value = 0, shift = 0, byte;
    do {
      byte = text.charCodeAt(at++) - 48;
      value |= (byte & 0x1f) << shift;
      shift += 5;
    } while (byte & 0x20);
    if (byte & 0x10 && shift < 32) value |= -1 << shift;
    // From the third on, a run is told by its difference from the one two before.
    if (found.length > 2) value += found[found.length - 2];
    found.push(value);
  }
  return found;
}

// The spans inside, a column's each: [x, from, to).
function* spans({ size: [height], counts }) {
  let at = 0, inside = false;
  for (const run of runs(counts)) {
    for (let from = at; inside && from < at + run; ) {
      const x = Math.floor(from / height);
      const to = Math.min(at + run, (x + 1) * height);
      yield [x, from - x * height, to - x * height];
      from = to;
    }
    at += run;
    inside = !inside;
  }
}

// { x, y, width, height, bits }: a byte for each pixel of the bounding box, or null of an empty mask.
export function decode(segmentation) {
  let x1 = Infinity, y1 = Infinity, x2 = -1, y2 = -1;
  const all = [...spans(segmentation)];
  for (const [x, from, to] of all) {
    x1 = Math.min(x1, x);
    x2 = Math.max(x2, x);
    y1 = Math.min(y1, from);
    y2 = Math.max(y2, to - 1);
  }
  if (x2 < 0) return null;
  const [width, height] = [x2 - x1 + 1, y2 - y1 + 1];
  const bits = new Uint8Array(width * height);
  for (const [x, from, to] of all) {
    for (let y = from - y1, at = y * width + x - x1; y < to - y1; y++, at += width) bits[at] = 1;
  }
  return { x: x1, y: y1, width, height, bits };
}

// A canvas of the box: the colour inside, stronger at the edge, which is `line` pixels wide.
export function paint({ width, height, bits }, [red, green, blue], line) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const colour = (alpha) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  const [body, edge] = [colour(110), colour(255)];
  const outside = (x, y) => x < 0 || y < 0 || x >= width || y >= height || !bits[y * width + x];
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!bits[at]) continue;
      const isEdge = outside(x - line, y) || outside(x + line, y) || outside(x, y - line) || outside(x, y + line);
      pixels[at] = isEdge ? edge : body;
    }
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// The mask at the picture's size: white inside, black outside.
export function whole({ x, y, width, height, bits }, extents) {
  const canvas = new OffscreenCanvas(...extents);
  const context = canvas.getContext("2d");
  context.fillRect(0, 0, ...extents);
  const image = context.createImageData(width, height);
  new Uint32Array(image.data.buffer).forEach((_, at, pixels) => (pixels[at] = bits[at] ? 0xffffffff : 0xff000000));
  context.putImageData(image, x, y);
  return canvas;
}
