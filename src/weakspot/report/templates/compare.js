// Two set-ups on the same pictures, side by side, as Python ordered them: where they disagree first.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const tables = Object.fromEntries(Object.entries(data.colours).map(([name, stops]) => [name, ramp(stops)]));
const views = data.scales.map((common) => ({ colours: "inferno", opacity: 0.6, scale: "common", common, truth: true, tables }));
const state = { chosen: [], shown: 0 };
const CHUNK = 30;
const WRONG = ["missed", "false alarm", "wrong type"];
const pictures = [];

function half(image, side) {
  const answer = image.sides[side], wrong = WRONG.includes(answer.outcome);
  const picture = new Picture({ ...image, label: answer.label, outcome: answer.outcome }, answer.map, views[side]);
  picture.boxes(answer.boxes);
  pictures.push([picture, side]);
  const text = `called ${answer.label}, P(defect) ${fixed(answer.probability)}${answer.iou === null ? "" : `, IoU ${fixed(answer.iou)}`}`;
  return element("div", {}, picture.root, element("div", { class: "caption" }, ...(wrong ? [element("span", { class: "bad", text: answer.outcome }), ": "] : []), text));
}

function more() {
  const end = Math.min(state.shown + CHUNK, state.chosen.length);
  for (; state.shown < end; state.shown++) {
    const image = state.chosen[state.shown];
    const title = element("div", { class: "caption name" }, element("a", { href: image.href, text: image.name }), ` (${image.defect})`);
    byId("gallery").append(element("li", {}, element("div", { class: "pair" }, half(image, 0), half(image, 1)), title));
  }
  byId("more").hidden = state.shown >= state.chosen.length;
}

const KINDS = {
  all: () => true,
  first: (a, b) => !a && b,
  second: (a, b) => a && !b,
  wrong: (a, b) => a && b,
};

function show() {
  const kind = KINDS[byId("kind").value], defect = byId("defect").value, text = byId("text").value.toLocaleLowerCase();
  state.chosen = data.images.filter((image) => kind(...image.sides.map((side) => WRONG.includes(side.outcome)))
    && (!defect || image.defect === defect) && image.name.toLocaleLowerCase().includes(text));
  state.shown = pictures.length = 0;
  byId("gallery").replaceChildren();
  byId("count").textContent = `${state.chosen.length} of ${data.images.length} pictures`;
  more();
}

for (const id of ["kind", "defect", "text"]) byId(id).addEventListener("input", show);
byId("colours").addEventListener("input", (event) => {
  for (const view of views) view.colours = event.target.value;
  for (const [picture, side] of pictures) picture.show(views[side]);
});
byId("more").addEventListener("click", more);
new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting)) more(); }, { rootMargin: "600px" }).observe(byId("more"));
show();
