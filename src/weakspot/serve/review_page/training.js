// Train again with what was corrected: start, progress, end, and the way to the comparison.

import { get, send } from "./api.js";
import { make, plural } from "./queue.js";

const $ = (id) => document.getElementById(id);
const NAMES = { balanced_accuracy: "Balanced accuracy", good_or_not: "Good or not, balanced accuracy", max_box_acc_v2: "MaxBoxAccV2 of the boxes" };
const WORDS = { none: "", running: "Training", done: "Done.", failed: "It failed:", cancelled: "Cancelled. Start goes on from there as long as nothing more is corrected." };

export class Training {
  constructor(reason, counts) {
    Object.assign(this, { reason, counts, timer: 0 });
    $("open-training").addEventListener("click", () => this.open());
    $("training-start").addEventListener("click", () => this.#call("POST"));
    $("training-cancel").addEventListener("click", () => this.#call("DELETE"));
    $("training").addEventListener("close", () => { document.getElementById("stage").focus(); });
    this.refresh();
  }

  open() { this.refresh(); $("training").showModal(); }

  async refresh() {
    clearTimeout(this.timer);
    try {
      const found = await get("/api/training");
      this.#show(found);
      if (found.state === "running") this.timer = setTimeout(() => this.refresh(), 1000);
    } catch { this.timer = setTimeout(() => this.refresh(), 3000); }
  }

  async #call(method) {
    $("training-start").disabled = $("training-cancel").disabled = true;
    $("training-step").textContent = method === "POST" ? "Starting" : "Ending it";
    try {
      this.#show(await send(method, "/api/training"));
      this.refresh();
    } catch (error) { this.#ready(false); $("training-step").textContent = error.message; }
  }

  #ready(running) {
    $("training-start").disabled = Boolean(this.reason);
    $("training-cancel").disabled = false;
    $("training-start").hidden = running; $("training-cancel").hidden = !running;
  }

  #show(found) {
    const running = found.state === "running", { reviewed, boxes } = this.counts();
    this.#ready(running);
    $("open-training").textContent = running ? "Training" : "Retrain";
    $("training-text").textContent = this.reason ? `Nothing can be learnt here: ${this.reason}.`
      : "A new run with the settings of this one learns from what was accepted, and both are compared on the untouched "
        + `test pictures. Accepted so far: ${plural(reviewed, "picture")} with ${plural(boxes, "box", "boxes")}. This run stays as it is.`;
    let step = `${WORDS[found.state]} ${found.what || ""}`.trim();
    if (running) step = found.total ? `${found.what}: ${found.done} of ${found.total}${found.left ? `, about ${found.left}` : ""}` : found.what;
    $("training-step").textContent = step;
    $("training-progress").hidden = !running || !found.total;
    const share = found.total ? Math.round(100 * found.done / found.total) : 0;
    $("training-progress").setAttribute("aria-valuenow", share);
    $("training-progress").firstElementChild.style.width = `${share}%`;
    $("training-log").hidden = !(found.lines || []).length;
    $("training-log").querySelector("pre").textContent = (found.lines || []).join("\n");
    this.#result(found);
  }

  #result(found) {
    const differences = found.state === "done" ? Object.entries(found.result.differences || {}) : [];
    $("training-result").hidden = !differences.length;
    $("training-link").hidden = found.state !== "done";
    if (found.state !== "done") return;
    $("training-link").firstElementChild.href = `/files/${found.page}`;
    $("training-step").textContent = `Done, tested on ${plural(found.result.images, "picture")}. The new run: ${found.result.after}`
      + (found.result.same_test === false ? ". The two runs were not tested on the same pictures; only common ones are compared." : "");
    const number = (value) => value === null || value === undefined ? "–" : value.toFixed(3).replace("-", "−");
    $("training-result").querySelector("tbody").replaceChildren(...differences.map(([name, each]) => {
      const row = make("tr"), d = each.difference || {};
      row.append(make("th", { scope: "row" }, NAMES[name] || name), make("td", {}, number(each.first)), make("td", {}, number(each.second)),
        make("td", {}, d.value === null ? "–" : `${d.value > 0 ? "+" : ""}${number(d.value)} (${number(d.low)} to ${number(d.high)})`));
      return row;
    }));
  }
}
