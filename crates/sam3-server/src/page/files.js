// What is downloaded: COCO's JSON, masks, the overlay.

import { whole } from "./mask.js";

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// Instances of one picture as COCO has them; a label is a category.
export function coco(picture, instances) {
  const labels = [...new Set(instances.map(({ label }) => label))];
  const annotations = instances.map(({ label, score, area, segmentation, mask }, index) => ({
    id: index + 1,
    image_id: 1,
    category_id: labels.indexOf(label) + 1,
    segmentation,
    area,
    bbox: mask ? [mask.x, mask.y, mask.width, mask.height] : [0, 0, 0, 0],
    iscrowd: 0,
    score,
  }));
  return {
    images: [{ id: 1, file_name: picture.name, width: picture.width, height: picture.height }],
    categories: labels.map((name, index) => ({ id: index + 1, name })),
    annotations,
  };
}

const stem = (name) => name.replace(/\.[^.]*$/, "");

export function saveCoco(picture, instances) {
  const text = JSON.stringify(coco(picture, instances), null, 1);
  save(new Blob([text], { type: "application/json" }), `${stem(picture.name)}_coco.json`);
}

export async function saveMasks(picture, instances) {
  for (const [index, { mask, label }] of instances.entries()) {
    if (!mask) continue;
    const blob = await whole(mask, [picture.width, picture.height]).convertToBlob({ type: "image/png" });
    const number = String(index + 1).padStart(3, "0");
    save(blob, `${stem(picture.name)}_${label.replace(/[^\p{L}\p{N}]+/gu, "_")}_${number}.png`);
  }
}

export async function saveOverlay(picture, view) {
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  view.paint(canvas.getContext("2d"), 1, false);
  save(await canvas.convertToBlob({ type: "image/png" }), `${stem(picture.name)}_overlay.png`);
}
