// The report: a gallery, a threshold that moves every box in it, and charts. All numbers were computed by Python.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const images = data.images;
const tables = Object.fromEntries(Object.entries(data.colours).map(([name, stops]) => [name, ramp(stops)]));
const view = { colours: "inferno", opacity: 0.6, scale: data.relative ? "own" : "common", common: data.scale, truth: true, tables };
const state = { filter: {}, order: "mistakes first", step: data.lab.inUse, always: false, chosen: [], shown: 0 };
const CHUNK = 48;
const cards = [];
const cursors = [];

// --- the gallery ---------------------------------------------------------------------------------------------------

function caption(image, { boxes, iou }) {
  const called = image.outcome === "good" || image.outcome === "found" ? `${image.defect}, called ${image.label}` : null;
  const trust = trustOf(boxes);
  return [
    element("div", { class: "name", text: image.name }),
    called ? element("div", { text: called }) : element("div", {}, element("span", { class: "bad", text: image.outcome }), `: ${image.defect}, called ${image.label}`),
    element("div", { text: `P(defect) ${fixed(image.probability)}` + (iou === null ? "" : `, IoU ${fixed(iou)}`) + (trust === null ? "" : `, trust ${percent(trust)}`) }),
  ];
}

function card(position) {
  const image = images[state.chosen[position]], at = atStep(image, state.step, state.always);
  const picture = new Picture(image, image.map, view), text = element("div", { class: "caption" }, ...caption(image, at));
  picture.boxes(at.boxes);
  const button = element("button", { type: "button", onclick: () => open(position) }, picture.root, text);
  cards.push({ image, picture, text, button });
  return element("li", {}, button);
}

function more() {
  const end = Math.min(state.shown + CHUNK, state.chosen.length);
  for (; state.shown < end; state.shown++) byId("gallery").append(card(state.shown));
  byId("more").hidden = state.shown >= state.chosen.length;
}

function show() {
  state.chosen = choose(images, state.filter, state.order, state.step);
  state.shown = cards.length = 0;
  byId("gallery").replaceChildren();
  byId("count").textContent = `${state.chosen.length} of ${images.length} pictures${inWords(state.filter)}`;
  more();
  for (const button of document.querySelectorAll("[data-show]")) {
    button.setAttribute("aria-pressed", same(JSON.parse(button.dataset.show), state.filter));
  }
}

const BOX_WORDS = { on: "box fits", off: "box does not fit", few: "most defects without a box" };

function inWords(filter) {
  const words = Object.entries(filter).filter(([, value]) => value).map(([key, value]) =>
    key === "target" ? `true class ${value}` : key === "label" ? `called ${value}` : key === "box" ? BOX_WORDS[value]
      : key === "doubt" ? "worth a look" : key === "text" ? `with “${value}”` : value);
  return words.length ? `: ${words.join(", ")}` : "";
}

function same(a, b) {
  const plain = (filter) => JSON.stringify(Object.entries(filter).filter(([, value]) => value).sort());
  return plain(a) === plain(b);
}

function setFilter(filter) {
  state.filter = { ...filter };
  for (const control of document.querySelectorAll("[data-filter]")) {
    const value = state.filter[control.dataset.filter];
    if (control.type === "checkbox") control.checked = Boolean(value);
    else control.value = value || "";
  }
  show();
}

// --- one picture, large ---------------------------------------------------------------------------------------------

let opened = null;

function open(position) {
  if (position < 0 || position >= state.chosen.length) return;
  opened = position;
  while (state.shown <= position) more();
  const image = images[state.chosen[position]], at = atStep(image, state.step, state.always);
  const picture = new Picture(image, image.map, view);
  picture.boxes(at.boxes);
  picture.root.style.maxWidth = `calc(82vh * ${image.w / image.h})`;
  byId("large").replaceChildren(picture.root);
  byId("numbers").replaceChildren(...numbers(image, at));
  byId("where").textContent = `${position + 1} of ${state.chosen.length}`;
  if (!byId("dialog").open) byId("dialog").showModal();
}

function numbers(image, { boxes, iou }) {
  const row = (name, ...value) => element("tr", {}, element("th", { scope: "row", text: name }), element("td", { class: "name" }, ...value));
  const table = element("table", {},
    row("file", element("a", { href: image.href, target: "_blank", rel: "noopener", text: image.name })),
    row("size", `${image.w} × ${image.h} pixels`), row("true", image.defect), row("called", `${image.label} (${image.outcome})`),
    row("probability of a defect", fixed(image.probability, 4)),
    ...image.classes.map(([name, confidence]) => row(`confidence of ${name}`, fixed(confidence, 4))),
    row("IoU of the best box", iou === null ? "no mask" : fixed(iou)),
    row("map, highest value", fixed(image.map[2], 3)),
    ...(image.doubt ? [row("worth a look", image.doubt[1])] : []));
  const lines = boxes.map((box) => element("tr", {}, ...[
    `${box[0]}, ${box[1]}, ${box[2]}, ${box[3]}`, fixed(box[4]), box[6] ? `${box[6]} (${percent(box[5])})` : "of the threshold in use only", box[7],
  ].map((text) => element("td", { text }))));
  const head = element("tr", {}, ...["box x0, y0, x1, y1", data.heads ? "score, log-odds" : "score, evidence over Good (no probability)", "trust", "why not more"].map((text) => element("th", { text })));
  return [table, ...(boxes.length ? [element("h3", { text: "Boxes" }), element("div", { class: "wide" }, element("table", {}, head, ...lines))] : [element("h3", { text: "No box" })])];
}

/** Close, and put the focus on the picture that was looked at last; the browser alone would put it on the one opened. */
function shut() {
  if (byId("dialog").open) byId("dialog").close();
  if (opened !== null && cards[opened]) cards[opened].button.focus();
  opened = null;
}

function columns() {
  const tops = [...byId("gallery").children].map((item) => item.offsetTop);
  return Math.max(1, tops.filter((top) => top === tops[0]).length);
}

function keys(event) {
  if (event.key === "Escape" && byId("dialog").open) {
    event.preventDefault();
    shut();
  }
  const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() };
  if (!(event.key in steps)) return;
  if (byId("dialog").open) {
    open(opened + Math.sign(steps[event.key]));
    event.preventDefault();
    return;
  }
  const here = cards.findIndex((one) => one.button === document.activeElement);
  if (here < 0) return;
  event.preventDefault();
  const next = here + steps[event.key];
  if (next >= state.shown) more();
  if (cards[next]) cards[next].button.focus();
}

// --- the threshold ---------------------------------------------------------------------------------------------------

const NAMES = { threshold: "threshold", min_score: "smallest score" };

function stepText(step) {
  const value = data.lab.steps[step];
  return `${NAMES[data.lab.key]} ${value === null ? "∞" : short(+value.toFixed(3))}${step === data.lab.inUse ? " (in use)" : ""}`;
}

function moveTo(step) {
  state.step = step;
  for (const slider of document.querySelectorAll("input[data-step]")) {
    slider.value = step;
    slider.setAttribute("aria-valuetext", stepText(step));
  }
  for (const output of document.querySelectorAll("output[data-step]")) output.textContent = stepText(step);
  for (const { image, picture, text } of cards) {
    const at = atStep(image, step, state.always);
    picture.boxes(at.boxes);
    text.replaceChildren(...caption(image, at));
  }
  for (const cursor of cursors) cursor(data.lab.steps[step]);
  for (const row of document.querySelectorAll("[data-measure]")) row.textContent = measured(data.lab.curve[step], row.dataset.measure);
}

function measured(point, name) {
  if (name === "boxes") return String(point.boxes);
  if (name === "fitting") return point.judged ? `${point.fitting} (${percent(point.fitting / point.judged)})` : data.lab.masks ? "–" : "no masks";
  if (name.startsWith("false")) return fixed(point[name], 1);
  return name.startsWith("box_accuracy") ? percent(point[name]) : fixed(point[name], 3);
}

function along(curve, names) {
  return Object.entries(names).map(([key, name]) => ({ name, points: data.lab.steps.map((value, i) => [value, curve[i][key]]) }))
    .filter((one) => one.points.some((point) => point[1] !== null));
}

function labCharts() {
  if (data.lab.steps.length < 2) return;
  const inUse = { x: data.lab.steps[data.lab.inUse], label: "in use" }, x = { label: NAMES[data.lab.key] };
  const fit = along(data.lab.curve, { box_accuracy_30: "IoU ≥ 0.3", box_accuracy_50: "IoU ≥ 0.5", box_accuracy_70: "IoU ≥ 0.7" });
  if (fit.length) cursors.push(lineChart(byId("lab-fit"), { title: "Defective pictures with a box that fits, share", series: fit, marks: [inUse], x, y: { range: [0, 1] } }));
  const wrong = along(data.lab.curve, { false_per_100: "as decided", false_per_100_before: "whatever the class" });
  if (wrong.length) cursors.push(lineChart(byId("lab-false"), { title: "False boxes per 100 Good pictures", series: wrong, marks: [inUse], x, y: {} }));
}

// --- the other charts ------------------------------------------------------------------------------------------------

function rankingCharts(curves) {
  if (!curves.roc) return;
  const at = curves.working, unit = { range: [0, 1] };
  lineChart(byId("roc"), { title: "ROC: defects found against false alarms", series: [{ name: "share of defects found", points: curves.roc }],
    marks: [{ x: at.false, y: at.recall, label: "in use" }], x: { label: "share of Good pictures called defective", ...unit }, y: unit, diagonal: true });
  lineChart(byId("pr"), { title: "Precision against recall", series: [{ name: "share of alarms that are right", points: curves.pr }],
    marks: at.precision === null ? [] : [{ x: at.recall, y: at.precision, label: "in use" }], x: { label: "share of defects found", ...unit }, y: unit });
  lineChart(byId("reliability"), { title: "Confidence: does 80 % mean 80 %?", series: [{ name: "share that is right", points: curves.reliability, dots: true }],
    x: { label: "confidence", ...unit }, y: unit, diagonal: true });
}

function boxCharts(curves) {
  if (curves.trust.length) lineChart(byId("trust"), { title: "Trust: does it go with a better box?", series: [{ name: "IoU of a box", points: curves.trust, dots: true }],
    x: { label: "trust", range: [0, 1] }, y: { range: [0, 1] } });
  const curve = curves.box;
  if (!curve) return;
  const pairs = (values) => curve.thresholds.map((threshold, i) => [threshold, values[i]]);
  const marks = [{ x: curves.boxInUse, label: "in use" }, { x: curves.boxOracle, label: "oracle (best here)", faint: true }];
  const frame = { marks, x: { label: "boxes.threshold" }, y: { range: [0, 1] } };
  lineChart(byId("box-curve"), { title: "Box accuracy", ...frame, series: [
    { name: "IoU ≥ 0.3", points: pairs(curve.box_accuracy_30) }, { name: "IoU ≥ 0.5", points: pairs(curve.box_accuracy_50) },
    { name: "IoU ≥ 0.7", points: pairs(curve.box_accuracy_70) }, { name: "mean IoU", points: pairs(curve.mean_iou) }] });
  for (const [id, groups, title] of [["box-types", curve.max_box_acc_v2_by_defect, "V2 by defect type"], ["box-sizes", curve.max_box_acc_v2_by_size, "V2 by size of the defect"]]) {
    if (groups) lineChart(byId(id), { title, ...frame, series: Object.entries(groups).map(([name, values]) => ({ name, points: pairs(values) })) });
  }
}

function trainingCharts(history) {
  const charts = [["train-loss", "Loss", /loss$/], ["train-accuracy", "Accuracy", /accuracy$/], ["train-seconds", "Seconds per epoch", /^seconds$/]];
  for (const [id, title, wanted] of charts) {
    const names = [...new Set(history.flatMap((epoch) => Object.keys(epoch)))].filter((name) => wanted.test(name));
    const series = names.map((name) => ({ name, points: history.map((epoch) => [epoch.epoch, epoch[name] ?? null]) }));
    if (series.length) lineChart(byId(id), { title, series, x: { label: "epoch" }, y: {} });
  }
}

// --- the first screen ------------------------------------------------------------------------------------------------

/** The worst picture of each way to fail, with its boxes as they were decided. */
function examples() {
  for (const place of document.querySelectorAll("[data-example]")) {
    const image = images[Number(place.dataset.example)], picture = new Picture(image, image.map, view);
    picture.boxes(atStep(image, data.lab.inUse).boxes);
    place.append(picture.root);
  }
}

/** Put a command where it can be pasted from; where the browser forbids that, mark it, to be copied by hand. */
async function copy(button) {
  const code = button.previousElementSibling;
  getSelection().selectAllChildren(code);
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Marked";
  }
}

// --- start -----------------------------------------------------------------------------------------------------------

function start() {
  for (const name of [...Object.keys(ORDERS), "by name"]) byId("order").append(element("option", { text: name, value: name }));
  for (const control of document.querySelectorAll("[data-filter]")) {
    control.addEventListener("input", () => {
      const value = control.type === "checkbox" ? control.checked && "yes" : control.value;
      setFilter({ ...state.filter, [control.dataset.filter]: value || undefined });
    });
  }
  for (const control of document.querySelectorAll("[data-view]")) {
    const key = control.dataset.view;
    if (control.type === "checkbox") control.checked = view[key];
    else control.value = view[key];
    control.addEventListener("input", () => {
      view[key] = control.type === "checkbox" ? control.checked : control.type === "range" ? Number(control.value) : control.value;
      for (const one of cards) one.picture.show(view);
    });
  }
  for (const button of document.querySelectorAll("[data-show]")) {
    button.addEventListener("click", () => {
      if (button.dataset.order) byId("order").value = state.order = button.dataset.order;
      setFilter(JSON.parse(button.dataset.show));
      byId("pictures").scrollIntoView({ block: "start" });
    });
  }
  for (const button of document.querySelectorAll("[data-open]")) {
    button.addEventListener("click", () => {
      setFilter({});
      open(state.chosen.indexOf(Number(button.dataset.open)));
    });
  }
  for (const slider of document.querySelectorAll("input[data-step]")) {
    slider.max = data.lab.steps.length - 1;
    slider.addEventListener("input", () => moveTo(Number(slider.value)));
    slider.addEventListener("change", () => { if (/box/.test(state.order) || state.filter.box) show(); });
  }
  for (const button of document.querySelectorAll("[data-back]")) button.addEventListener("click", () => { moveTo(data.lab.inUse); show(); });
  byId("order").addEventListener("input", (event) => { state.order = event.target.value; show(); });
  byId("always")?.addEventListener("input", (event) => { state.always = event.target.checked; moveTo(state.step); });
  byId("reset").addEventListener("click", () => setFilter({}));
  byId("more").addEventListener("click", more);
  byId("previous").addEventListener("click", () => open(opened - 1));
  byId("next").addEventListener("click", () => open(opened + 1));
  byId("close").addEventListener("click", shut);
  byId("dialog").addEventListener("close", shut);
  document.addEventListener("keydown", keys);
  new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) more(); }, { rootMargin: "600px" }).observe(byId("more"));
  for (const cell of document.querySelectorAll("[data-used]")) cell.textContent = measured(data.lab.curve[data.lab.inUse], cell.dataset.used);
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
  examples();
  labCharts();
  rankingCharts(data.curves);
  boxCharts(data.curves);
  trainingCharts(data.curves.training);
  moveTo(state.step);
  show();
}

start();
