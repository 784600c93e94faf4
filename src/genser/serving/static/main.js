// Connects the parts of the page.
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
const CONTEXT = 0.2; // s around a segment that the model also receives, unless windows are cut
let shown = null; // {file, answer, margin} on the page; the model received a segment with that margin in s
let uploads = 0; // so that only the latest one is shown
let session = null; // the recording or live session in progress
let stopAt = Infinity; // seconds at which the player stops

const key = () => element("key").value.trim();

function report(text) { element("status").textContent = text; }

function reportProblem(error) {
  element("problem").textContent = error ? error.message : "";
  element("problem").hidden = !error;
  if (error) report("");
}

function options() {
  const chosen = { confidence: element("confidence").value || "0.5" };
  const classes = element("classes").value.trim();
  if (classes) chosen.classes = classes;
  const window = element("cut").value;
  return window ? { ...chosen, window, hop: String(window / 2) } : chosen;
}

async function recognize(file) {
  reportProblem(null);
  report(`Analysing ${file.name} …`);
  clear();
  uploads += 1;
  const upload = uploads;
  try {
    const chosen = options();
    const answer = await recognizeSegments(file, chosen, key());
    if (upload !== uploads) return;
    show(file, answer, chosen.window ? chosen.window / 4 : CONTEXT);
    const count = answer.segments.length;
    report(count ? `${count} ${count === 1 ? "segment" : "segments"} in ${answer.duration.toFixed(1)} s.`
      : "No speech was found in this recording.");
  } catch (error) {
    reportProblem(error);
  }
}

function clear() {
  shown = null;
  transport.hide();
  player.pause();
  element("result").hidden = true;
}

function show(file, answer, margin = 0) {
  shown = { file, answer, margin };
  element("result").hidden = false;
  element("file-name").textContent = answer.name;
  element("out-of-domain").hidden = answer.familiar == null || answer.familiar >= 0.5;
  element("remark").hidden = !answer.remark;
  element("remark").textContent = answer.remark || "";
  element("downloads").hidden = false;
  if (player.src) URL.revokeObjectURL(player.src);
  player.hidden = !file;
  if (file) player.src = URL.createObjectURL(file);
  element("adapt-hint").hidden = model.profile;
  fillLegend(element("legend"), classesOf(answer));
  draw(answer);
}

/** The model with the classes that can occur in an answer. */
function classesOf(answer) { return { ...model, labels: answer.labels }; }

function draw(answer) {
  if (shown?.answer !== answer) return;
  timeline.show(answer, model.colors);
  table.show(answer.segments, classesOf(answer), Boolean(shown.file));
  const labels = answer.segments.map((one) => `${one.label} from ${one.start.toFixed(1)} s`).slice(0, 20).join(", ");
  element("timeline").setAttribute("aria-label", `Waveform with emotions: ${labels || "no speech"}`);
}

function choose(index, plays) {
  const segment = shown.answer.segments[index];
  timeline.choose(index);
  table.choose(index);
  if (!plays || !shown.file) return;
  player.currentTime = segment.start;
  stopAt = segment.end;
  player.play().catch(() => report("This browser cannot play the file. The results are not affected."));
}

async function trace(index) {
  const traced = shown;
  choose(index, false);
  try {
    const { start, end } = traced.answer.segments[index];
    const part = { start: Math.max(0, start - traced.margin), end: end + traced.margin };
    const answer = await traceTransport(traced.file, part, traced.answer.labels, key());
    element("shifted").hidden = !model.profile;
    if (shown === traced) transport.show(answer.predictions[0], classesOf(traced.answer));
  } catch (error) {
    reportProblem(error);
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
  reportProblem(null);
  try {
    const microphone = await Microphone.open((level) => { element("level").value = level; });
    session = { owner: button, end: await begin(microphone) };
  } catch (error) {
    const refused = "The browser did not allow the microphone. Allow it for this page.";
    reportProblem(error.name === "NotAllowedError" ? new Error(refused) : error);
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
  report("Recording …");
  return async () => {
    await microphone.close();
    await recognize(new File([toWav(blocks, microphone.rate)], "recording.wav", { type: "audio/wav" }));
  };
}

async function listenLive(microphone) {
  clear();
  const { name, labels } = model;
  const answer = { name: "live sound", duration: 0, segments: [], envelope: [], labels, model: name };
  show(null, answer);
  const stop = await listen(microphone, answer, { ...options(), key: key() }, {
    changed: () => draw(answer),
    failed: reportProblem,
    ready: (latency) => report(`Listening. Each segment appears at most ${latency.toFixed(1)} s after its end.`),
  });
  return async () => {
    await stop();
    report(`${answer.segments.length} segments in ${answer.duration.toFixed(1)} s.`);
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
  element("live").addEventListener("click", (event) => toggle(event.currentTarget, listenLive));
  element("save-json").addEventListener("click", () => saveJson(shown.answer));
  element("save-csv").addEventListener("click", () => saveCsv(shown.answer));
  element("key").addEventListener("change", loadModel);
  element("settings").addEventListener("submit", (event) => event.preventDefault());
  await loadModel();
}

async function loadModel() {
  try {
    model = await describeModel(key());
    reportProblem(null);
  } catch (error) {
    reportProblem(error);
  }
}

start();
