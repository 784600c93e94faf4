// Draws a recording on a canvas: the waveform, and for each channel a band of labels and a lane for each class.
import { clock, isolated } from "./dom.js";

const WAVE = 56; // heights in pixels
const BAND = 22;
const LANE = 26;
const NARROW_LANE = 18; // with several channels
const HEAD = 16;
const AXIS = 20;
const TITLE = 34;
const COLUMN = 2; // width in pixels where segments are too narrow to be drawn by themselves
const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
const TICK = 70; // pixels between two times at least
const FONT = "system-ui, sans-serif";

export function channelsOf(answer) {
  const found = [...new Set(answer.segments.map((one) => one.channel ?? null))].sort((a, b) => a - b);
  return found.length ? found : [null];
}

function layout(answer) {
  const channels = channelsOf(answer);
  const lane = channels.length > 1 ? NARROW_LANE : LANE;
  const head = channels.length > 1 ? HEAD : 0;
  const block = head + BAND + lane * answer.labels.length + 8;
  return { channels, lane, head, block, height: WAVE + block * channels.length + AXIS };
}

export const heightOf = (answer) => layout(answer).height;

/** The label with most time in each of some equal parts of a stretch; null where less than a fifth is speech. */
export function winners(segments, from, to, count) {
  const width = (to - from) / count;
  const shares = Array.from({ length: count }, () => ({}));
  for (const one of segments) {
    const first = Math.max(Math.floor((one.start - from) / width), 0);
    const last = Math.min(Math.floor((one.end - from) / width), count - 1);
    for (let part = first; part <= last; part += 1) {
      const left = from + part * width;
      const time = Math.min(one.end, left + width) - Math.max(one.start, left);
      shares[part][one.label] = (shares[part][one.label] || 0) + Math.max(time, 0);
    }
  }
  return shares.map((share) => {
    const [label, time] = Object.entries(share).reduce((best, entry) => (entry[1] > best[1] ? entry : best), [null, 0]);
    return time > width / 5 ? label : null;
  });
}

export function paintWave(pen, answer, { from, to, x, middle, reach, color }) {
  const peaks = answer.envelope || [];
  if (!peaks.length) return;
  const loudest = peaks.reduce((most, [low, high]) => Math.max(most, -low, high), 0.01);
  const step = (answer.heard ?? answer.duration) / peaks.length; // a file that is cut off ends before its duration
  const first = Math.max(Math.floor(from / step), 0);
  const last = Math.min(Math.ceil(to / step), peaks.length);
  const stride = Math.max(Math.floor((last - first) / (x(to) - x(from))), 1);
  pen.fillStyle = color;
  for (let at = first; at < last; at += stride) {
    let [low, high] = peaks[at];
    for (let next = at + 1; next < Math.min(at + stride, last); next += 1) {
      low = Math.min(low, peaks[next][0]);
      high = Math.max(high, peaks[next][1]);
    }
    const left = x(at * step);
    const tall = Math.max(((high - low) / loudest) * reach, 1);
    pen.fillRect(left, middle - (high / loudest) * reach, Math.max(x((at + stride) * step) - left, 0.7), tall);
  }
}

function label(pen, text, left, base, { ink, paper }, size = 12) {
  pen.font = `${size}px ${FONT}`;
  pen.lineJoin = "round";
  pen.lineWidth = 3;
  pen.strokeStyle = paper;
  pen.strokeText(text, left, base);
  pen.fillStyle = ink;
  pen.fillText(text, left, base);
}

/**
 * Draw a part of a recording.
 * What: {answer, colors, view, width, tones: {ink, soft, line, wave, paper, accent}, chosen, time}; the chosen segment
 * and the time of the player may be missing.
 */
export function paint(pen, what) {
  const { answer, view, width, tones } = what;
  const plan = layout(answer);
  const x = (time) => ((time - view.from) / view.span) * width;
  pen.fillStyle = tones.paper;
  pen.fillRect(0, 0, width, plan.height);
  paintWave(pen, answer, { from: view.from, to: view.to, x, middle: WAVE / 2, reach: WAVE / 2 - 3, color: tones.wave });
  const seen = answer.segments.filter((one) => one.end > view.from && one.start < view.to);
  plan.channels.forEach((channel, index) => {
    const segments = seen.filter((one) => (one.channel ?? null) === channel);
    const top = WAVE + index * plan.block;
    if (plan.head) label(pen, `Channel ${channel}`, 4, top + 12, tones);
    paintBand(pen, what, segments, x, top + plan.head);
    answer.labels.forEach((name, row) => {
      paintLane(pen, what, segments, x, { name, top: top + plan.head + BAND + row * plan.lane, tall: plan.lane });
    });
  });
  paintAxis(pen, what, x, plan.height - AXIS);
  if (what.chosen) {
    const left = x(what.chosen.start);
    pen.strokeStyle = tones.accent;
    pen.lineWidth = 2;
    pen.strokeRect(left, 1, Math.max(x(what.chosen.end) - left, 2), plan.height - AXIS - 2);
  }
  if (what.time >= 0) {
    pen.fillStyle = tones.accent;
    pen.fillRect(x(what.time) - 1, 0, 2, plan.height - AXIS);
  }
}

const isDense = (segments, width) => segments.length > width / 3;

function paintBand(pen, { colors, view, width, tones }, segments, x, top) {
  if (isDense(segments, width)) {
    const count = Math.ceil(width / COLUMN);
    winners(segments, view.from, view.to, count).forEach((name, part) => {
      if (!name) return;
      pen.fillStyle = colors[name];
      pen.fillRect((part * width) / count, top, width / count + 0.5, BAND - 2);
    });
    return;
  }
  for (const one of segments) {
    const left = Math.max(x(one.start), 0);
    const wide = Math.max(Math.min(x(one.end), width) - left, 1);
    pen.globalAlpha = one.confident ? 0.8 : 0.35;
    pen.fillStyle = colors[one.label];
    pen.fillRect(left, top, Math.max(wide - 0.5, 1), BAND - 2);
    pen.globalAlpha = 1;
    const text = one.confident ? one.label : `${one.label}?`;
    pen.font = `12px ${FONT}`;
    if (pen.measureText(text).width + 8 < wide) label(pen, text, left + 4, top + 14, tones);
  }
}

function paintLane(pen, { colors, width, tones }, segments, x, { name, top, tall }) {
  const reach = tall - 4;
  const gap = isDense(segments, width) ? 0 : 0.3; // of narrow bars the highest shows
  for (const one of segments) {
    const left = x(one.start);
    const high = Math.max(one.scores[name] * reach, 0.5);
    pen.globalAlpha = one.confident ? 0.85 : 0.4;
    pen.fillStyle = colors[name];
    pen.fillRect(left, top + tall - 1 - high, Math.max(x(one.end) - left - gap, gap ? 1 : 0.5), high);
  }
  pen.globalAlpha = 1;
  pen.fillStyle = tones.line;
  pen.fillRect(0, top + tall - 1, width, 1);
  label(pen, name, 4, top + tall / 2 + 4, tones, 11);
}

function paintAxis(pen, { view, width, tones }, x, top) {
  const step = STEPS.find((one) => (one / view.span) * width >= TICK) || STEPS.at(-1);
  pen.font = `11px ${FONT}`;
  pen.fillStyle = tones.soft;
  for (let mark = Math.ceil(view.from / step); mark * step <= view.to; mark += 1) {
    const left = x(mark * step);
    const text = clock(mark * step, step < 1);
    pen.fillRect(left, top, 1, 4);
    if (left + pen.measureText(text).width + 3 <= width) pen.fillText(text, left + 3, top + 14);
  }
}

/** A canvas with a title and what the view shows, for a file. */
export function picture(what, width = 1600) {
  const scale = 2;
  const height = heightOf(what.answer) + TITLE;
  const canvas = Object.assign(document.createElement("canvas"), { width: width * scale, height: height * scale });
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.fillStyle = what.tones.paper;
  pen.fillRect(0, 0, width, height);
  const { name, duration } = what.answer;
  const { from, to } = what.view;
  label(pen, `${isolated(name)}   ${clock(from)} – ${clock(to)} of ${clock(duration)}`, 4, 21, what.tones, 15);
  pen.translate(0, TITLE);
  paint(pen, { ...what, width });
  return canvas;
}
