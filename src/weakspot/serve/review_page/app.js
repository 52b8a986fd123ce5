// The review: one picture at a time, its label and boxes, and the keys.

import { get, Saver, session } from "./api.js";
import { Boxes, corners, moved } from "./boxes.js";
import { make, plural, Queue } from "./queue.js";
import { showSummary } from "./summary.js";
import { Training } from "./training.js";
import { image, View } from "./view.js";

const $ = (id) => document.getElementById(id);
const GOOD = "good";
const POLL_EVERY = 4000;  // milliseconds between two questions after what other windows have done

const KEYS = [
  ["Enter or A", "accept what is shown, go to the next to do"], ["N, P", "next, previous picture"], ["S", "skip: decide later"],
  ["G", "wrong label: Good and defective in turn"], ["1 to 9", "class of the chosen box, or of the picture"], ["D", "draw: then drag, or press an arrow key"],
  ["B", "choose the next box (with Shift the one before)"], ["arrows", "move the chosen box, or the picture"],
  ["Shift and arrows", "change the size of the chosen box"], ["Ctrl and arrows", "by single pixels (with Shift: size)"],
  ["Del or X", "delete the chosen box"], ["T", "take the model’s boxes"], ["U or Ctrl Z", "undo"], ["M", "heat map on or off"],
  ["+ and −", "zoom in, out"], ["0", "see all of the picture"], ["Z", "zoom to the chosen box"], ["H, or hold Space", "hand: drag moves the picture"],
  ["Q", "go to the queue (arrows, Enter)"], ["R", "after a conflict: redo my change"], ["Esc", "choose nothing, leave"], ["?", "this list"],
];

const state = { described: null, picture: null, chosen: null, drawing: false, hand: false, past: [], refusedChange: null, counts: { reviewed: 0, boxes: 0 }, asked: 0, loading: false, leaving: false };
const saver = new Saver({
  saving: () => tell("Saving"),
  saved: () => tell("Saved"),
  trying: (error) => tell(error.otherReview ? `Not saved: ${error.message}` : "Not saved: the command does not answer. Trying again", true),
  refused: (error) => tell(`Not saved: ${error.message}`, true),
});
const view = new View($("stage"), $("canvas"), () => { $("zoom").textContent = percent(view.scale); drawBoxes(); });
const boxes = new Boxes($("overlay"), view, {
  get boxes() { return state.picture ? state.picture.boxes : []; },
  get ghosts() { return state.picture ? ghosts() : []; },
  get chosen() { return state.chosen; },
  get drawing() { return state.drawing; },
  get hand() { return state.hand; },
  get classes() { return state.described.classes; },
  choose: (index) => choose(index),
  drawn: (box) => add(box),
  changed: (index, box) => change((to) => { to.boxes[index] = box; }, "Box changed"),
  preview: (index, box) => preview(index, box),
});
const queue = new Queue((index) => { closeQueue(); open(index); });
let training;

function tell(text, bad = false) { $("saved").textContent = text; $("saved").className = bad ? "bad" : ""; }
function say(text) { $("said").textContent = text; }
const percent = (scale) => `${scale < 0.1 ? (100 * scale).toFixed(1) : Math.round(100 * scale)} %`;
const copy = (value) => JSON.parse(JSON.stringify(value));
const classes = () => state.described.classes;
const written = (label) => label === GOOD ? "Good" : label;
const usual = () => state.picture.model.boxes[0]?.label || (state.picture.model.label !== GOOD ? state.picture.model.label : classes()[1]);

// --- the picture ------------------------------------------------------------------------------------------------------

async function open(index) {
  if (index === null || index === undefined) return;
  saveNudge();
  const ticket = ++state.asked;
  state.loading = true;
  await saver.line;
  if (state.refusedChange) {  // refused a moment ago: leaving would lose it
    state.loading = false;
    return say("Decide first: redo your change, with R, or keep what is there");
  }
  const picture = await get(`/api/pictures/${index}`).catch((error) => silent(error));
  if (ticket !== state.asked) return;
  if (!picture) { state.loading = false; return; }
  Object.assign(state, { picture, chosen: null, refusedChange: null });
  saver.versions.set(index, picture.version);
  setDrawing(false);
  $("banner").hidden = true;
  history.replaceState(null, "", `#${index + 1}`);
  $("loading").hidden = false;
  const shown = view.show(index, picture);
  render();
  queue.reveal(index);
  const loaded = await shown;
  if (ticket !== state.asked) return;
  state.loading = false;
  $("loading").hidden = loaded;
  if (!loaded) $("loading").textContent = "This picture cannot be read any more";
  say(`Picture ${index + 1}: ${picture.name}. ${picture.why}. ${written(picture.label)}, ${plural(picture.boxes.length, "box", "boxes")}.`);
  following(index).then((next) => next !== null && image(view.address(next, "preview.jpg"), () => {}));
}

const following = async (after, show = "todo", back = false) => (await get(`/api/next?after=${after}&show=${show}&back=${back}`)).index;

function ghosts() {  // the model's boxes where nobody starts from them
  const { label, model } = state.picture;
  return label === GOOD ? model.boxes : [];
}

function drawBoxes(shown) { if (state.picture && state.described) boxes.draw(shown || state.picture.boxes); }

function preview(index, box) {  // while the pointer moves
  if (!box) return drawBoxes();
  const shown = [...state.picture.boxes];
  if (index === null || index === undefined) shown.push({ ...box, label: usual() }); else shown[index] = box;
  drawBoxes(shown);
}

function render() {
  const { picture } = state, total = state.described.total;
  $("name").textContent = picture.name;
  const subset = { train: "training picture", val: "validation picture (its boxes are not learnt from)", test: "test picture" }[picture.subset] || "picture";
  const states = { todo: "to do", draft: "changed, not accepted", skipped: "skipped", labelled: "label confirmed, nothing drawn", reviewed: "reviewed" };
  $("where").textContent = `${subset} ${picture.index + 1} of ${total.toLocaleString("en")}, ${picture.width}×${picture.height}, ${states[picture.state]}`;
  $("why").textContent = `${picture.why[0].toUpperCase()}${picture.why.slice(1)}.`;
  renderLabels();
  renderList();
  const { label, probability, boxes: found } = picture.model;
  $("model").textContent = `${written(label)}; probability of a defect ${probability.toFixed(2)}, ${plural(found.length, "box", "boxes")}`
    + (found.length && found[0].trust !== null ? `, trust ${found.map((box) => Math.round(100 * box.trust)).join(", ")} %` : "");
  $("take").hidden = !found.length;
  drawBoxes();
}

function renderLabels() {
  const { picture } = state, choices = $("label-choices");
  if (classes().length > 5) {
    const select = make("select", { "aria-label": "Label of the picture" });
    for (const name of classes()) select.add(new Option(written(name), name, false, name === picture.label));
    select.addEventListener("change", () => setLabel(select.value));
    choices.replaceChildren(select);
  } else choices.replaceChildren(...classes().map((name) => {
    const button = make("button", { type: "button", class: "name", "aria-pressed": String(name === picture.label) }, written(name));
    button.addEventListener("click", (event) => { setLabel(name); leave(event); });
    return button;
  }));
  const changed = picture.given !== null && picture.given !== picture.label;
  $("given").textContent = picture.given === null ? "The data set gives it no label." : changed ? `Changed: the data say ${written(picture.given)}.` : "As the data say.";
  $("given").className = changed ? "changed" : "faint";
}

function renderList() {
  const { picture } = state;
  $("boxes-title").textContent = picture.boxes.length ? `Boxes: ${picture.boxes.length}` : "Boxes";
  $("boxes").replaceChildren(...picture.boxes.map((box, i) => {
    const row = make("li"), words = `${box.x1 - box.x0}×${box.y1 - box.y0} at ${box.x0}, ${box.y0}`;
    const pick = make("button", { type: "button", "aria-pressed": String(i === state.chosen) }, `${i + 1}  ${words}`);
    pick.addEventListener("click", (event) => { choose(i); leave(event); });
    const away = make("button", { type: "button", "aria-label": `Delete box ${i + 1}` }, "×");
    away.addEventListener("click", (event) => { remove(i); leave(event); });
    row.append(pick, away);
    if (classes().length > 2) {
      const select = make("select", { "aria-label": `Class of box ${i + 1}` });
      for (const name of classes().slice(1)) select.add(new Option(name, name, false, name === box.label));
      select.addEventListener("change", () => change((to) => { to.boxes[i].label = select.value; }, "Class changed"));
      row.append(select);
    }
    return row;
  }));
  const ghost = ghosts().length;
  $("no-boxes").textContent = picture.boxes.length ? "" : picture.label !== GOOD ? "None drawn. Accepted like this, only its label is learnt from."
    : ghost ? `A Good picture has none. The model drew ${plural(ghost, "box", "boxes")} (dashed).` : "A Good picture has none.";
}

function leave(event) { if (event.detail) $("stage").focus({ preventScroll: true }); }  // after a click keys are the picture's again

// --- changes ----------------------------------------------------------------------------------------------------------

const content = ({ label, boxes: found, state: how }) => copy({ label, boxes: found.map(({ x0, y0, x1, y1, label: name }) => ({ x0, y0, x1, y1, label: name })), state: how });
const isConfirmed = (how) => how === "reviewed" || how === "labelled";

// While a picture is left, or is not there yet, keys change nothing: they would change what nobody has seen.
const unseen = () => !state.picture || state.loading || state.leaving;

// Change the picture, show it, save it. What was accepted before stays accepted.
function change(how, words) {
  if (unseen()) return drawBoxes();
  saveNudge();
  const { picture } = state, before = content(picture), to = content(picture);
  how(to);
  to.state = isConfirmed(picture.state) ? "reviewed" : "draft";
  state.past.push({ index: picture.index, before });
  if (words) say(words);
  return showAndSave(to);
}

async function showAndSave(to) {
  const { picture } = state;
  Object.assign(picture, copy(to));
  if (state.chosen !== null && state.chosen >= picture.boxes.length) state.chosen = null;
  render();
  try {
    const saved = await saver.save(picture.index, to);
    if (state.picture === picture) Object.assign(picture, { state: saved.state, version: saved.version });
    queue.update(saved);
    if (state.picture === picture) render();
    poll();
    return true;
  } catch (error) {
    if (error.status === 409) conflict(error.content.picture, to);
    else if (state.picture === picture) open(picture.index).catch(() => {});
    return false;
  }
}

function conflict(newer, refusedChange) {
  saver.versions.set(newer.index, newer.version);
  queue.update(newer);
  if (state.picture.index !== newer.index) return;
  state.past = state.past.filter((entry) => entry.index !== newer.index);
  Object.assign(state, { picture: newer, chosen: null, refusedChange });
  $("banner-text").textContent = "Another window changed this picture. You see what it saved; your change is not in it.";
  $("redo").hidden = false;
  $("banner").hidden = false;
  render();
  $("redo").focus();
}

function redo() {
  if (!state.refusedChange) return;
  const again = state.refusedChange;
  closeConflict();
  state.past.push({ index: state.picture.index, before: content(state.picture) });
  showAndSave(again);
}

function closeConflict() { state.refusedChange = null; $("banner").hidden = true; $("stage").focus({ preventScroll: true }); }

async function accept() {
  const { picture } = state;
  if (unseen() || state.refusedChange) return;
  const to = { ...content(picture), state: "reviewed" };
  state.past.push({ index: picture.index, before: content(picture) });
  if (to.label !== GOOD && !to.boxes.length) say("Accepted: its label alone, as nothing is drawn");
  await leaveWith(to);
}

async function skip() {
  const { picture } = state;
  if (unseen() || state.refusedChange) return;
  state.past.push({ index: picture.index, before: content(picture) });
  await leaveWith({ ...content(picture), state: "skipped" });
}

async function leaveWith(to) {
  const { index } = state.picture;
  state.leaving = true;
  try { if (await showAndSave(to)) await onward(index); } finally { state.leaving = false; }
}

async function onward(from) {
  const next = await following(from) ?? await following(-1);
  if (next !== null) return open(next);
  say("Every picture was looked at.");
  tell("Saved. Every picture was looked at");
}

async function step(back) {
  const next = await following(state.picture.index, queue.show, back);
  if (next !== null) return open(next);
  say(back ? "This is the first picture" : "This is the last picture");
}

function setLabel(label) {
  if (label === state.picture.label) return;
  change((to) => {
    const before = to.label;
    to.label = label;
    if (label === GOOD) to.boxes = [];
    else if (before === GOOD) to.boxes = modelBoxes().map((box) => ({ ...box }));
    else for (const box of to.boxes) if (box.label === before) box.label = label;
  }, `Label: ${written(label)}`);
}

const modelBoxes = () => state.picture.model.boxes.map(({ x0, y0, x1, y1, label }) => ({ x0, y0, x1, y1, label }));

function toggleLabel() { setLabel(state.picture.label === GOOD ? usual() : GOOD); }

function take() {
  if (!state.picture.model.boxes.length) return say("The model drew no box");
  change((to) => { to.boxes = modelBoxes(); if (to.label === GOOD) to.label = usual(); }, "The model’s boxes are back");
}

function add(box) {
  if (unseen()) return drawBoxes();
  setDrawing(false);
  const label = state.picture.label === GOOD ? usual() : state.picture.label;
  const place = state.picture.boxes.length;
  state.chosen = place;
  change((to) => { to.boxes.push({ ...box, label }); if (to.label === GOOD) to.label = label; }, `Box ${place + 1} drawn`);
}

function armDrawing() {
  if (state.drawing) return drawWithKeys();
  choose(null);
  setDrawing(true);
  say("Drag to draw a box, or press an arrow key for one in the middle");
}

function drawWithKeys() {  // in the middle of what is seen
  const { x0, y0, x1, y1 } = view.seen, w = (x1 - x0) / 8, h = (y1 - y0) / 8, x = (x0 + x1) / 2, y = (y0 + y1) / 2;
  add(corners([x - w / 2, y - h / 2], [x + w / 2, y + h / 2], view.size.width, view.size.height));
}

function remove(index = state.chosen) {
  const count = state.picture.boxes.length;
  if (index === null && count === 1) index = 0;
  if (index === null) return say(count ? "Choose a box first, with B" : "There is no box");
  state.chosen = null;
  change((to) => { to.boxes.splice(index, 1); }, `Box ${index + 1} deleted`);
}

async function undo() {
  if (unseen()) return;
  const last = state.past.pop();
  if (!last) return say("There is nothing to undo");
  if (state.refusedChange) closeConflict();
  if (state.picture.index !== last.index) await open(last.index);
  if (state.picture.index !== last.index) {  // it could not be opened, or another one was asked for meanwhile
    state.past.push(last);
    return say(`Not undone: picture ${last.index + 1} is not shown; undo again to go there`);
  }
  say("Undone");
  showAndSave(last.before);
}

// --- choosing, moving, zooming ----------------------------------------------------------------------------------------

function choose(index) { state.chosen = index; renderList(); drawBoxes(); if (index !== null) describe(index); }

function describe(index) {
  const box = state.picture.boxes[index];
  say(`Box ${index + 1} of ${state.picture.boxes.length}: ${box.label}, ${box.x1 - box.x0} by ${box.y1 - box.y0} pixels at ${box.x0}, ${box.y0}`);
}

function chooseNext(back) {
  const count = state.picture.boxes.length;
  if (!count) return say("There is no box; D draws one");
  choose(state.chosen === null ? (back ? count - 1 : 0) : (state.chosen + (back ? count - 1 : 1)) % count);
}

const burst = { timer: 0, before: null };

// Keys that are held down are one change, saved when they rest.
function nudge(key, resize, fine) {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  if (unseen()) return;
  if (state.drawing) return drawWithKeys();
  if (state.chosen === null) return view.pan(-60 * dx, -60 * dy);
  const size = fine ? 1 : Math.max(1, Math.round(6 / view.scale)), box = state.picture.boxes[state.chosen], { width, height } = view.size;
  if (!burst.before) Object.assign(burst, { before: content(state.picture), picture: state.picture });
  const next = resize
    ? { ...box, ...corners([box.x0, box.y0], [Math.max(box.x0 + 1, box.x1 + dx * size), Math.max(box.y0 + 1, box.y1 + dy * size)], width, height) }
    : moved(box, dx * size, dy * size, width, height);
  state.picture.boxes[state.chosen] = next;
  renderList();
  drawBoxes();
  clearTimeout(burst.timer);
  burst.timer = setTimeout(saveNudge, 250);
}

function saveNudge() {  // save what the arrow keys did
  clearTimeout(burst.timer);
  if (!burst.before || burst.picture !== state.picture) { burst.before = null; return null; }
  const after = content(state.picture);
  Object.assign(state.picture, copy(burst.before));
  burst.before = null;
  const done = change((to) => { to.boxes = after.boxes; });
  if (state.chosen !== null && state.picture.boxes[state.chosen]) describe(state.chosen);
  return done;
}

function setDrawing(on) { state.drawing = on; press("draw", on); if (on) setHand(false); }
function setHand(on) { state.hand = on; press("hand", on); $("overlay").classList.toggle("hand", on); if (on && state.drawing) setDrawing(false); }
function press(name, on) { document.querySelector(`[data-do=${name}]`).setAttribute("aria-pressed", String(on)); }
function toggleMap() { view.setMap(!view.map); press("map", view.map); say(view.map ? "Heat map on" : "Heat map off"); }

function setClass(number) {
  const label = classes()[state.chosen === null ? number - 1 : number];
  if (!label) return;
  if (state.chosen === null) return setLabel(label);
  change((to) => { to.boxes[state.chosen].label = label; }, `Class of box ${state.chosen + 1}: ${label}`);
}

const ACTIONS = {
  accept, skip, undo, take, previous: () => step(true), next: () => step(false), remove: () => remove(), map: toggleMap,
  draw: () => setDrawing(!state.drawing), hand: () => setHand(!state.hand), in: () => view.zoom(1.4), out: () => view.zoom(1 / 1.4), fit: () => view.fit(),
};

const LETTERS = {
  enter: accept, a: accept, n: ACTIONS.next, pagedown: ACTIONS.next, p: ACTIONS.previous, pageup: ACTIONS.previous, s: skip,
  g: toggleLabel, d: armDrawing, x: () => remove(), delete: () => remove(), backspace: () => remove(),
  t: take, u: undo, m: toggleMap, "+": ACTIONS.in, "=": ACTIONS.in, "-": ACTIONS.out, "−": ACTIONS.out, 0: ACTIONS.fit,
  z: () => state.chosen !== null ? view.closeTo(state.picture.boxes[state.chosen]) : view.fit(), h: ACTIONS.hand, r: redo,
  q: () => { openQueue(); queue.focus(); }, "?": () => $("help").showModal(),
  escape: () => { if (state.drawing) setDrawing(false); else if (state.hand) setHand(false); else choose(null); closeQueue(); $("stage").focus({ preventScroll: true }); },
};

function key(event) {
  if (document.querySelector("dialog[open]") || !state.picture || event.altKey || event.metaKey) return;
  const name = event.key.toLowerCase(), target = event.target;
  if (event.ctrlKey && !event.key.startsWith("Arrow")) {
    if (name === "z") { event.preventDefault(); afterNudge(undo); }
    return;
  }
  if (target.matches("select, input, textarea")) return;
  if (target.matches("button, summary, a") && (name === "enter" || name === " ")) return;
  if (event.key.startsWith("Arrow")) { event.preventDefault(); return nudge(event.key, event.shiftKey, event.ctrlKey); }
  if (name === " ") { event.preventDefault(); boxes.held = true; $("overlay").classList.add("hand"); return; }
  const action = name === "b" ? () => chooseNext(event.shiftKey) : /^[1-9]$/.test(name) ? () => setClass(Number(name)) : LETTERS[name];
  if (!action || (event.repeat && action === accept)) return;
  event.preventDefault();
  afterNudge(action);
}

async function afterNudge(action) {
  const saving = saveNudge();
  if (saving) await saving;
  try { await action(); } catch (error) { silent(error); }
}

function silent(error) { tell(error.status || error.otherReview ? error.message : "The command does not answer; is it running?", true); return null; }

// --- beside the picture -----------------------------------------------------------------------------------------------

function openQueue() { $("queue").classList.add("open"); $("open-queue").setAttribute("aria-expanded", "true"); }
function closeQueue() { $("queue").classList.remove("open"); $("open-queue").setAttribute("aria-expanded", "false"); }

async function poll() {  // what the corrections say, and whether another window changed this picture
  const { picture } = state, known = picture && saver.versions.get(picture.index);
  const found = await get(`/api/summary${picture ? `?index=${picture.index}` : ""}`).catch((error) => error.otherReview && !saver.waiting ? silent(error) : null);
  if (!found) return;
  state.counts = found;
  showSummary(found);
  // What was asked before an own save, or before the picture was left, says nothing of another window.
  const calm = !unseen() && state.picture === picture && !saver.waiting && !state.refusedChange && !burst.before && !boxes.drag;
  if (calm && known === saver.versions.get(picture.index) && found.version !== known) {
    await open(picture.index);
    say("Another window changed this picture; you see what it saved.");
    tell("Another window changed this picture: this is what it saved");
  }
}

function listen() {
  document.addEventListener("keydown", key);
  document.addEventListener("keyup", (event) => {
    if (event.key === " ") { boxes.held = false; $("overlay").classList.toggle("hand", state.hand); }
  });
  for (const button of document.querySelectorAll("[data-do]"))
    button.addEventListener("click", (event) => { afterNudge(ACTIONS[button.dataset.do]); leave(event); });
  for (const button of document.querySelectorAll("dialog .close")) button.addEventListener("click", () => button.closest("dialog").close());
  $("open-help").addEventListener("click", () => $("help").showModal());
  $("help").addEventListener("close", () => $("stage").focus());
  $("open-queue").addEventListener("click", () => $("queue").classList.contains("open") ? closeQueue() : openQueue());
  $("redo").addEventListener("click", redo);
  $("keep").addEventListener("click", () => { closeConflict(); tell("Saved"); });
  window.addEventListener("beforeunload", (event) => { if (saver.waiting || burst.before) event.preventDefault(); });
  window.addEventListener("hashchange", () => open(asked()));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
  setInterval(() => { if (!document.hidden) poll(); }, POLL_EVERY);
  for (const [name, words] of KEYS) {
    const row = make("div");
    row.append(make("span", {}, words), make("span", {}, name));
    $("key-list").append(row);
  }
}

function asked() {
  const number = Number(location.hash.slice(1)) - 1;
  return Number.isInteger(number) && number >= 0 && number < state.described.total ? number : state.described.resume;
}

async function begin() {
  state.described = await session();
  view.tileSide = state.described.rules.tile;
  view.queue = state.described.pictures;
  $("run").textContent = state.described.run;
  $("file").textContent = state.described.file;
  document.title = `Review ${state.described.run}`;
  listen();
  await open(asked());
  await queue.reload();
  await poll();
  training = new Training(state.described.no_training, () => state.counts);
  if (state.described.remarks.length) tell(state.described.remarks.join("; "));
  document.documentElement.dataset.ready = "yes";
  $("stage").focus({ preventScroll: true });
}

begin().catch((error) => tell(`The page cannot be shown: ${error.message}`, true));
