// The timeline and the overview below it: what they show, and what a pointer does on them.
import { channelsOf, heightOf, paint, paintWave, picture, winners } from "./paint.js";

const OVERVIEW_COLUMN = 3; // pixels
const STILL = 4; // pixels that a click may move
const WHEEL = 0.002; // zoom per pixel of the wheel

export class Timeline {
  constructor(canvas, overview, view, onChoose) {
    Object.assign(this, { canvas, overview, view, answer: null, chosen: -1, time: -1, isDue: false });
    this.pointers = new Map();
    this.listen(onChoose);
    const again = new ResizeObserver(() => this.draw());
    again.observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(answer, colors) {
    if (this.answer !== answer) Object.assign(this, { chosen: -1, time: -1 });
    Object.assign(this, { answer, colors });
    this.draw();
  }

  choose(index) {
    this.chosen = index;
    this.draw();
  }

  cursor(time) {
    this.time = time;
    this.draw();
  }

  timeAt(x) { return this.view.from + (x / this.canvas.clientWidth) * this.view.span; }

  segmentAt(x, y) {
    const time = this.timeAt(x);
    const channels = channelsOf(this.answer);
    const under = this.answer.segments.flatMap((one, index) => (one.start <= time && time < one.end ? [index] : []));
    const channel = channels[Math.min(Math.floor((y / this.canvas.clientHeight) * channels.length), channels.length - 1)];
    return under.find((index) => (this.answer.segments[index].channel ?? null) === channel) ?? under[0] ?? -1;
  }

  listen(onChoose) {
    const { canvas, overview, view, pointers } = this;
    let moved = 0;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, event.offsetX);
      moved = 0;
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!pointers.has(event.pointerId)) return;
      const before = [...pointers.values()];
      pointers.set(event.pointerId, event.offsetX);
      const after = [...pointers.values()];
      moved += Math.abs(event.movementX);
      if (after.length === 2) this.pinch(before, after);
      else if (moved > STILL) view.move(((before[0] - after[0]) / canvas.clientWidth) * view.span);
    });
    for (const kind of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, (event) => pointers.delete(event.pointerId));
    }
    canvas.addEventListener("click", (event) => {
      const index = moved > STILL ? -1 : this.segmentAt(event.offsetX, event.offsetY);
      if (index >= 0) onChoose(index);
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && !event.shiftKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
      event.preventDefault();
      if (event.ctrlKey || event.metaKey) view.zoom(Math.exp(-event.deltaY * WHEEL), this.timeAt(event.offsetX));
      else view.move(((event.deltaX || event.deltaY) / canvas.clientWidth) * view.span);
    }, { passive: false });
    const jump = (event) => {
      if (event.buttons) view.centre((event.offsetX / overview.clientWidth) * view.duration);
    };
    overview.addEventListener("pointerdown", (event) => { overview.setPointerCapture(event.pointerId); jump(event); });
    overview.addEventListener("pointermove", jump);
  }

  pinch(before, after) {
    const apart = ([one, other]) => Math.max(Math.abs(one - other), 10);
    const middle = ([one, other]) => (one + other) / 2;
    this.view.move(((middle(before) - middle(after)) / this.canvas.clientWidth) * this.view.span);
    this.view.zoom(apart(after) / apart(before), this.timeAt(middle(after)));
  }

  /** Draw before the next frame, however often it is called. */
  draw() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => {
      this.isDue = false;
      if (!this.answer || !this.canvas.clientWidth) return;
      this.canvas.style.height = `${heightOf(this.answer)}px`;
      const pen = sized(this.canvas);
      paint(pen, { ...this.what(), width: this.canvas.clientWidth });
      this.drawOverview();
    });
  }

  what() {
    const style = getComputedStyle(this.canvas);
    const names = ["ink", "soft", "line", "wave", "accent"];
    const tones = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    tones.paper = style.getPropertyValue("--card").trim();
    const { answer, colors, view, time } = this;
    return { answer, colors, view, time, tones, chosen: answer.segments[this.chosen] };
  }

  drawOverview() {
    const { overview, answer, colors, view } = this;
    overview.hidden = view.isWhole;
    if (view.isWhole) return;
    const { tones } = this.what();
    const [width, height] = [overview.clientWidth, overview.clientHeight];
    const pen = sized(overview);
    const x = (time) => (time / view.duration) * width;
    const count = Math.max(Math.floor(width / OVERVIEW_COLUMN), 1);
    const channels = channelsOf(answer);
    channels.forEach((channel, index) => {
      const segments = answer.segments.filter((one) => (one.channel ?? null) === channel);
      winners(segments, 0, view.duration, count).forEach((name, part) => {
        pen.fillStyle = name ? colors[name] : "transparent";
        pen.fillRect((part * width) / count, (index * height) / channels.length, width / count + 0.5, height / channels.length - 1);
      });
    });
    pen.globalAlpha = 0.6;
    paintWave(pen, answer, { from: 0, to: view.duration, x, middle: height / 2, reach: height / 3, color: tones.wave });
    this.drawWindow(pen, tones, x, width, height);
  }

  drawWindow(pen, tones, x, width, height) {
    const [left, right] = [x(this.view.from), Math.max(x(this.view.to), x(this.view.from) + 4)];
    pen.globalAlpha = 0.4;
    pen.fillStyle = tones.paper;
    pen.fillRect(0, 0, left, height);
    pen.fillRect(right, 0, width - right, height);
    pen.globalAlpha = 1;
    pen.strokeStyle = tones.accent;
    pen.lineWidth = 3;
    pen.strokeRect(left + 1.5, 1.5, Math.max(right - left - 3, 2), height - 3);
  }

  /** A canvas of what is shown, for a file. */
  picture() { return picture({ ...this.what(), chosen: null, time: -1 }); }
}

function sized(canvas) {
  const scale = devicePixelRatio || 1;
  canvas.width = canvas.clientWidth * scale;
  canvas.height = canvas.clientHeight * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  return pen;
}
