// Ties the parts of the page together.
import { describeModel, recognizeSegments, traceTransport } from "./api.js";
import { listen } from "./live.js";
import { Microphone, toWav } from "./microphone.js";
import { Timeline } from "./timeline.js";
import { Transport } from "./transport.js";
import { saveCsv, saveJson } from "./downloads.js";
import { fillLegend, SegmentTable } from "./segments.js";

const element = (id) => document.getElementById(id);
const player = element("player");
const timeline = new Timeline(element("timeline"), (index) => choose(index, true));
const transport = new Transport(element("transport"));
const table = new SegmentTable(element("segments"), { play: (index) => choose(index, true), trace });
let model = { labels: [], colors: {} };
let shown = null; // {file, answer}: what the page shows now
let session = null; // a recording or live session that can be stopped
let stopAt = Infinity; // seconds at which the player stops

const key = () => element("key").value.trim();

function say(text) { element("status").textContent = text; }

function complain(error) {
  element("problem").textContent = error ? error.message : "";
  element("problem").hidden = !error;
  if (error) say("");
}

function options() {
  const chosen = { confidence: element("confidence").value || "0.5" };
  const window = element("cut").value;
  return window ? { ...chosen, window, hop: String(window / 2) } : chosen;
}

async function recognize(file) {
  complain(null);
  say(`Recognising ${file.name} …`);
  transport.hide();
  try {
    const answer = await recognizeSegments(file, options(), key());
    show(file, answer);
    const count = answer.segments.length;
    say(count ? `${count} ${count === 1 ? "segment" : "segments"} in ${answer.duration.toFixed(1)} s.`
      : "Nobody speaks in this recording, as far as can be heard.");
  } catch (error) {
    complain(error);
  }
}

function show(file, answer) {
  shown = { file, answer };
  element("result").hidden = false;
  element("downloads").hidden = false;
  if (player.src) URL.revokeObjectURL(player.src);
  player.hidden = !file;
  if (file) player.src = URL.createObjectURL(file);
  fillLegend(element("legend"), model);
  draw(answer);
}

function draw(answer) {
  timeline.show(answer, model.colors);
  table.show(answer.segments, model, Boolean(shown.file));
  const spoken = answer.segments.map((one) => `${one.label} from ${one.start.toFixed(1)} s`).slice(0, 20).join(", ");
  element("timeline").setAttribute("aria-label", `Waveform with its emotions: ${spoken || "no speech"}`);
}

function choose(index, plays) {
  const segment = shown.answer.segments[index];
  timeline.choose(index);
  table.choose(index);
  if (!plays || !shown.file) return;
  player.currentTime = segment.start;
  stopAt = segment.end;
  player.play().catch(() => say("This browser cannot play the file; the results are not affected."));
}

async function trace(index) {
  const segment = shown.answer.segments[index];
  choose(index, false);
  try {
    const answer = await traceTransport(shown.file, segment, key());
    transport.show(answer.predictions[0].trajectory, model);
  } catch (error) {
    complain(error);
  }
}

function watchPlayer() {
  timeline.cursor(player.currentTime);
  if (player.currentTime >= stopAt) {
    player.pause();
    stopAt = Infinity;
  }
  if (!player.paused) requestAnimationFrame(watchPlayer);
}

async function toggle(button, begin) {
  if (session) {
    const { end, owner } = session;
    session = null;
    owner.setAttribute("aria-pressed", "false");
    owner.textContent = owner.dataset.idle;
    for (const other of [element("record"), element("live")]) other.disabled = false;
    element("level").hidden = true;
    return end();
  }
  complain(null);
  try {
    const microphone = await Microphone.open((level) => { element("level").value = level; });
    session = { owner: button, end: await begin(microphone) };
  } catch (error) {
    complain(new Error(error.name === "NotAllowedError" ? "The microphone was not allowed." : error.message));
    return undefined;
  }
  button.dataset.idle = button.textContent;
  button.textContent = "Stop";
  button.setAttribute("aria-pressed", "true");
  for (const other of [element("record"), element("live")]) other.disabled = other !== button;
  element("level").hidden = false;
  return undefined;
}

async function record(microphone) {
  const blocks = [];
  microphone.onBlock = (block) => blocks.push(block);
  say("Recording …");
  return async () => {
    await microphone.close();
    await recognize(new File([toWav(blocks, microphone.rate)], "recording.wav", { type: "audio/wav" }));
  };
}

async function hear(microphone) {
  transport.hide();
  const answer = { name: "live", duration: 0, segments: [], envelope: [], labels: model.labels, model: model.name };
  show(null, answer);
  const stop = await listen(microphone, answer, { ...options(), key: key() }, {
    changed: () => draw(answer),
    failed: complain,
    ready: (latency) => say(`Listening. A segment is decided ${latency.toFixed(1)} s after its end at most.`),
  });
  return async () => {
    await stop();
    say(`${answer.segments.length} segments in ${answer.duration.toFixed(1)} s.`);
  };
}

function acceptFiles() {
  const drop = element("drop");
  element("file").addEventListener("change", (event) => {
    if (event.target.files.length) recognize(event.target.files[0]);
    event.target.value = "";
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) recognize(event.dataTransfer.files[0]);
    });
  }
}

async function start() {
  acceptFiles();
  player.addEventListener("play", watchPlayer);
  player.addEventListener("seeked", () => timeline.cursor(player.currentTime));
  element("record").addEventListener("click", (event) => toggle(event.currentTarget, record));
  element("live").addEventListener("click", (event) => toggle(event.currentTarget, hear));
  element("save-json").addEventListener("click", () => saveJson(shown.answer));
  element("save-csv").addEventListener("click", () => saveCsv(shown.answer));
  element("key").addEventListener("change", learn);
  element("settings").addEventListener("submit", (event) => event.preventDefault());
  await learn();
}

async function learn() {
  try {
    model = await describeModel(key());
    complain(null);
  } catch (error) {
    complain(error);
  }
}

start();
