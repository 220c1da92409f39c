// How pictures, points and boxes come in: files, drops, pastes; pointers, touch and keys.

const $ = (id) => document.getElementById(id);

export function inputs({ view, tool, negative, open, onPoint, onBox, onHover, next, undo, redo, say }) {
  const { canvas } = view;
  const stage = $("stage");
  const take = (files) => {
    const file = [...files].find(({ type }) => type.startsWith("image/")) ?? files[0];
    if (file) open(file, file.name);
  };

  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    take($("file").files);
    $("file").value = "";
  });
  for (const kind of ["dragenter", "dragover"]) {
    stage.addEventListener(kind, (event) => {
      event.preventDefault();
      stage.classList.add("over");
    });
  }
  stage.addEventListener("dragleave", () => stage.classList.remove("over"));
  stage.addEventListener("drop", (event) => {
    event.preventDefault();
    stage.classList.remove("over");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files);
    else say("drop a file: this page asks no other server for pictures", true);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take(event.clipboardData.files);
  });

  // A press and a release at one place is a point; a box tool draws from one to the other.
  let from = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (!view.bitmap || event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    from = view.place(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from && view.bitmap) onHover(view.at(view.place(event)));
    if (!from || tool() === "point") return;
    view.draft = { from, to: view.place(event), positive: !negative(event) };
    view.draw();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!from) return;
    const to = view.place(event);
    view.draft = null;
    if (tool() === "point") onPoint(to, event);
    else onBox(from, to, event);
    from = null;
    view.draw();
  });
  canvas.addEventListener("pointerleave", () => onHover(undefined));
  canvas.addEventListener("pointercancel", () => {
    from = view.draft = null;
    view.draw();
  });

  const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const within = (value, side) => Math.min(Math.max(value, 0), side - 1);
  canvas.addEventListener("keydown", (event) => {
    if (!view.bitmap) return;
    const { cross, bitmap } = view;
    if (arrows[event.key]) {
      const by = (event.ctrlKey ? 10 : 1) * Math.max(1, Math.round(bitmap.width / 400));
      const [x, y] = arrows[event.key];
      view.cross = { x: within(cross.x + by * x, bitmap.width), y: within(cross.y + by * y, bitmap.height) };
      if (view.draft) view.draft.to = view.cross;
    } else if (event.key === "Enter") {
      if (tool() === "point") onPoint(cross, event);
      else if (!view.draft) view.draft = { from: cross, to: cross, positive: !negative(event) };
      else {
        const { from } = view.draft;
        view.draft = null;
        onBox(from, cross, event);
      }
    } else if (event.key === "Escape") view.draft = null;
    else if (event.key.toLowerCase() === "n" && !event.ctrlKey) next();
    else return;
    event.preventDefault();
    view.draw();
  });
  for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, () => view.draw());

  addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.target.matches("input:not([type=radio]):not([type=checkbox]):not([type=range])")) return;
    const key = event.key.toLowerCase();
    if (key === "z" && !event.shiftKey) undo();
    else if (key === "y" || (key === "z" && event.shiftKey)) redo();
    else return;
    event.preventDefault();
  });
}
