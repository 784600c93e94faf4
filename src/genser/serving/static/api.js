// Calls the server that sent the page.

async function call(path, settings, key) {
  const headers = { ...(settings.headers || {}), ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...settings, headers });
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail || answer.title);
  return answer;
}

function form(file) {
  const body = new FormData();
  body.append("file", file, file.name);
  return body;
}

export async function describeModel(key) {
  return (await call("/v1/models", {}, key)).models[0];
}

export function recognizeSegments(file, options, key) {
  const query = new URLSearchParams({ ...options, envelope: "true" });
  return call(`/v1/segments?${query}`, { method: "POST", body: form(file) }, key);
}

export function traceTransport(file, part, classes, key) {
  const query = new URLSearchParams({ trajectory: "true", ...part, classes: classes.join(",") });
  return call(`/v1/predict?${query}`, { method: "POST", body: form(file) }, key);
}
