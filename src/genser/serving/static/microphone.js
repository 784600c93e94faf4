// Reads the microphone in blocks.

export class Microphone {
  static async open(onLevel) {
    if (!navigator.mediaDevices) throw new Error("The microphone needs https, or the address 127.0.0.1 or localhost.");
    const sound = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const track = await navigator.mediaDevices.getUserMedia({ audio: sound });
    const context = new AudioContext();
    await context.audioWorklet.addModule("/static/capture.js");
    return new Microphone(track, context, onLevel);
  }

  constructor(track, context, onLevel) {
    this.track = track;
    this.context = context;
    this.rate = context.sampleRate;
    this.onBlock = () => {};
    this.node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    this.node.port.onmessage = ({ data }) => {
      onLevel(Math.min(1, 3 * Math.sqrt(data.reduce((sum, one) => sum + one * one, 0) / data.length)));
      this.onBlock(data);
    };
    context.createMediaStreamSource(track).connect(this.node);
  }

  async close() {
    this.onBlock = () => {};
    for (const one of this.track.getTracks()) one.stop();
    await this.context.close();
  }
}

export function toInt16(block) {
  return Int16Array.from(block, (one) => Math.max(-32768, Math.min(32767, Math.round(one * 32767))));
}

export function toWav(blocks, rate) {
  const parts = blocks.map(toInt16);
  const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
  const header = new DataView(new ArrayBuffer(44));
  const text = (at, word) => [...word].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  header.setUint32(4, 36 + bytes, true);
  text(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true);
  header.setUint16(22, 1, true);
  header.setUint32(24, rate, true);
  header.setUint32(28, 2 * rate, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  text(36, "data");
  header.setUint32(40, bytes, true);
  return new Blob([header, ...parts], { type: "audio/wav" });
}
