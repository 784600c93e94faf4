// Draws the transport from speech to class: the way of the features between corners, one for each class.
import { make, percent } from "./dom.js";

const RADIUS = 95;
const MARGIN = { side: 150, end: 22 }; // pixels for the class names
const SPACE = "http://www.w3.org/2000/svg";
const PAUSE = 450; // ms per step

function draw(kind, attributes, text) {
  const node = document.createElementNS(SPACE, kind);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return node;
}

export class Transport {
  constructor(section) {
    this.section = section;
    const find = (id) => section.querySelector(id);
    Object.assign(this, { plane: find("#plane"), slider: find("#step"), text: find("#step-text"), timer: null });
    Object.assign(this, { shares: find("#shares"), adapted: find("#adapted"), of: find("#transport-of") });
    this.slider.addEventListener("input", () => { this.stop(); this.go(Number(this.slider.value)); });
    find("#replay").addEventListener("click", () => this.play());
  }

  hide() {
    this.stop();
    this.section.hidden = true;
  }

  /** Show the transport of a prediction; the words name its part of the recording. */
  show(prediction, model, words) {
    Object.assign(this, { rows: prediction.trajectory, states: prediction.states, model });
    this.unadapted = prediction.unadapted; // coordinates of the features before the shift of a profile, if there is one
    this.adapted.hidden = !this.unadapted;
    this.of.textContent = words;
    this.section.hidden = false;
    this.slider.max = this.rows.length - 1;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.section.scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
    if (still) this.go(this.rows.length - 1);
    else this.play();
  }

  stop() {
    clearInterval(this.timer);
  }

  play() {
    this.stop();
    let step = 0;
    this.go(0);
    this.timer = setInterval(() => {
      step += 1;
      if (step >= this.rows.length) this.stop();
      else this.go(step);
    }, PAUSE);
  }

  corner(index) {
    const angle = (2 * Math.PI * index) / this.model.labels.length - Math.PI / 2;
    return [RADIUS * Math.cos(angle), RADIUS * Math.sin(angle)];
  }

  place(row) {
    return [0, 1].map((axis) => row.reduce((sum, share, index) => sum + share * this.corner(index)[axis], 0));
  }

  go(step) {
    const row = this.rows[step];
    const share = Math.max(...row);
    const winner = this.model.labels[row.indexOf(share)];
    const estimate = `${percent(share)} ${winner}`;
    this.slider.value = step;
    this.slider.setAttribute("aria-valuetext", `step ${step} of ${this.rows.length - 1}: ${estimate}`);
    this.text.textContent = `Step ${step} of ${this.rows.length - 1}: the estimate is ${estimate}.`;
    this.drawPlane(step, winner);
    this.drawShares(row);
  }

  drawPlane(step, winner) {
    const { labels, colors } = this.model;
    const corners = labels.map((_, index) => this.corner(index));
    const [top, bottom] = [Math.min, Math.max].map((extreme) => extreme(...corners.map((corner) => corner[1])));
    const box = [-MARGIN.side, top - MARGIN.end, 2 * MARGIN.side, bottom - top + 2 * MARGIN.end];
    this.plane.setAttribute("viewBox", box.join(" "));
    const nodes = [draw("polygon", { points: corners.join(" "), fill: "none", stroke: "var(--line)" })];
    labels.forEach((label, index) => {
      const [x, y] = this.corner(index);
      const anchor = Math.abs(x) < 10 ? "middle" : x > 0 ? "start" : "end";
      nodes.push(draw("line", { x1: 0, y1: 0, x2: x, y2: y, stroke: "var(--line)", "stroke-dasharray": "2 3" }));
      nodes.push(draw("circle", { cx: x, cy: y, r: 5, fill: colors[label] }));
      nodes.push(draw("text", { x: x * 1.09, y: y * 1.12 + 3.5, "text-anchor": anchor }, label));
    });
    const path = this.states.slice(0, step + 1).map((row) => this.place(row));
    if (this.unadapted) nodes.push(...this.shift(path[0]));
    const [goalX, goalY] = this.place(this.rows[step]);
    nodes.push(draw("polyline", { points: path.join(" "), fill: "none", stroke: "var(--ink)", "stroke-width": 1.5 }));
    for (const [x, y] of path) nodes.push(draw("circle", { cx: x, cy: y, r: 2.2, fill: "var(--ink)" }));
    const [x, y] = path.at(-1);
    nodes.push(draw("line", { x1: x, y1: y, x2: goalX, y2: goalY, stroke: "var(--ink)", "stroke-dasharray": "1 3" }));
    nodes.push(draw("circle", { cx: goalX, cy: goalY, r: 10, fill: "none", stroke: colors[winner], "stroke-width": 3 }));
    nodes.push(draw("circle", { cx: x, cy: y, r: 5, fill: colors[winner], stroke: "var(--ink)", "stroke-width": 1.5 }));
    this.plane.replaceChildren(...nodes);
  }

  /** The way from the features as recorded to those in the distribution of the training recordings. */
  shift([x, y]) {
    const [fromX, fromY] = this.place(this.unadapted);
    const box = { x: fromX - 3.5, y: fromY - 3.5, width: 7, height: 7, fill: "none", stroke: "var(--accent)" };
    const line = { x1: fromX, y1: fromY, x2: x, y2: y, stroke: "var(--accent)", "stroke-width": 2 };
    return [draw("rect", { class: "recorded", ...box, "stroke-width": 2 }), draw("line", line)];
  }

  drawShares(row) {
    const { labels, colors } = this.model;
    this.shares.replaceChildren(...labels.map((label, index) => {
      const bar = make("span");
      bar.style.width = `${100 * row[index]}%`;
      bar.style.background = colors[label];
      return make("li", {}, make("span", {}, label), make("span", { className: "track" }, bar),
        make("span", { className: "number" }, percent(row[index])));
    }));
  }
}
