// Connects the parts of the page.
import { describeModel, recognizeSegments, traceTransport } from "./api.js";
import { Adaptation } from "./adaptation.js";
import { clock, counted, element, isolated, lasting, percent } from "./dom.js";
import { saveCsv, saveJson, savePicture, saveSrt, saveTextGrid } from "./downloads.js";
import { listen } from "./live.js";
import { Microphone, toWav } from "./microphone.js";
import { Recordings } from "./recordings.js";
import { SegmentTable } from "./segments.js";
import { showSummary } from "./summary.js";
import { Timeline } from "./timeline.js";
import { Transport } from "./transport.js";
import { View } from "./view.js";

const CONTEXT = 0.2; // s around a segment that the model also receives, unless windows are cut
const SAMPLE = "synthetic-sample.mp3";
const player = element("player");
const view = new View(viewChanged);
const timeline = new Timeline(element("timeline"), element("overview"), view, (index) => choose(index, true));
const transport = new Transport(element("transport"));
const table = new SegmentTable(element("segments"), element("segments-note"), {
  play: (index) => choose(index, true), trace,
});
const recordings = new Recordings(element("recordings"), { analyse, onShow: show, onProgress: reportProgress });
const adaptation = new Adaptation(recordings, { key, channel: () => element("channel").value, onChange: againAdapted });
let model = { labels: [], colors: {} };
let shown = null; // the item on the page, once it has an answer
let session = null; // the recording or live session in progress
let stopAt = Infinity; // seconds at which the player stops
let taken = 0; // recordings from the microphone

function key() { return element("key").value.trim(); }

function report(text) { element("status").textContent = text; }

function reportProblem(error) {
  element("problem").textContent = error ? error.message : "";
  element("problem").hidden = !error;
  if (error) report("");
}

function reportProgress(item) {
  adaptation.update();
  if (!item) return report(summaryOf(recordings.shown));
  const waiting = recordings.items.filter((one) => one.state === "waiting").length;
  return report(`Analysing ${isolated(item.name)} …${waiting ? ` ${waiting} more to come.` : ""}`);
}

function summaryOf(item) {
  if (item?.state !== "done") return "";
  const { segments, duration } = item.answer;
  return segments.length ? `${counted(segments.length, "segment")} in ${lasting(duration)}.`
    : "No speech was found in this recording.";
}

function options() {
  const chosen = { confidence: element("confidence").value || "0.5" };
  const classes = element("classes").value.trim();
  if (classes) chosen.classes = classes;
  const window = element("window").value;
  return window ? { ...chosen, window, hop: String(window / 2) } : chosen;
}

async function analyse({ file }, signal) {
  const chosen = { ...options(), channel: element("channel").value, cut: element("cut").value };
  const { profile } = adaptation;
  const answer = await recognizeSegments(file, { ...chosen, summary: "true" }, { profile, key: key(), signal });
  return { answer, profile, margin: chosen.window ? chosen.window / 4 : CONTEXT };
}

/** Show an item of the list; what belongs to an earlier one goes. */
function show(item) {
  shown = item?.answer ? item : null;
  transport.hide();
  player.pause();
  stopAt = Infinity;
  if (player.src) URL.revokeObjectURL(player.src);
  player.removeAttribute("src");
  element("result").hidden = !shown;
  reportProblem(item?.error);
  adaptation.update();
  if (!shown) return;
  if (item.state === "done") report(summaryOf(item));
  const { file, answer } = shown;
  element("file-name").textContent = item.name;
  element("remark").hidden = !answer.remark;
  element("remark").textContent = answer.remark || "";
  element("mixed-channels").hidden = !answer.mixed;
  player.hidden = !file;
  if (file) player.src = URL.createObjectURL(file);
  showFamiliarity(answer.familiar, Boolean(item.profile || model.profile));
  showSummary(element("summary"), answer.summary || [], model.colors);
  element("summary-part").hidden = !element("summary").children.length;
  view.open(answer.duration);
  draw(answer);
}

function showFamiliarity(familiar, isAdapted) {
  element("familiarity").hidden = familiar == null;
  if (familiar == null) return;
  element("familiar-meter").value = familiar;
  element("familiar-share").textContent = percent(familiar);
  const isLow = familiar < 0.5;
  element("familiar-high").hidden = isLow;
  element("familiar-low").hidden = !isLow;
  element("adapt-hint").hidden = isAdapted;
  element("familiar-adapted").hidden = !isAdapted;
}

/** The model with the classes that can occur in an answer. */
function classesOf(answer) { return { ...model, labels: answer.labels }; }

function draw(answer) {
  if (shown?.answer !== answer) return;
  timeline.show(answer, model.colors);
  table.show(answer.segments, classesOf(answer), view, Boolean(shown.file));
}

function viewChanged() {
  if (!shown) return;
  const { answer } = shown;
  element("strip-hint").hidden = view.isWhole;
  const part = `${clock(view.from, true)} – ${clock(view.to, true)} of ${clock(view.duration)}`;
  const whole = shown.state === "live" ? "All so far" : `All of ${lasting(view.duration)}`; // read out at every change
  element("range").textContent = view.isWhole ? whole : part;
  for (const id of ["earlier", "later", "zoom-out", "zoom-all"]) element(id).disabled = view.isWhole;
  const seen = answer.segments.filter((one) => one.end > view.from && one.start < view.to).slice(0, 20);
  const words = seen.map((one) => `${one.label} from ${clock(one.start, true)}`).join(", ");
  element("timeline").setAttribute("aria-label", `Scores of each emotion over time. ${words || "No speech."}`);
  draw(answer);
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
    const { start, end, channel } = traced.answer.segments[index];
    const part = { start: Math.max(0, start - traced.margin), end: end + traced.margin, channel: channel ?? "mix" };
    const query = { ...part, classes: traced.answer.labels.join(",") };
    const answer = await traceTransport(traced.file, query, { profile: traced.profile, key: key() });
    const words = `${clock(start, true)} – ${clock(end, true)}`;
    if (shown === traced) transport.show(answer.predictions[0], classesOf(traced.answer), words);
  } catch (error) {
    if (shown === traced) reportProblem(error);
  }
}

function watchPlayer() {
  timeline.cursor(player.currentTime);
  if (player.currentTime > view.to || player.currentTime < view.from) view.centre(player.currentTime);
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
    taken += 1;
    recordings.add([new File([toWav(blocks, microphone.rate)], `recording ${taken}.wav`, { type: "audio/wav" })]);
  };
}

async function listenLive(microphone) {
  const { name, labels } = model;
  const answer = { name: "live sound", duration: 0, segments: [], envelope: [], labels, model: name };
  const item = recordings.addLive(answer);
  const { profile } = adaptation;
  const stop = await listen(microphone, answer, { ...options(), profile, key: key() }, {
    changed: () => { if (shown === item) view.grow(answer.duration); },
    failed: reportProblem,
    ready: (latency) => report(`Listening. Each segment appears at most ${latency.toFixed(1)} s after its end.`),
  });
  return async () => {
    await stop();
    report(`${counted(answer.segments.length, "segment")} in ${lasting(answer.duration)}.`);
  };
}

async function trySample() {
  try {
    const response = await fetch(`/static/${SAMPLE}`);
    if (!response.ok) throw new Error("The server has no sample.");
    recordings.add([new File([await response.blob()], SAMPLE, { type: "audio/mpeg" })]);
  } catch (error) {
    reportProblem(error);
  }
}

function analyseEachChannel() {
  element("channel").value = "each";
  recordings.again();
  recordings.focus(); // the button is gone
}

function againAdapted(text) {
  recordings.again();
  report(text);
}

function acceptFiles() {
  const drop = element("drop");
  element("file").addEventListener("change", (event) => {
    recordings.add(event.target.files);
    event.target.value = "";
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind === "drop") recordings.add(event.dataTransfer.files);
    });
  }
}

function onClick(id, act) { element(id).addEventListener("click", act); }

async function start() {
  acceptFiles();
  player.addEventListener("play", watchPlayer);
  player.addEventListener("seeked", () => timeline.cursor(player.currentTime));
  onClick("record", (event) => toggle(event.currentTarget, record));
  onClick("live", (event) => toggle(event.currentTarget, listenLive));
  onClick("sample", trySample);
  onClick("each-channel", analyseEachChannel);
  onClick("save-json", () => saveJson(shown.answer));
  onClick("save-csv", () => saveCsv(shown.answer));
  onClick("save-srt", () => saveSrt(shown.answer));
  onClick("save-textgrid", () => saveTextGrid(shown.answer));
  onClick("save-png", () => savePicture(shown.answer, timeline.picture()));
  onClick("zoom-in", () => view.zoom(2));
  onClick("zoom-out", () => view.zoom(1 / 2));
  onClick("zoom-all", () => view.showAll());
  onClick("earlier", () => view.move(-0.75 * view.span));
  onClick("later", () => view.move(0.75 * view.span));
  element("key").addEventListener("change", loadModel);
  element("settings").addEventListener("submit", (event) => {
    event.preventDefault();
    recordings.again();
  });
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
