// Draws the transport from speech to class: the way of the features between corners, one for each class.

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
    this.plane = find("#plane");
    this.slider = find("#step");
    this.text = find("#step-text");
    this.shares = find("#shares");
    this.timer = null;
    this.slider.addEventListener("input", () => { this.stop(); this.go(Number(this.slider.value)); });
    find("#replay").addEventListener("click", () => this.play());
  }

  hide() {
    this.stop();
    this.section.hidden = true;
  }

  show(prediction, model) {
    this.rows = prediction.trajectory;
    this.states = prediction.states;
    this.model = model;
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
    const { labels } = this.model;
    const share = Math.max(...row);
    const winner = labels[row.indexOf(share)];
    const estimate = `${Math.round(100 * share)} % ${winner}`;
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
    const [goalX, goalY] = this.place(this.rows[step]);
    nodes.push(draw("polyline", { points: path.join(" "), fill: "none", stroke: "var(--ink)", "stroke-width": 1.5 }));
    for (const [x, y] of path) nodes.push(draw("circle", { cx: x, cy: y, r: 2.2, fill: "var(--ink)" }));
    const [x, y] = path.at(-1);
    nodes.push(draw("line", { x1: x, y1: y, x2: goalX, y2: goalY, stroke: "var(--ink)", "stroke-dasharray": "1 3" }));
    nodes.push(draw("circle", { cx: goalX, cy: goalY, r: 10, fill: "none", stroke: colors[winner], "stroke-width": 3 }));
    nodes.push(draw("circle", { cx: x, cy: y, r: 7, fill: colors[winner], stroke: "var(--ink)", "stroke-width": 2 }));
    this.plane.replaceChildren(...nodes);
  }

  drawShares(row) {
    const { labels, colors } = this.model;
    if (this.shares.children.length !== labels.length) {
      this.shares.replaceChildren(...labels.map((label) => {
        const item = document.createElement("li");
        item.innerHTML = '<span></span><span class="track"><span></span></span><span class="number"></span>';
        item.firstChild.textContent = label;
        return item;
      }));
    }
    labels.forEach((label, index) => {
      const item = this.shares.children[index];
      const bar = item.querySelector(".track span");
      bar.style.width = `${100 * row[index]}%`;
      bar.style.background = colors[label];
      item.lastChild.textContent = `${Math.round(100 * row[index])} %`;
    });
  }
}
