// Line charts as SVG, in the page's own colours.

const DASHES = ["", "7 3", "2 3", "9 3 2 3", "4 2", "1 2"];
const FRAME = { width: 480, height: 270, left: 46, right: 12, top: 10, bottom: 40 };

/** About five round numbers from low to high. */
function ticks(low, high) {
  const raw = (high - low) / 5 || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((f) => f * power).find((candidate) => candidate >= raw);
  const found = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + 1e-9 * step; value += step) found.push(+value.toFixed(10));
  return found;
}

/** Lowest and highest of finite numbers. */
function extent(values) {
  const finite = values.filter((value) => Number.isFinite(value));
  return finite.length ? [Math.min(...finite), Math.max(...finite)] : [0, 1];
}

/**
 * A chart in `place`. `series`: `{name, points, dots}`; `marks`: `{x, label, faint}` upright lines or `{x, y, label}` points.
 * Returns `move(x)`, which moves the line of the slider.
 */
function lineChart(place, { title, series, marks = [], x, y, diagonal = false }) {
  const { width, height, left, right, top, bottom } = FRAME;
  const all = series.flatMap((one) => one.points);
  const [xLow, xHigh] = x.range || extent(all.map((p) => p[0]).concat(marks.map((m) => m.x)));
  const [yLow, yHigh] = y.range || [0, extent(all.map((p) => p[1]))[1] * 1.05 || 1];
  const toX = (value) => left + ((value - xLow) / (xHigh - xLow || 1)) * (width - left - right);
  const toY = (value) => height - bottom - ((value - yLow) / (yHigh - yLow || 1)) * (height - top - bottom);
  const words = `${title}. ${series.map((one) => one.name).join(", ")} against ${x.label}.`;
  const root = drawing("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words });
  for (const value of ticks(yLow, yHigh)) {
    root.append(line(left, toY(value), width - right, toY(value), "grid"), label(left - 6, toY(value) + 4, short(value), "end"));
  }
  for (const value of ticks(xLow, xHigh)) {
    root.append(line(toX(value), height - bottom, toX(value), height - bottom + 4, "axis"), label(toX(value), height - bottom + 16, short(value), "middle"));
  }
  root.append(line(left, height - bottom, width - right, height - bottom, "axis"), label((left + width - right) / 2, height - 6, x.label, "middle"));
  if (diagonal) root.append(line(toX(xLow), toY(yLow), toX(xHigh), toY(yHigh), "faintmark"));
  const legend = element("div", { class: "legend" });
  series.forEach((one, number) => {
    const style = `stroke: var(--c${(number % 6) + 1}); stroke-width: 2; stroke-dasharray: ${one.dots ? "" : DASHES[number % 6]}`;
    const points = one.points.filter((p) => p[0] !== null && p[1] !== null);
    if (!one.dots) root.append(drawing("path", { d: points.map((p, i) => `${i ? "L" : "M"}${toX(p[0]).toFixed(1)} ${toY(p[1]).toFixed(1)}`).join(""), style }));
    if (one.dots || points.length === 1) for (const p of points) root.append(drawing("circle", { cx: toX(p[0]), cy: toY(p[1]), r: 2.6, style: `fill: var(--c${(number % 6) + 1})` }));
    const sample = drawing("svg", { viewBox: "0 0 32 10", "aria-hidden": "true" });
    sample.append(one.dots ? drawing("circle", { cx: 16, cy: 5, r: 3, style: `fill: var(--c${(number % 6) + 1})` }) : drawing("path", { d: "M0 5H32", style }));
    legend.append(element("span", {}, sample, " ", one.name));
  });
  for (const mark of marks) {
    if (mark.x === null || mark.x === undefined) continue;
    if (mark.y === undefined) root.append(line(toX(mark.x), top, toX(mark.x), height - bottom, mark.faint ? "faintmark" : "mark"));
    else root.append(drawing("circle", { cx: toX(mark.x), cy: toY(mark.y), r: 5, class: "mark", style: "fill: none" }));
    const words = label(0, top + (mark.faint ? 22 : 9), mark.label, "start");
    const room = toX(mark.x) < width * 0.62;
    words.setAttribute("x", toX(mark.x) + (room ? 6 : -6));
    words.setAttribute("text-anchor", room ? "start" : "end");
    if (mark.y !== undefined) words.setAttribute("y", toY(mark.y) + 16);
    root.append(words);
  }
  const cursor = line(-9, top, -9, height - bottom, "mark");
  cursor.setAttribute("style", "stroke: var(--link); stroke-width: 3");
  root.append(cursor);
  place.replaceChildren(element("h3", { text: title }), root, legend);
  return (value) => {
    const at = value === null ? -9 : toX(value);
    cursor.setAttribute("x1", at);
    cursor.setAttribute("x2", at);
  };
}

function line(x1, y1, x2, y2, kind) {
  return drawing("line", { x1, y1, x2, y2, class: kind });
}

function label(x, y, text, anchor) {
  const made = drawing("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

function short(value) {
  return Math.abs(value) >= 1000 ? value.toExponential(0) : String(+value.toPrecision(4));
}
