// In the thread of the audio: blocks of 16-bit mono samples for the page.

const SECONDS = 0.1; // of a block

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.block = new Int16Array(Math.round(sampleRate * SECONDS));
    this.filled = 0;
    this.port.onmessage = () => this.send(true);
  }

  send(last) {
    this.port.postMessage({ samples: this.block.slice(0, this.filled), last });
    this.filled = 0;
  }

  process([channels]) {
    const length = channels[0]?.length ?? 0;
    for (let i = 0; i < length; i++) {
      const sum = channels.reduce((all, channel) => all + channel[i], 0);
      const sample = Math.max(-1, Math.min(1, sum / channels.length));
      this.block[this.filled++] = Math.round(sample * 32767);
      if (this.filled === this.block.length) this.send(false);
    }
    return true;
  }
}

registerProcessor("capture", Capture);
