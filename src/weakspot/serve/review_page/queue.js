// The list of pictures: only the rows that are seen are in the page, and rows are asked for a hundred at a time.

import { get } from "./api.js";

const HEIGHT = 66, PAGE = 100;
const MARKS = { todo: ["○", "to do"], draft: ["◐", "changed, not accepted"], skipped: ["→", "skipped"],
  labelled: ["✓", "label confirmed"], reviewed: ["✓", "reviewed"] };

const $ = (id) => document.getElementById(id);

export class Queue {
  constructor(open) {
    Object.assign(this, { open, pages: new Map(), total: 0, current: null, show: "all", drawn: new Map() });
    $("rows").addEventListener("scroll", () => this.#draw(), { passive: true });
    new ResizeObserver(() => this.#draw()).observe($("rows"));
    $("show").addEventListener("change", () => { this.show = $("show").value; this.reload(); });
    $("rows").addEventListener("keydown", (event) => this.#key(event));
  }

  async reload() {
    this.pages.clear();
    await this.#page(0);
    await this.reveal(this.current);
    this.#draw();
  }

  async #page(number) {
    if (this.pages.has(number)) return;
    this.pages.set(number, []);
    const asked = this.show, found = await get(`/api/queue?start=${number * PAGE}&count=${PAGE}&show=${this.show}`);
    if (asked !== this.show) return;
    this.pages.set(number, found.rows);
    this.total = found.total;
    $("spacer").style.height = `${this.total * HEIGHT}px`;
    $("count").textContent = this.total > 1 ? `${plural(this.total, "picture")}, most worth a look first`
      : this.total ? "1 picture" : "no such picture";
    this.#draw();
  }

  // What changed about a picture; a list that shows some states alone is asked for again.
  update(picture) {
    if (this.show !== "all") return void this.reload();
    for (const rows of this.pages.values())
      for (const row of rows) if (row.index === picture.index) Object.assign(row, { state: picture.state, label: picture.label });
    this.#draw();
  }

  async reveal(index) {
    this.current = index;
    if (index === null) return;
    const { row } = await get(`/api/position?index=${index}&show=${this.show}`), rows = $("rows"), top = row * HEIGHT;
    if (top < rows.scrollTop || top + HEIGHT > rows.scrollTop + rows.clientHeight)
      rows.scrollTop = Math.max(0, top - rows.clientHeight / 3);
    this.#draw();
  }

  focus() { ($("rows").querySelector("[aria-current=true]") || $("rows").querySelector("button") || $("rows")).focus(); }

  #draw() {
    const rows = $("rows"), first = Math.max(0, Math.floor(rows.scrollTop / HEIGHT) - 4);
    const last = Math.min(this.total - 1, Math.ceil((rows.scrollTop + rows.clientHeight) / HEIGHT) + 4);
    const seen = new Set();
    for (let i = first; i <= last; i++) {
      const page = this.pages.get(Math.floor(i / PAGE));
      if (!page) this.#page(Math.floor(i / PAGE));
      const row = page && page[i % PAGE];
      if (row) { seen.add(i); this.#place(i, row); }
    }
    for (const [i, element] of this.drawn) if (!seen.has(i)) { element.remove(); this.drawn.delete(i); }
  }

  #place(i, row) {
    let place = this.drawn.get(i);
    if (!place) {
      place = make("div", { class: "row", role: "listitem", "aria-posinset": i + 1 });
      place.append(make("button", { type: "button" }));
      place.style.top = `${i * HEIGHT}px`;
      place.firstChild.addEventListener("click", () => this.open(Number(place.firstChild.dataset.index)));
      this.drawn.set(i, place);
      $("rows").append(place);
    }
    place.setAttribute("aria-setsize", this.total);
    const button = place.firstChild, [sign, words] = MARKS[row.state], now = row.index === this.current;
    button.tabIndex = now ? 0 : -1;
    if (now) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
    const told = `${row.index}|${row.state}|${row.label}`;
    if (button.dataset.told === told) return;
    Object.assign(button.dataset, { told, index: row.index });
    const kind = row.state === "reviewed" || row.state === "labelled" ? "mark done" : row.state === "draft" ? "mark draft" : "mark";
    const mark = make("span", { class: kind, "aria-hidden": "true" }, sign), what = make("span", { class: "what" });
    const name = row.name.split("/").slice(-2).join("/");
    what.append(make("span", { class: "name" }, name), make("span", { class: "reason" }, row.why), make("span", { class: "hidden" }, `${words}, ${row.label}`));
    button.title = row.name;
    button.replaceChildren(mark, what);
  }

  #key(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }, step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const here = [...this.drawn].find(([, element]) => element.contains(document.activeElement));
    const next = Math.min(this.total - 1, Math.max(0, (here ? here[0] : 0) + step)), rows = $("rows");
    if (next * HEIGHT < rows.scrollTop) rows.scrollTop = next * HEIGHT;
    if ((next + 1) * HEIGHT > rows.scrollTop + rows.clientHeight) rows.scrollTop = (next + 1) * HEIGHT - rows.clientHeight;
    this.#draw();
    this.drawn.get(next)?.firstChild.focus();
  }
}

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

export function make(name, attributes = {}, text = null) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== null) made.textContent = text;
  return made;
}
