// The microphone: blocks of samples while it is open, a WAV file of all of them after.

import { Trouble } from "./server.js";

const HIGHEST_RATE = 48000; // Hz, of the server's streams
const HEADER = 44; // bytes of a WAV file
const WANTED = { audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false } };
const REFUSED = {
  NotAllowedError: "The browser may not use the microphone. Allow it in the browser’s settings of this page, or choose a file.",
  NotFoundError: "There is no microphone. Plug one in, or choose a file.",
  NotReadableError: "The microphone does not work, or another program uses it.",
};

export class Microphone {
  // heard: called with the samples of each block, 16 bits
  static async open(heard) {
    if (!navigator.mediaDevices || !window.AudioWorkletNode) {
      throw new Trouble(
        "This browser lets a page use the microphone over HTTPS only, or on the server’s own machine. Choose a file instead.",
      );
    }
    let stream, context;
    try {
      stream = await navigator.mediaDevices.getUserMedia(WANTED);
      context = new AudioContext();
      if (context.sampleRate > HIGHEST_RATE) {
        await context.close();
        context = new AudioContext({ sampleRate: HIGHEST_RATE });
      }
      await context.audioWorklet.addModule(new URL("capture.js", import.meta.url));
      await context.resume();
      return new Microphone(stream, context, heard);
    } catch (fault) {
      stream?.getTracks().forEach((track) => track.stop());
      context?.close();
      throw new Trouble(REFUSED[fault.name] ?? `The microphone cannot be used: ${fault.message}.`);
    }
  }

  constructor(stream, context, heard) {
    this.stream = stream;
    this.context = context;
    this.rate = Math.round(context.sampleRate);
    this.blocks = [];
    this.seconds = 0;
    this.node = new AudioWorkletNode(context, "capture");
    this.flushed = new Promise((resolve) => {
      this.node.port.onmessage = ({ data }) => {
        this.blocks.push(data.samples);
        this.seconds += data.samples.length / this.rate;
        heard(data.samples);
        if (data.last) resolve();
      };
    });
    context.createMediaStreamSource(stream).connect(this.node);
    this.node.connect(context.destination); // silence; what leads nowhere is not run
  }

  // a WAV file
  async stop() {
    this.node.port.postMessage("flush");
    await this.flushed;
    this.stream.getTracks().forEach((track) => track.stop());
    await this.context.close();
    return new Blob([header(this.blocks, this.rate), ...this.blocks], { type: "audio/wav" });
  }
}

function header(blocks, rate) {
  const bytes = blocks.reduce((sum, block) => sum + block.byteLength, 0);
  const view = new DataView(new ArrayBuffer(HEADER));
  const write = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  write(0, "RIFF");
  view.setUint32(4, HEADER - 8 + bytes, true);
  write(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // mono
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  write(36, "data");
  view.setUint32(40, bytes, true);
  return view;
}
