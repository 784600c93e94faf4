// The segments as a table, for the keyboard and screen readers as well.

const percent = (score) => `${Math.round(100 * score)} %`;

function make(kind, properties = {}, ...children) {
  const node = Object.assign(document.createElement(kind), properties);
  node.append(...children);
  return node;
}

function swatch(color) {
  const node = make("span", { className: "swatch" });
  node.style.background = color;
  return node;
}

export function fillLegend(list, model) {
  list.replaceChildren(...model.labels.map((label) => make("li", {}, swatch(model.colors[label]), label)));
}

export class SegmentTable {
  constructor(body, actions) {
    this.body = body;
    this.actions = actions;
    this.count = 0;
  }

  show(segments, model, canPlay) {
    if (segments.length < this.count || this.segments !== segments) {
      this.body.replaceChildren();
      this.count = 0;
    }
    this.segments = segments;
    for (; this.count < segments.length; this.count += 1) {
      this.body.append(this.row(segments[this.count], this.count, model, canPlay));
    }
  }

  choose(index) {
    [...this.body.rows].forEach((row, at) => row.classList.toggle("chosen", at === index));
    this.body.rows[index].scrollIntoView({ block: "nearest" });
  }

  row(one, index, model, canPlay) {
    const time = `${one.start.toFixed(2)} – ${one.end.toFixed(2)} s`;
    const label = make("td", { className: "label" }, swatch(model.colors[one.label]), `${one.label} ${percent(one.scores[one.label])}`);
    if (!one.confident) label.append(make("span", { className: "doubt" }, "not confident"));
    if (one.channel) label.append(make("span", { className: "doubt" }, `channel ${one.channel}`));
    if (one.speaker) label.append(make("span", { className: "doubt" }, one.speaker));
    const acts = make("td", { className: "acts" });
    if (canPlay) {
      acts.append(this.button("Play", `Play ${time}`, () => this.actions.play(index)));
      if (model.transport) {
        acts.append(" ", this.button("Transport", `Show the transport of ${time}`, () => this.actions.trace(index)));
      }
    }
    return make("tr", {}, make("td", { className: "time" }, time), label, this.stack(one, model), acts);
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

  button(text, name, act) {
    const button = make("button", { type: "button" }, text);
    button.setAttribute("aria-label", name);
    button.addEventListener("click", act);
    return button;
  }
}
