// The list of recordings: they are analysed one after another, and one of them is shown.
import { button, counted, isolated, lasting, make } from "./dom.js";

/** An item has {name, file, state, answer, error, words, gone}; the state is waiting, analysing, done, failed or live. */
export class Recordings {
  /** Analyse receives an item and a signal that ends it; onShow an item, or null if there is none. */
  constructor(list, { analyse, onShow, onProgress }) {
    Object.assign(this, { list, analyse, onShow, onProgress, items: [], shown: null, isRunning: false });
  }

  get files() { return this.items.filter((item) => item.state === "done").map((item) => item.file); }

  add(files) {
    const added = [...files].map((file) => this.item({ name: file.name, file, state: "waiting" }));
    if (added.length) this.show(added[0]);
    this.run();
  }

  /** Add live sound, whose answer grows. */
  addLive(answer) {
    const item = this.item({ name: answer.name, file: null, state: "live", answer });
    this.show(item);
    return item;
  }

  item(values) {
    const item = { answer: null, error: null, ...values };
    item.row = make("li");
    this.items.push(item);
    this.list.append(item.row);
    this.draw(item);
    return item;
  }

  /** Analyse all again, as the settings have changed. */
  again() {
    for (const item of this.items.filter((one) => one.file)) {
      item.stop?.abort();
      Object.assign(item, { state: "waiting", answer: null, error: null });
      this.draw(item);
    }
    if (this.shown) this.onShow(this.shown);
    this.run();
  }

  async run() {
    if (this.isRunning) return;
    this.isRunning = true;
    for (let item; (item = this.items.find((one) => one.state === "waiting"));) await this.analyseOne(item);
    this.isRunning = false;
    this.onProgress(null);
  }

  async analyseOne(item) {
    const stop = new AbortController();
    Object.assign(item, { state: "analysing", stop });
    this.draw(item);
    this.onProgress(item);
    if (this.shown === item) this.onShow(item);
    let result;
    try {
      result = { state: "done", ...(await this.analyse(item, stop.signal)) };
    } catch (error) {
      result = { state: "failed", error };
    }
    if (item.stop !== stop || stop.signal.aborted) return; // removed, or to be analysed again
    Object.assign(item, result);
    this.draw(item);
    if (this.shown === item) this.onShow(item);
  }

  show(item) {
    const before = this.shown;
    this.shown = item;
    if (before) this.draw(before);
    if (item) this.draw(item);
    this.onShow(item);
  }

  /** Move the keyboard's focus to the item that is shown. */
  focus() { this.shown?.row.querySelector(".pick").focus(); }

  remove(item) {
    item.stop?.abort();
    const at = this.items.indexOf(item);
    this.items.splice(at, 1);
    item.row.remove();
    item.state = "removed";
    if (this.shown === item) this.show(this.items[Math.min(at, this.items.length - 1)] ?? null);
  }

  draw(item) {
    if (item.state === "removed") return;
    const hadFocus = item.row.contains(document.activeElement);
    const pick = make("button", { type: "button", className: "pick" });
    pick.append(make("bdi", {}, item.name), make("span", { className: `state ${item.state}` }, wordsFor(item)));
    pick.setAttribute("aria-current", String(this.shown === item));
    pick.addEventListener("click", () => this.show(item));
    item.row.replaceChildren(pick);
    if (item.state !== "live") item.row.append(button("✕", `Remove ${isolated(item.name)}`, () => this.remove(item)));
    if (hadFocus) pick.focus();
  }
}

function wordsFor({ state, answer }) {
  if (state === "analysing") return "analysing …";
  if (state !== "done") return state;
  if (!answer.segments.length) return `no speech in ${lasting(answer.duration)}`;
  const times = {};
  for (const one of answer.segments) times[one.label] = (times[one.label] || 0) + one.end - one.start;
  const [most] = Object.entries(times).reduce((best, entry) => (entry[1] > best[1] ? entry : best));
  const doubt = answer.familiar != null && answer.familiar < 0.5 ? ", unfamiliar" : "";
  return `${lasting(answer.duration)}, ${counted(answer.segments.length, "segment")}, mostly ${most}${doubt}`;
}
