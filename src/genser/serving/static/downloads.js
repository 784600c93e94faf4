// Saves the result as a file, as the server would write it.

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const saveText = (text, name, type) => save(new Blob([text], { type }), name);

const stem = (answer) => answer.name.replace(/\.[^.]*$/, "") || "recording";

const plain = ({ start, end, label, confident, speaker, channel, familiar, scores }) => ({
  start, end, label, confident, speaker, channel, familiar, scores,
});

export function saveJson(answer) {
  const { model, labels, name, duration, heard, remark, familiar } = answer;
  const content = { model, labels, name, duration, heard, remark, familiar, segments: answer.segments.map(plain) };
  saveText(JSON.stringify(content, null, 2), `${stem(answer)}.json`, "application/json");
}

export function saveCsv(answer) {
  const columns = ["path", "start", "end", "label", "confident", "speaker", "channel", "familiar", "duration", "heard",
    "remark", "error", ...answer.labels];
  const rows = answer.segments.map((one) => [answer.name, one.start, one.end, one.label, one.confident,
    one.speaker ?? "", one.channel ?? "", one.familiar ?? "", answer.duration, answer.heard ?? "", answer.remark ?? "", "",
    ...answer.labels.map((label) => one.scores[label])]);
  const cell = (value) => (/[",\n\r]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  saveText([columns, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n", `${stem(answer)}.csv`, "text/csv");
}

export function saveSrt(answer) {
  const time = (seconds) => {
    const all = Math.round(seconds * 1000);
    const parts = [3_600_000, 60_000, 1000].map((unit, at, units) => Math.floor((at ? all % units[at - 1] : all) / unit));
    return `${parts.map((part) => String(part).padStart(2, "0")).join(":")},${String(all % 1000).padStart(3, "0")}`;
  };
  const captions = answer.segments.map((one, index) => {
    const words = `${one.label}${one.confident ? "" : "?"} (${(100 * one.scores[one.label]).toFixed(0)}%)`;
    return `${index + 1}\n${time(one.start)} --> ${time(one.end)}\n${words}\n\n`;
  });
  saveText(captions.join(""), `${stem(answer)}.srt`, "application/x-subrip");
}

/** Praat's TextGrid: a tier for each channel; stretches without speech are intervals with an empty text. */
export function saveTextGrid(answer) {
  const end = Math.max(answer.duration, ...answer.segments.map((one) => one.end)).toFixed(6);
  const tiers = tiersOf(answer);
  const lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", `xmax = ${end}`,
    "tiers? <exists>", `size = ${tiers.length}`, "item []:"];
  tiers.forEach(([name, segments], tier) => {
    const intervals = [];
    let at = (0).toFixed(6);
    for (const one of segments) {
      const [from, to] = [one.start.toFixed(6), one.end.toFixed(6)];
      if (Number(from) > Number(at)) intervals.push([at, from, ""]);
      intervals.push([from, to, one.label]);
      at = to;
    }
    if (Number(at) < Number(end)) intervals.push([at, end, ""]);
    lines.push(`    item [${tier + 1}]:`, '        class = "IntervalTier"', `        name = ${quoted(name)}`,
      "        xmin = 0", `        xmax = ${end}`, `        intervals: size = ${intervals.length}`);
    intervals.forEach(([from, to, text], index) => {
      lines.push(`        intervals [${index + 1}]:`, `            xmin = ${from}`, `            xmax = ${to}`,
        `            text = ${quoted(text)}`);
    });
  });
  saveText(`${lines.join("\n")}\n`, `${stem(answer)}.TextGrid`, "text/plain");
}

const quoted = (text) => `"${text.replaceAll('"', '""')}"`;

function tiersOf(answer) {
  const tiers = [];
  for (const one of answer.segments) {
    const name = one.channel ? `channel ${one.channel}` : "emotion";
    const tier = tiers.find(([of, members]) => of === name && members.at(-1).end <= one.start);
    if (tier) tier[1].push(one);
    else tiers.push([name, [one]]);
  }
  return tiers.length ? tiers : [["emotion", []]];
}

export function savePicture(answer, canvas) {
  canvas.toBlob((blob) => save(blob, `${stem(answer)}.png`), "image/png");
}

export function saveProfile(profile) {
  saveText(JSON.stringify(profile), "profile.json", "application/json");
}
