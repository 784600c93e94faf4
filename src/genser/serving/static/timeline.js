// Draws the waveform over its emotions, and the score of every class over time.

const SOUND = 0.55; // the waveform's share of the height
const AXIS = 18; // pixels below for the time axis

export class Timeline {
  constructor(canvas, onChoose) {
    this.canvas = canvas;
    this.answer = null;
    this.chosen = -1;
    this.time = -1;
    canvas.addEventListener("click", (event) => {
      const index = this.segmentAt(event.offsetX);
      if (index >= 0) onChoose(index);
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  show(answer, colors) {
    if (this.answer !== answer) this.chosen = -1;
    this.answer = answer;
    this.colors = colors;
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

  segmentAt(x) {
    if (!this.answer) return -1;
    const time = (x / this.canvas.clientWidth) * this.answer.duration;
    return this.answer.segments.findIndex((one) => one.start <= time && time < one.end);
  }

  draw() {
    const { canvas, answer } = this;
    if (!answer || !canvas.clientWidth) return;
    const scale = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const ink = (name) => style.getPropertyValue(name).trim();
    const view = { pen, ink, width: canvas.clientWidth, height: canvas.clientHeight - AXIS };
    view.x = (time) => (time / Math.max(answer.duration, 0.01)) * view.width;
    this.drawBands(view);
    this.drawWave(view);
    this.drawScores(view);
    this.drawAxis(view);
    this.drawCursor(view);
  }

  drawBands({ pen, ink, x, height }) {
    this.answer.segments.forEach((one, index) => {
      const left = x(one.start);
      const wide = Math.max(x(one.end) - left, 1);
      pen.globalAlpha = one.confident ? 0.55 : 0.22;
      pen.fillStyle = this.colors[one.label];
      pen.fillRect(left, 0, wide, height * SOUND);
      pen.globalAlpha = 1;
      if (index === this.chosen) {
        pen.strokeStyle = ink("--accent");
        pen.lineWidth = 2;
        pen.strokeRect(left + 1, 1, wide - 2, height - 2);
      }
      pen.font = "12px system-ui, sans-serif";
      pen.fillStyle = ink("--ink");
      if (pen.measureText(one.label).width + 6 < wide) pen.fillText(one.label, left + 3, 13);
    });
  }

  drawWave({ pen, ink, x, height }) {
    const peaks = this.answer.envelope || [];
    if (!peaks.length) return;
    const loudest = Math.max(0.01, ...peaks.map(([low, high]) => Math.max(-low, high)));
    const middle = height * SOUND * 0.56;
    const reach = height * SOUND * 0.42;
    const width = x(this.answer.heard ?? this.answer.duration); // a file that is cut off ends before its duration
    pen.fillStyle = ink("--wave");
    const columns = Math.min(Math.floor(width), peaks.length);
    for (let column = 0; column < columns; column += 1) {
      const from = Math.floor((column * peaks.length) / columns);
      const part = peaks.slice(from, Math.max(Math.floor(((column + 1) * peaks.length) / columns), from + 1));
      const high = Math.max(...part.map((pair) => pair[1])) / loudest;
      const low = Math.min(...part.map((pair) => pair[0])) / loudest;
      const left = (column * width) / columns;
      pen.fillRect(left, middle - high * reach, Math.max(width / columns + 0.4, 1), Math.max((high - low) * reach, 1));
    }
  }

  drawScores({ pen, ink, x, width, height }) {
    const top = height * SOUND + 8;
    const y = (score) => height - 2 - score * (height - top - 4);
    pen.strokeStyle = ink("--line");
    pen.lineWidth = 1;
    for (const level of [0, 0.5, 1]) {
      pen.beginPath();
      pen.moveTo(0, y(level));
      pen.lineTo(width, y(level));
      pen.stroke();
    }
    for (const label of this.answer.labels) {
      pen.strokeStyle = this.colors[label];
      this.answer.segments.forEach((one, index) => {
        const next = this.answer.segments[index + 1];
        pen.lineWidth = 2.5;
        pen.globalAlpha = 1;
        pen.beginPath();
        pen.moveTo(x(one.start), y(one.scores[label]));
        pen.lineTo(x(one.end), y(one.scores[label]));
        pen.stroke();
        if (!next) return;
        pen.lineWidth = 1;
        pen.globalAlpha = 0.4;
        pen.beginPath();
        pen.moveTo(x(one.end), y(one.scores[label]));
        pen.lineTo(x(next.start), y(next.scores[label]));
        pen.stroke();
      });
      pen.globalAlpha = 1;
    }
  }

  drawAxis({ pen, ink, x, width, height }) {
    const steps = [0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600];
    const step = steps.find((one) => x(one) >= 60) || 7200;
    pen.fillStyle = ink("--soft");
    pen.font = "11px system-ui, sans-serif";
    for (let time = 0; x(time) <= width - 30; time += step) pen.fillText(clock(time), x(time) + 2, height + 13);
  }

  drawCursor({ pen, ink, x, height }) {
    if (this.time < 0) return;
    pen.fillStyle = ink("--accent");
    pen.fillRect(x(this.time) - 1, 0, 2, height);
  }
}

export function clock(seconds) {
  const whole = Math.floor(seconds + 1e-9);
  const rest = seconds % 1 ? (seconds % 1).toFixed(1).slice(1) : "";
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}${rest}`;
}
