// Live sound over the WebSocket: sends the microphone, receives segments.
import { toInt16 } from "./microphone.js";

const SHOWN = 60; // s of waveform kept at full resolution
const WAITING = 4_000_000; // unsent bytes beyond which audio is dropped

export async function listen(microphone, answer, { key, profile, ...options }, { changed, failed, ready }) {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const socket = new WebSocket(`${scheme}://${location.host}/v1/stream`);
  const { classes, ...numeric } = options;
  const numbers = Object.fromEntries(Object.entries(numeric).map(([name, value]) => [name, Number(value)]));
  const closed = new Promise((resolve) => { socket.onclose = resolve; });
  socket.onopen = () => {
    const start = { type: "start", encoding: "s16le", sample_rate: microphone.rate, ...numbers };
    if (classes) start.classes = classes;
    if (profile) start.profile = profile;
    socket.send(JSON.stringify(key ? { ...start, key } : start));
  };
  socket.onerror = () => failed(new Error("The live connection failed. Is the server still running?"));
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "ready") {
      answer.labels = message.labels;
      ready(message.latency);
      microphone.onBlock = send;
    } else if (message.type === "segment") {
      answer.segments.push(message);
      changed();
    } else if (message.type === "error") {
      failed(new Error(message.detail));
    }
  };

  function send(block) {
    if (socket.readyState !== WebSocket.OPEN || socket.bufferedAmount > WAITING) return;
    socket.send(toInt16(block));
    answer.duration += block.length / microphone.rate;
    answer.envelope.push([Math.min(...block), Math.max(...block)]);
    if (answer.envelope.length > (2 * SHOWN * microphone.rate) / block.length) thin(answer);
    changed();
  }

  return async () => {
    await microphone.close();
    if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "stop" }));
    await Promise.race([closed, new Promise((resolve) => { setTimeout(resolve, 5000); })]);
    socket.close();
    changed();
  };
}

function thin(answer) {
  const pairs = answer.envelope;
  answer.envelope = pairs.filter((_, index) => index % 2 === 0).map(([low, high], index) => {
    const [lower, higher] = pairs[2 * index + 1] || [low, high];
    return [Math.min(low, lower), Math.max(high, higher)];
  });
}
