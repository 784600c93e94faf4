// What each channel of a recording holds in all, as a table.
import { clock, lasting, make, percent, swatch } from "./dom.js";

function signed(change) {
  if (change == null) return "–";
  const points = Math.round(100 * change);
  return points ? `${points > 0 ? "+" : "−"}${Math.abs(points)}` : "0";
}

export function showSummary(place, voices, colors) {
  place.replaceChildren(...voices.filter((one) => one.label).map((one) => tableOf(one, colors)));
}

function tableOf(one, colors) {
  const whose = one.channel ? `Channel ${one.channel}: ` : "";
  const caption = make("caption", {}, `${whose}${lasting(one.speech)} of speech, ${percent(one.confident)} of it confident`);
  const heads = ["Emotion", "Share of time", "Mean score", "Longest stretch", "Change"];
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const order = Object.keys(one.shares).filter((label) => one.shares[label] > 0)
    .sort((a, b) => one.shares[b] - one.shares[a]);
  const rows = order.map((label) => make("tr", {},
    make("th", { scope: "row" }, swatch(colors[label]), label),
    make("td", {}, percent(one.shares[label])),
    make("td", {}, percent(one.scores[label])),
    make("td", {}, one.longest[label] ? `${lasting(one.longest[label])} at ${clock(one.longest_start[label])}` : "–"),
    make("td", {}, signed(one.changes[label]))));
  return make("table", {}, caption, make("thead", {}, head), make("tbody", {}, ...rows));
}
