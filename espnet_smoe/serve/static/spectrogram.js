// A spectrogram in the colors of the experts, and a strip a layer below it.

const RATE = 16000; // Hz
const WINDOW = 512; // samples
const BANDS = 96;
const DECIBELS = 65; // from the loudest to what is not seen
const PER_SECOND = 90; // pixels
const WIDEST = 12000; // pixels
export const HEIGHT = 144; // of the spectrogram
export const STRIP = 18; // of a layer
const AXIS = 20; // of the seconds
const LABEL_ROOM = 56; // pixels that a time at the axis takes

const COLORS = 8; // of page.css

// Of an expert, for CSS
export const colorOf = (expert) =>
  expert < COLORS ? `var(--expert-${expert})` : `hsl(${(expert * 137.5) % 360} 60% 50%)`;

// Samples of a file at 16 kHz; a browser cannot read every format
export async function samplesOf(blob) {
  const context = new OfflineAudioContext(1, 1, RATE);
  const audio = await context.decodeAudioData(await blob.arrayBuffer());
  const mono = audio.getChannelData(0).slice();
  for (let c = 1; c < audio.numberOfChannels; c++) {
    audio.getChannelData(c).forEach((sample, i) => (mono[i] += sample));
  }
  return mono;
}

// Layers over time. segments: {start, end, experts}, as the server answers.
export function layersOf(segments) {
  const layers = new Map();
  for (const { start, end, experts = [] } of segments) {
    for (const { layer, task, chosen, label, experts: count } of experts) {
      const name = task ? `${layer} ${task}` : layer;
      if (!layers.has(name)) layers.set(name, { name, layer, task, count, spans: [], rows: Array(count).fill(0) });
      const of = layers.get(name);
      of.spans.push({ start, end, chosen, label });
      const seconds = (end - start) / chosen.length;
      chosen.forEach((expert) => (of.rows[expert] += seconds));
    }
  }
  return [...layers.values()];
}

// The expert at a time; undefined where nothing was decoded
export function expertAt(layer, seconds) {
  const span = layer?.spans.find((s) => s.start <= seconds && seconds < s.end);
  return span?.chosen[Math.floor(((seconds - span.start) / (span.end - span.start)) * span.chosen.length)];
}

export class Spectrogram {
  constructor(canvas, samples, layers) {
    this.canvas = canvas;
    this.layers = layers;
    this.seconds = samples.length / RATE;
    const room = canvas.parentElement.clientWidth;
    this.width = Math.round(Math.min(Math.max(this.seconds * PER_SECOND, room), WIDEST));
    this.height = HEIGHT + layers.length * STRIP + AXIS;
    this.scale = Math.min(window.devicePixelRatio || 1, WIDEST / this.width, 2);
    canvas.width = Math.round(this.width * this.scale);
    canvas.height = Math.round(this.height * this.scale);
    canvas.style.width = `${this.width}px`;
    canvas.style.height = `${this.height}px`;
    this.energies = energiesOf(samples, canvas.width);
  }

  xOf(seconds) {
    return (seconds / this.seconds) * this.width;
  }

  secondsAt(x) {
    return (x / this.width) * this.seconds;
  }

  // The layer at a height; above the strips it is the one that colors
  layerAt(y) {
    return this.layers[Math.floor((y - HEIGHT) / STRIP)] ?? this.colored;
  }

  draw(colored = this.colored) {
    this.colored = colored;
    const style = getComputedStyle(this.canvas);
    const most = Math.max(...this.layers.map(({ count }) => count));
    this.colors = Array.from({ length: most }, (_, expert) =>
      colorOf(expert).replace(/var\((.*)\)/, (_, name) => style.getPropertyValue(name)),
    );
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.drawEnergies(context, style.color);
    context.setTransform(this.scale, 0, 0, this.scale, 0, 0);
    this.layers.forEach((layer, row) => this.drawStrip(context, layer, HEIGHT + row * STRIP));
    this.drawAxis(context, style.color);
  }

  drawEnergies(context, ink) {
    const columns = this.canvas.width;
    const rows = Math.round(HEIGHT * this.scale);
    const image = context.createImageData(columns, rows);
    const inked = channelsOf(context, ink);
    const channels = this.colors.map((color) => channelsOf(context, color));
    for (let x = 0; x < columns; x++) {
      const expert = expertAt(this.colored, (x / columns) * this.seconds);
      const [red, green, blue] = channels[expert] ?? inked;
      for (let y = 0; y < rows; y++) {
        const band = Math.floor((1 - (y + 0.5) / rows) * BANDS);
        const at = 4 * (y * columns + x);
        image.data[at] = red;
        image.data[at + 1] = green;
        image.data[at + 2] = blue;
        image.data[at + 3] = 255 * this.energies[x * BANDS + band] ** 1.3;
      }
    }
    context.putImageData(image, 0, 0);
  }

  drawStrip(context, layer, top) {
    for (const { start, end, chosen } of layer.spans) {
      const left = this.xOf(start);
      const step = (this.xOf(end) - left) / chosen.length;
      let from = 0;
      for (let i = 1; i <= chosen.length; i++) {
        if (chosen[i] === chosen[from]) continue;
        context.fillStyle = this.colors[chosen[from]];
        context.fillRect(left + from * step, top + 2, (i - from) * step, STRIP - 4);
        from = i;
      }
    }
  }

  drawAxis(context, ink) {
    const y = this.height - AXIS;
    context.fillStyle = ink;
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "bottom";
    const steps = [0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600];
    const step = steps.find((s) => this.xOf(s) >= LABEL_ROOM) ?? steps.at(-1);
    for (let n = 0; n * step < this.seconds; n++) {
      const x = this.xOf(n * step);
      context.fillRect(x, y, 1, 4);
      const text = step < 1 ? `${(n * step).toFixed(1)} s` : clock(n * step);
      if (x + LABEL_ROOM <= this.width) context.fillText(text, x + 3, this.height);
    }
  }
}

export const clock = (seconds) =>
  `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function channelsOf(context, color) {
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  const channels = context.getImageData(0, 0, 1, 1).data;
  context.clearRect(0, 0, 1, 1);
  return channels;
}

// Of each column and mel band, 0 to 1
function energiesOf(samples, columns) {
  const energies = new Float32Array(columns * BANDS);
  const hann = Float32Array.from({ length: WINDOW }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW));
  const edges = melEdges();
  let loudest = -Infinity;
  const re = new Float32Array(WINDOW);
  const im = new Float32Array(WINDOW);
  for (let x = 0; x < columns; x++) {
    const first = Math.round(((x + 0.5) / columns) * samples.length) - WINDOW / 2;
    for (let i = 0; i < WINDOW; i++) re[i] = hann[i] * (samples[first + i] ?? 0);
    im.fill(0);
    transform(re, im);
    for (let band = 0; band < BANDS; band++) {
      let power = 1e-10;
      for (let bin = Math.floor(edges[band]); bin <= edges[band + 1]; bin++) {
        power = Math.max(power, re[bin] ** 2 + im[bin] ** 2);
      }
      const decibels = 10 * Math.log10(power);
      energies[x * BANDS + band] = decibels;
      loudest = Math.max(loudest, decibels);
    }
  }
  return energies.map((decibels) => Math.max(0, 1 + (decibels - loudest) / DECIBELS));
}

// Bins of the transform between the bands
function melEdges() {
  const highest = Math.log(1 + RATE / 2 / 700);
  return Array.from({ length: BANDS + 1 }, (_, band) => {
    const hertz = 700 * (Math.exp((highest * band) / BANDS) - 1);
    return Math.min((hertz / RATE) * WINDOW, WINDOW / 2 - 1);
  });
}

// Fourier transform in place, of a power of two
function transform(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) [re[i], re[j]] = [re[j], re[i]];
  }
  for (let size = 2; size <= n; size *= 2) {
    const half = size / 2;
    for (let k = 0; k < half; k++) {
      const cos = Math.cos((Math.PI * k) / half);
      const sin = -Math.sin((Math.PI * k) / half);
      for (let i = k; i < n; i += size) {
        const j = i + half;
        const real = re[j] * cos - im[j] * sin;
        const imaginary = re[j] * sin + im[j] * cos;
        re[j] = re[i] - real;
        im[j] = im[i] - imaginary;
        re[i] += real;
        im[i] += imaginary;
      }
    }
  }
}
