// Talks to the service, as long as it serves the review that the page began with. Saves go one after the other, and are tried again until the service has them.

const OTHER_REVIEW = "this is another review now; reload the page";
let token = "", review = null;

export async function session() {
  const answer = await ask("/api/session");
  token = answer.token;
  return answer;
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  const served = answer.headers.get("X-Weakspot-Review");
  if (review !== null && served !== null && served !== review)  // pictures have other numbers there, or another file
    throw Object.assign(new Error(OTHER_REVIEW), { otherReview: true });
  review ??= served;
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) {
    const error = new Error(typeof content.detail === "string" ? content.detail : `the service answers ${answer.status}`);
    throw Object.assign(error, { status: answer.status, content });
  }
  return content;
}

export const get = (path) => ask(path);

export async function send(method, path, body) {
  const options = () => ({ method, headers: { "Content-Type": "application/json", "X-Weakspot-Token": token },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  try {
    return await ask(path, options());
  } catch (error) {
    if (error.status !== 403) throw error;
    await session();  // the command was started again meanwhile
    return ask(path, options());
  }
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// Saves pictures in the order of the changes. `hears` is told what becomes of each. Where a save is refused because of
// newer work, so are those of the same picture behind it: they were made without having seen that work.
export class Saver {
  constructor(hears) { this.hears = hears; this.waiting = 0; this.line = Promise.resolve(); this.versions = new Map(); this.conflicts = new Map(); }

  save(index, content) {
    this.waiting += 1;
    this.hears.saving();
    const conflict = this.conflicts.get(index), done = this.line.then(() => this.#send(index, content, conflict));
    this.line = done.catch(() => {});
    return done;
  }

  async #send(index, content, conflict) {
    if (this.conflicts.get(index) !== conflict) {
      this.#ended(this.conflicts.get(index));
      throw this.conflicts.get(index);
    }
    for (;;) {
      try {
        const saved = await send("PUT", `/api/pictures/${index}`, { ...content, version: this.versions.get(index) || 0 });
        this.versions.set(index, saved.version);
        this.#ended();
        return saved;
      } catch (error) {
        if (error.status === undefined) {  // nobody answers, or another review does: try again until this one does
          this.hears.trying(error);
          await pause(1000);
          continue;
        }
        if (error.status === 409) this.conflicts.set(index, error);
        this.#ended(error);
        throw error;
      }
    }
  }

  #ended(error) {
    this.waiting -= 1;
    if (error) this.hears.refused(error);
    else if (!this.waiting) this.hears.saved();
  }
}
