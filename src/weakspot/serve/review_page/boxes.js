// Boxes over the picture: shown, drawn, moved and resized with the pointer.

const SVG = "http://www.w3.org/2000/svg";
const HANDLES = [[0, 0], [0.5, 0], [1, 0], [0, 0.5], [1, 0.5], [0, 1], [0.5, 1], [1, 1]];
const NEAR = 9;  // pixels of the screen
const MOVED = 4;

export class Boxes {
  // `owner` has boxes, ghosts, chosen, drawing, hand; choose(i), drawn(box), changed(i, box), and preview().
  constructor(overlay, view, owner) {
    Object.assign(this, { overlay, view, owner, drag: null, held: false, pointers: new Map() });
    overlay.addEventListener("pointerdown", (event) => this.#down(event));
    overlay.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) overlay.addEventListener(name, (event) => this.#up(event));
    overlay.addEventListener("contextmenu", (event) => event.preventDefault());
    overlay.addEventListener("wheel", (event) => {
      event.preventDefault();
      view.zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), this.#at(event));
    }, { passive: false });
  }

  #at(event) {
    const box = this.overlay.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #down(event) {
    if (!this.view.size) return;
    this.overlay.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.#at(event));
    if (this.pointers.size === 2) { this.drag = { kind: "pinch", ...this.#pinch() }; this.owner.preview(); return; }
    const at = this.#at(event);
    if (event.button > 0 || this.held || this.owner.hand) this.drag = { kind: "pan", at };
    else this.drag = this.#hit(at) || { kind: "draw", from: this.view.toPicture(at), at };
    this.overlay.classList.toggle("panning", this.drag.kind === "pan");
    event.preventDefault();
    document.getElementById("stage").focus({ preventScroll: true });
  }

  #pinch() {
    const [a, b] = [...this.pointers.values()];
    return { apart: Math.hypot(a[0] - b[0], a[1] - b[1]), middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
  }

  // What the pointer is on: a handle of the chosen box, or the smallest box round it.
  #hit(at) {
    const { boxes, chosen, drawing } = this.owner, corner = (box) => [...this.view.toScreen(box.x0, box.y0), ...this.view.toScreen(box.x1, box.y1)];
    if (chosen !== null) {
      const [x0, y0, x1, y1] = corner(boxes[chosen]);
      for (const [fx, fy] of HANDLES)
        if (Math.hypot(x0 + fx * (x1 - x0) - at[0], y0 + fy * (y1 - y0) - at[1]) < NEAR)
          return { kind: "resize", index: chosen, fx, fy, before: { ...boxes[chosen] }, at };
    }
    if (drawing) return null;
    const under = boxes.map((box, index) => ({ index, c: corner(box) }))
      .filter(({ c }) => c[0] - 4 <= at[0] && at[0] <= c[2] + 4 && c[1] - 4 <= at[1] && at[1] <= c[3] + 4)
      .sort((a, b) => (a.c[2] - a.c[0]) * (a.c[3] - a.c[1]) - (b.c[2] - b.c[0]) * (b.c[3] - b.c[1]));
    if (!under.length) return null;
    const { index } = under.find((one) => one.index === chosen) || under[0];
    this.owner.choose(index);
    return { kind: "move", index, before: { ...boxes[index] }, at };
  }

  #move(event) {
    if (!this.pointers.has(event.pointerId) || !this.drag) return;
    const at = this.#at(event), drag = this.drag;
    this.pointers.set(event.pointerId, at);
    if (drag.kind === "pinch" && this.pointers.size === 2) {
      const now = this.#pinch();
      this.view.pan(now.middle[0] - drag.middle[0], now.middle[1] - drag.middle[1]);
      this.view.zoom(now.apart / drag.apart, now.middle);
      this.drag = { kind: "pinch", ...now };
    } else if (drag.kind === "pan") {
      this.view.pan(at[0] - drag.at[0], at[1] - drag.at[1]);
      drag.at = at;
    } else if (drag.moved || Math.hypot(at[0] - drag.at[0], at[1] - drag.at[1]) >= MOVED) {
      drag.moved = true;
      drag.box = this.#result(drag, at);
      this.owner.preview(drag.kind === "draw" ? null : drag.index, drag.box);
    }
  }

  #result(drag, at) {
    const { width, height } = this.view.size, [x, y] = this.view.toPicture(at);
    if (drag.kind === "draw") return corners(drag.from, [x, y], width, height);
    const dx = (at[0] - drag.at[0]) / this.view.scale, dy = (at[1] - drag.at[1]) / this.view.scale, b = drag.before;
    if (drag.kind === "move") return moved(b, dx, dy, width, height);
    const one = [drag.fx === 0 ? b.x0 + dx : b.x0, drag.fy === 0 ? b.y0 + dy : b.y0];
    const other = [drag.fx === 1 ? b.x1 + dx : b.x1, drag.fy === 1 ? b.y1 + dy : b.y1];
    return { ...b, ...corners(one, other, width, height) };
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
    const drag = this.drag;
    this.overlay.classList.remove("panning");
    if (!drag || (drag.kind === "pinch" && this.pointers.size)) return;
    this.drag = null;
    if (event.type === "pointercancel") return this.owner.preview();
    if (drag.moved && drag.kind === "draw") this.owner.drawn(drag.box);
    else if (drag.moved && drag.box) this.owner.changed(drag.index, drag.box);
    else if (drag.kind === "draw") this.owner.choose(null);
  }

  draw(shown) {
    const { chosen, ghosts, classes } = this.owner, parts = [];
    const rect = (box, kind) => {
      const [x, y] = this.view.toScreen(box.x0, box.y0);
      return element("rect", { class: kind, x, y, width: (box.x1 - box.x0) * this.view.scale, height: (box.y1 - box.y0) * this.view.scale });
    };
    for (const box of ghosts) parts.push(rect(box, "halo"), rect(box, "ghost"));
    shown.forEach((box, i) => {
      parts.push(rect(box, "halo"), rect(box, i === chosen ? "box chosen" : "box"));
      if (classes.length > 2 || i === chosen) parts.push(...this.#tag(box, `${i + 1} ${box.label}`));
    });
    if (chosen !== null && shown[chosen]) parts.push(...this.#handles(shown[chosen]));
    this.overlay.replaceChildren(...parts);
  }

  #tag(box, text) {
    const [x, y] = this.view.toScreen(box.x0, box.y0), top = y > 20 ? y - 18 : y + 2;
    const label = element("text", { x: x + 4, y: top + 13 });
    label.textContent = text.length > 40 ? `${text.slice(0, 39)}…` : text;
    return [element("rect", { class: "tag", x, y: top, width: 9 + 6.6 * label.textContent.length, height: 17, rx: 3 }), label];
  }

  #handles(box) {
    const [x0, y0] = this.view.toScreen(box.x0, box.y0), [x1, y1] = this.view.toScreen(box.x1, box.y1);
    return HANDLES.map(([fx, fy]) => element("rect", { class: "handle", x: x0 + fx * (x1 - x0) - 4, y: y0 + fy * (y1 - y0) - 4, width: 8, height: 8 }));
  }
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const within = (value, most) => Math.min(most, Math.max(0, Math.round(value)));

// Two opposite corners as a box of whole pixels, at least one pixel large, inside the picture.
export function corners(a, b, width, height) {
  const [x0, x1] = [within(Math.min(a[0], b[0]), width - 1), within(Math.max(a[0], b[0]), width)];
  const [y0, y1] = [within(Math.min(a[1], b[1]), height - 1), within(Math.max(a[1], b[1]), height)];
  return { x0, y0, x1: Math.max(x1, x0 + 1), y1: Math.max(y1, y0 + 1) };
}

export function moved(box, dx, dy, width, height) {
  const w = box.x1 - box.x0, h = box.y1 - box.y0;
  const x0 = within(Math.min(box.x0 + dx, width - w), width), y0 = within(Math.min(box.y0 + dy, height - h), height);
  return { ...box, x0, y0, x1: x0 + w, y1: y0 + h };
}
