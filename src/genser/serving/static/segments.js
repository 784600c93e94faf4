// The segments in view as a table, for the keyboard and screen readers as well.
import { button, clock, make, percent, swatch } from "./dom.js";

const MOST = 200; // rows
const PAUSE = 150; // ms without a change before the table follows

export class SegmentTable {
  constructor(body, note, actions) {
    Object.assign(this, { body, note, actions, segments: null, first: 0, count: 0, timer: null });
  }

  /** Show the segments that a view holds: those of another recording at once, else soon. */
  show(segments, model, view, canPlay) {
    this.latest = { segments, model, view, canPlay };
    if (segments !== this.segments) this.fill();
    else this.timer ??= setTimeout(() => { this.timer = null; this.fill(); }, PAUSE);
  }

  fill() {
    const { segments, model, view, canPlay } = this.latest;
    const inView = segments.flatMap((one, index) => (one.end > view.from && one.start < view.to ? [index] : []));
    const first = inView[0] ?? 0;
    const shown = inView.slice(0, MOST);
    if (segments !== this.segments || first !== this.first || shown.length < this.count) {
      this.body.replaceChildren();
      this.count = 0;
    }
    Object.assign(this, { segments, first });
    for (; this.count < shown.length; this.count += 1) {
      const index = shown[this.count];
      this.body.append(this.row(segments[index], index, model, canPlay));
    }
    this.note.textContent = this.words(segments.length, inView.length);
  }

  words(all, inView) {
    if (!all) return "No speech was found.";
    if (inView > MOST) return `The first ${MOST} of ${inView} segments in view. Zoom in to see the others.`;
    return inView === all ? "" : `${inView} of ${all} segments are in view. Zoom out or move to see the others.`;
  }

  choose(index) {
    for (const row of this.body.rows) {
      const isChosen = Number(row.dataset.index) === index;
      row.classList.toggle("chosen", isChosen);
      if (isChosen) row.scrollIntoView({ block: "nearest" });
    }
  }

  row(one, index, model, canPlay) {
    const time = `${clock(one.start, true)} – ${clock(one.end, true)}`;
    const name = `${one.label} ${percent(one.scores[one.label])}`;
    const label = make("td", { className: "label" }, swatch(model.colors[one.label]), name);
    if (!one.confident) label.append(make("span", { className: "doubt" }, "not confident"));
    if (one.channel) label.append(make("span", { className: "doubt" }, `channel ${one.channel}`));
    const acts = make("td", { className: "acts" });
    if (canPlay) {
      acts.append(button("Play", `Play ${time}`, () => this.actions.play(index)));
      if (model.transport) {
        acts.append(" ", button("Explain", `Explain ${time}`, () => this.actions.trace(index)));
      }
    }
    const row = make("tr", {}, make("td", { className: "time" }, time), label, this.stack(one, model), acts);
    row.dataset.index = index;
    return row;
  }

  stack(one, model) {
    const order = [...model.labels].sort((a, b) => one.scores[b] - one.scores[a]);
    const words = order.slice(0, 3).map((label) => `${label} ${percent(one.scores[label])}`).join(", ");
    const bar = make("div", { className: "stack", title: words });
    bar.setAttribute("role", "img");
    bar.setAttribute("aria-label", words);
    for (const label of order) {
      const part = make("span");
      part.style.width = `${100 * one.scores[label]}%`;
      part.style.background = model.colors[label];
      bar.append(part);
    }
    return make("td", { className: "scores" }, bar);
  }
}
