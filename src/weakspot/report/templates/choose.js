// Which pictures are shown, in which order, and which boxes they have at a step: plain functions, without a page.

const MISTAKES = ["missed", "false alarm", "wrong type"];

/** What Python drew at `step`: `{boxes, iou}`; nothing on a picture called Good unless `always`. */
function atStep(image, step, always = false) {
  let entry = image.at[0];
  for (const candidate of image.at) if (candidate[0] <= step) entry = candidate;
  const decided = image.outcome !== "good" && image.outcome !== "missed";
  const known = image.truth.length ? entry[2] : null;
  return { boxes: decided || always ? entry[1].map((i) => image.boxes[i]) : [], iou: decided || always || known === null ? known : 0 };
}

/** Highest trust of the boxes, null without any. */
function trustOf(boxes) {
  const known = boxes.map((box) => box[5]).filter((trust) => trust !== null);
  return known.length ? Math.max(...known) : null;
}

/** Whether no box touches most of a picture's several defects. */
function mostlyBare(image, step) {
  const { boxes } = atStep(image, step), touches = (a, b) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];
  const bare = image.truth.filter((defect) => !boxes.some((box) => touches(box, defect))).length;
  return image.truth.length > 1 && bare / image.truth.length > 0.5;
}

/** Whether a picture passes the filter; a filter's empty value lets everything through. */
function passes(image, filter, step) {
  if (filter.outcome && image.outcome !== filter.outcome) return false;
  if (filter.defect && image.defect !== filter.defect) return false;
  if (filter.target && image.target !== filter.target) return false;
  if (filter.label && image.label !== filter.label) return false;
  if (filter.size && image.size !== filter.size) return false;
  if (filter.doubt && !image.doubt) return false;
  if (filter.box === "few") {
    if (!mostlyBare(image, step)) return false;
  } else if (filter.box) {
    const { iou } = atStep(image, step);
    if (iou === null || (filter.box === "off") !== iou < 0.5) return false;
  }
  const text = (filter.text || "").trim().toLocaleLowerCase();
  return !text || `${image.name} ${image.defect} ${image.label} ${image.doubt ? image.doubt[1] : ""}`.toLocaleLowerCase().includes(text);
}

const last = (value) => (value === null || value === undefined ? Infinity : value);

/** Numbers that pictures are sorted by, rising; what has none comes last. */
const ORDERS = {
  "mistakes first": (image) => (MISTAKES.includes(image.outcome) ? -2 : 0) - (image.doubt ? image.doubt[0] : 0) + (image.outcome === "good" ? 1 : 0),
  "worst box first": (image, step) => last(image.outcome === "missed" ? null : atStep(image, step).iou),
  "best box first": (image, step) => last(negative(atStep(image, step).iou)),
  "least trusted box first": (image, step) => last(trustOf(atStep(image, step).boxes)),
  "surest class first": (image) => -image.classes[0][1],
  "least sure class first": (image) => image.classes[0][1],
  "most likely defective first": (image) => -image.probability,
  "least likely defective first": (image) => image.probability,
};

function negative(value) {
  return value === null ? null : -value;
}

/** Positions of the pictures to show. */
function choose(images, filter, order, step) {
  const kept = images.map((_, i) => i).filter((i) => passes(images[i], filter, step));
  if (order === "by name") return kept.sort((a, b) => images[a].name.localeCompare(images[b].name, undefined, { numeric: true }));
  const key = new Map(kept.map((i) => [i, ORDERS[order](images[i], step)]));
  return kept.sort((a, b) => (key.get(a) === key.get(b) ? a - b : key.get(a) < key.get(b) ? -1 : 1));
}

if (typeof module !== "undefined") module.exports = { atStep, choose, passes, trustOf, ORDERS };
