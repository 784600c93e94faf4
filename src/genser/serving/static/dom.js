// Makes elements, and words for times, scores and names.

export const element = (id) => document.getElementById(id);

export function make(kind, properties = {}, ...children) {
  const node = Object.assign(document.createElement(kind), properties);
  node.append(...children);
  return node;
}

export function button(text, name, act) {
  const node = make("button", { type: "button" }, text);
  node.setAttribute("aria-label", name);
  node.addEventListener("click", act);
  return node;
}

export function swatch(color) {
  const node = make("span", { className: "swatch" });
  node.style.background = color;
  return node;
}

export const percent = (share) => `${Math.round(100 * share)} %`;

export const counted = (count, one, several = `${one}s`) => `${count} ${count === 1 ? one : several}`;

/** A file name within a sentence; the marks keep a right-to-left name from turning the sentence around. */
export const isolated = (name) => `\u2068${name}\u2069`;

/** Minutes and seconds, from an hour on hours too; with tenths if asked for. */
export function clock(seconds, tenths = false) {
  const all = tenths ? Math.round(seconds * 10) / 10 : Math.floor(seconds + 1e-9);
  const rest = tenths ? (all % 60).toFixed(1).padStart(4, "0") : String(all % 60).padStart(2, "0");
  const minutes = Math.floor(all / 60);
  if (minutes < 60) return `${minutes}:${rest}`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

/** A length of time in words, such as 9.5 s or 1:30 min. */
export function lasting(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${clock(seconds)} ${seconds < 3600 ? "min" : "h"}`;
}
