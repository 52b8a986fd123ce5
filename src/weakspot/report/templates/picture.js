"use strict";
// A picture with its map and boxes. Names of files and classes are not ours: they are only ever set as text.

/** An element with attributes and children; strings become text. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** The same for SVG. */
function drawing(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Colours of a colour map, 256 of them, from a few evenly spaced ones. */
function ramp(stops) {
  const table = [];
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (stops.length - 1), left = Math.min(Math.floor(place), stops.length - 2);
    table.push(stops[left].map((part, k) => Math.round(part + (place - left) * (stops[left + 1][k] - part))));
  }
  return table;
}

/** Share 0…1 of the scale that a grey value of a map stands for. */
function share(grey, low, high, scale) {
  const value = low + (grey / 255) * (high - low);
  return scale[1] > scale[0] ? Math.min(1, Math.max(0, (value - scale[0]) / (scale[1] - scale[0]))) : 0;
}

const decoded = new WeakMap();

/** Grey values of a map, decoded once. */
async function greys(map) {
  if (!decoded.has(map)) {
    const image = new Image();
    image.src = map[0];
    decoded.set(map, image.decode().then(() => {
      const canvas = element("canvas", { width: image.naturalWidth, height: image.naturalHeight });
      const context = canvas.getContext("2d");
      context.drawImage(image, 0, 0);
      return context.getImageData(0, 0, canvas.width, canvas.height);
    }));
  }
  return decoded.get(map);
}

/** Height of a picture is at most this many times the room there is for its width. */
const TALLEST = 1.25;

class Picture {
  /** `record` as Python wrote it, `map` its map; `view` says what is shown. */
  constructor(record, map, view) {
    this.record = record;
    this.map = map;
    this.canvas = element("canvas", { "aria-hidden": "true" });
    this.overlay = drawing("svg", { viewBox: `0 0 ${record.w} ${record.h}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const alt = `${record.name}: ${record.defect}, called ${record.label}`;
    this.root = element("div", { class: "shot", style: `aspect-ratio: ${record.w} / ${record.h}; max-width: ${(TALLEST * 100 * record.w) / record.h}%` });
    if (record.src) {
      const image = element("img", { src: record.src, alt, loading: record.src.startsWith("data:") ? null : "lazy", decoding: "async" });
      image.onerror = () => image.replaceWith(this.gone("the picture is in the folder beside this page"));
      this.root.append(image);
    } else this.root.append(this.gone("the picture could not be read"));
    this.root.append(this.canvas, this.overlay);
    this.show(view);
  }

  gone(why) {
    return element("span", { class: "gone", role: "img", "aria-label": `${this.record.name}: ${why}`, text: why });
  }

  async show(view) {
    this.view = view;
    this.boxes(this.drawn || []);
    // On a scale of its own, the map of a Good part called Good would glow like a defect's.
    const glows = view.scale === "own" && this.record.outcome === "good";
    this.canvas.hidden = view.colours === "off" || !this.map || glows;
    if (this.canvas.hidden) return;
    const data = await greys(this.map);
    const scale = view.scale === "own" ? this.map.slice(1) : view.common;
    const table = view.tables[view.colours], painted = new ImageData(data.width, data.height);
    for (let i = 0; i < data.data.length; i += 4) {
      const part = share(data.data[i], this.map[1], this.map[2], scale), [r, g, b] = table[Math.round(255 * part)];
      painted.data.set([r, g, b, Math.round(255 * part * view.opacity)], i);
    }
    [this.canvas.width, this.canvas.height] = [data.width, data.height];
    this.canvas.getContext("2d").putImageData(painted, 0, 0);
  }

  /** Draw predicted boxes, and the truth under them. */
  boxes(list) {
    this.drawn = list;
    const parts = [];
    if (this.view.truth) {
      const points = this.record.outlines.map((polygon) => polygon.map((point) => point.join(",")).join(" "));
      for (const kind of ["truth halo", "truth"]) {
        for (const polygon of points) parts.push(drawing("polygon", { class: kind, points: polygon }));
        if (!points.length) for (const box of this.record.truth) parts.push(rectangle(box, kind));
      }
    }
    for (const box of list) parts.push(rectangle(box, "halo"), rectangle(box, `box ${box[6] || "unknown"}`));
    this.overlay.replaceChildren(...parts);
  }
}

function rectangle([x0, y0, x1, y1], kind) {
  return drawing("rect", { class: kind, x: x0, y: y0, width: x1 - x0, height: y1 - y0 });
}

/** A percentage, or a dash. */
function percent(value, digits = 0) {
  return value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)}\u00a0%`;
}

function fixed(value, digits = 2) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}
