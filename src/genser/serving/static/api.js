// Calls the server that sent the page.

async function call(path, settings, key) {
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  let response;
  try {
    response = await fetch(path, { ...settings, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail || answer.title);
  return answer;
}

function form(files, profile) {
  const body = new FormData();
  for (const file of files) body.append("file", file, file.name);
  if (profile) body.append("profile", new Blob([JSON.stringify(profile)]), "profile.json");
  return body;
}

export async function describeModel(key) {
  return (await call("/v1/models", {}, key)).models[0];
}

export function recognizeSegments(file, options, { profile, key, signal }) {
  const query = new URLSearchParams({ ...options, envelope: "true" });
  return call(`/v1/segments?${query}`, { method: "POST", body: form([file], profile), signal }, key);
}

export function traceTransport(file, part, { profile, key }) {
  const query = new URLSearchParams({ trajectory: "true", ...part });
  return call(`/v1/predict?${query}`, { method: "POST", body: form([file], profile) }, key);
}

export function learnProfile(files, channel, key) {
  return call(`/v1/profile?${new URLSearchParams({ channel })}`, { method: "POST", body: form(files) }, key);
}
