// The bar above: what was reviewed, and what the corrections say of the run.

const $ = (id) => document.getElementById(id);
const percent = (value) => `${Math.round(100 * value)} %`;

function share(estimate, right) {
  if (!estimate.n) return "nothing to count yet";
  const count = Math.round(estimate.value * estimate.n);
  return `${count} of ${estimate.n}: ${percent(estimate.value)} (${Math.round(100 * estimate.low)}–${percent(estimate.high)})`;
}

export function showSummary(found) {
  const number = (value) => value.toLocaleString("en");
  $("progress").setAttribute("aria-valuemax", found.total);
  $("progress").setAttribute("aria-valuenow", found.reviewed);
  $("progress").firstElementChild.style.width = `${100 * found.reviewed / Math.max(1, found.total)}%`;
  const more = [found.skipped && `${found.skipped} skipped`, found.drafts && `${found.drafts} not accepted`].filter(Boolean);
  $("sum-reviewed").textContent = `${number(found.reviewed)} of ${number(found.total)}${more.length ? ` (${more.join(", ")})` : ""}`;
  $("sum-precision").textContent = share(found.precision);
  $("sum-labels").textContent = share(found.labels);
  $("sum-enough").textContent = enough(found);
}

function enough(found) {
  if (found.reviewed === found.total) return "No: every picture was reviewed.";
  if (!found.fresh) return `Yes: nothing was reviewed yet${found.reviewed ? " in this round" : ""}.`;
  if (!found.calm) return "Yes: the last picture needed a correction.";
  const last = found.calm === 1 ? "The last picture needed no correction" : `The last ${found.calm} needed no correction`;
  const bound = `at most ${percent(found.remaining)} of the others do`;
  return found.enough ? `Hardly: ${last[0].toLowerCase()}${last.slice(1)}, so ${bound}.` : `Yes: ${last[0].toLowerCase()}${last.slice(1)}; ${bound}.`;
}
