// Saves the result as a file.

function save(text, name, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const stem = (answer) => answer.name.replace(/\.[^.]*$/, "") || "recording";

const plain = ({ start, end, label, confident, speaker, channel, familiar, scores }) => ({
  start, end, label, confident, speaker, channel, familiar, scores,
});

export function saveJson(answer) {
  const { model, labels, name, duration, heard, remark, familiar } = answer;
  const content = { model, labels, name, duration, heard, remark, familiar, segments: answer.segments.map(plain) };
  save(JSON.stringify(content, null, 2), `${stem(answer)}.json`, "application/json");
}

export function saveCsv(answer) {
  const columns = ["path", "start", "end", "label", "confident", "speaker", "channel", "familiar", "duration", "heard",
    "remark", "error", ...answer.labels];
  const rows = answer.segments.map((one) => [answer.name, one.start, one.end, one.label, one.confident,
    one.speaker ?? "", one.channel ?? "", one.familiar ?? "", answer.duration, answer.heard ?? "", answer.remark ?? "", "",
    ...answer.labels.map((label) => one.scores[label])]);
  const cell = (value) => (/[",\n\r]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  save([columns, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n", `${stem(answer)}.csv`, "text/csv");
}
