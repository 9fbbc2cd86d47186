// What the server found: texts side by side, times of words, experts, files to keep.

import { HEIGHT, STRIP, Spectrogram, clock, colorOf, expertAt, layersOf, samplesOf } from "./spectrogram.js";
import { Trouble } from "./server.js";

const MOST_BYTES = 64e6; // of a file that is drawn
const MOST_WORDS = 2000; // of the table

// text is text: strings become text nodes, never HTML
export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const at = (id) => document.getElementById(id);
const names = new Intl.DisplayNames(["en"], { type: "language" });

function languageOf(code) {
  try {
    return names.of(code);
  } catch {
    return code;
  }
}

// Such as "Translation (English)"
export function titleOf(model, task) {
  const kind = (one) => (model.translations.includes(one) ? "Translation" : "Transcript");
  const title = (one) => {
    const code = model.languages[one];
    return code ? `${kind(one)} (${languageOf(code)})` : kind(one);
  };
  const alone = model.tasks.filter((other) => title(other) === title(task)).length === 1;
  return alone ? title(task) : `${title(task)}: ${task}`;
}

export class Result {
  constructor() {
    this.audio = at("audio");
    this.audio.addEventListener("timeupdate", () => this.follow());
    this.audio.addEventListener("error", () => (this.audio.hidden = true));
    for (const button of at("downloads").querySelectorAll("button")) {
      button.addEventListener("click", () => this.download(button.dataset.format));
    }
    const canvas = at("canvas");
    canvas.addEventListener("pointermove", (event) => this.tell(event));
    canvas.addEventListener("click", (event) => this.seek(this.picture.secondsAt(event.offsetX)));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.picture?.draw());
  }

  clear() {
    at("result").hidden = true;
    for (const id of ["audio", "downloads", "words", "experts"]) at(id).hidden = true;
    at("texts").replaceChildren();
    this.audio.pause();
    this.words = [];
    this.picture = null;
    at("playhead").hidden = true;
  }

  // Words while somebody speaks
  live(model) {
    this.clear();
    at("result").hidden = false;
    const task = model.tasks.find((one) => !model.translations.includes(one)) ?? model.tasks[0];
    const said = element("p", { lang: model.languages[task], dir: "auto" });
    const partial = element("span", { className: "partial" });
    said.append(partial);
    at("texts").append(element("article", { className: "card" }, element("h2", {}, titleOf(model, task)), said));
    return {
      hear({ kind, text }) {
        if (kind === "final" && text) partial.before(`${text} `);
        partial.textContent = kind === "final" ? "" : text;
      },
    };
  }

  async show(found) {
    this.clear();
    this.found = found;
    const { answer, blob, tasks, model } = found;
    at("result").hidden = false;
    at("texts").append(...tasks.map((task, n) => this.pane(task, n === 0)));
    URL.revokeObjectURL(this.audio.src);
    this.audio.src = URL.createObjectURL(blob);
    this.audio.hidden = false;
    at("downloads").hidden = !answer.segments.length;
    this.showTimes(answer.words ?? [], model.languages[tasks[0]]);
    await this.showExperts(answer, blob, model);
  }

  // -- texts --------------------------------------------------------------------------

  pane(task, first) {
    const { answer, model } = this.found;
    const words = first ? [...(answer.words ?? [])] : [];
    const lines = answer.segments.flatMap(({ start, end, text, texts }, n) => {
      const last = n === answer.segments.length - 1;
      const own = [];
      while (words.length && (last || words[0].start < end)) own.push(words.shift());
      const said = texts?.[task] ?? text;
      return said ? [element("p", {}, element("time", {}, clock(start)), ...this.spoken(said, own))] : [];
    });
    if (!lines.length) lines.push(element("p", { className: "quiet" }, "Nobody speaks here."));
    const body = element("div", { lang: model.languages[task], dir: "auto" }, ...lines);
    return element("article", { className: "card" }, element("h2", {}, titleOf(model, task)), body);
  }

  // A text with its words where they stand in it; scripts without spaces have them too
  spoken(text, words) {
    const parts = [];
    let position = 0;
    for (const word of words) {
      const found = text.indexOf(word.word, position);
      if (found < 0) continue;
      const said = element("span", { className: "word" }, word.word);
      said.title = `${word.start.toFixed(2)} to ${word.end.toFixed(2)} s`;
      said.addEventListener("click", () => this.seek(word.start, true));
      this.words.push({ ...word, said });
      parts.push(text.slice(position, found), said);
      position = found + word.word.length;
    }
    return [...parts, text.slice(position)];
  }

  showTimes(words, lang = "") {
    at("words").hidden = !words.length;
    const rows = words.slice(0, MOST_WORDS).map(({ word, start, end, confidence }) => {
      const times = [start, end].map((time) => element("td", {}, `${time.toFixed(2)} s`));
      const sure = element("td", {}, `${Math.round(100 * confidence)} %`);
      return element("tr", {}, element("th", { scope: "row", lang }, word), ...times, sure);
    });
    at("words").querySelector("tbody").replaceChildren(...rows);
  }

  seek(seconds, play = false) {
    this.audio.currentTime = seconds;
    if (play) this.audio.play();
    this.follow();
  }

  follow() {
    const now = this.audio.currentTime;
    for (const { said, start, end } of this.words) said.classList.toggle("now", start <= now && now < end);
    at("playhead").hidden = !this.picture;
    if (this.picture) at("playhead").style.transform = `translateX(${this.picture.xOf(now)}px)`;
  }

  // -- experts ------------------------------------------------------------------------

  async showExperts(answer, blob, model) {
    const layers = layersOf(answer.segments);
    at("experts").hidden = !layers.length;
    if (!layers.length) return;
    at("experts-told").textContent = sentence(layers, model);
    const most = Math.max(...layers.map(({ count }) => count));
    const colors = Array.from({ length: most }, (_, expert) => {
      const swatch = element("span", { className: "swatch" });
      swatch.style.background = colorOf(expert);
      return element("li", {}, swatch, `expert ${expert}`);
    });
    at("legend").replaceChildren(...colors);
    showShares(layers, most);
    at("under").textContent = "\u00a0";
    const { found } = this;
    let samples = null;
    if (blob.size <= MOST_BYTES) samples = await samplesOf(blob).catch(() => null);
    if (found !== this.found) return; // another recording came meanwhile
    at("plot").hidden = !samples?.length;
    if (!samples?.length) {
      at("under").textContent = "This browser cannot draw a recording of this format or size.";
      return;
    }
    this.listLayers(layers); // they take some of the width
    this.picture = new Spectrogram(at("canvas"), samples, layers);
    this.color(layers[0]);
  }

  listLayers(layers) {
    const buttons = layers.map((layer) => {
      const button = element("button", { type: "button", title: layer.name }, layer.name);
      button.style.height = `${STRIP}px`;
      button.ariaLabel = /^\d/.test(layer.name) ? `layer ${layer.name}` : layer.name;
      button.addEventListener("click", () => this.color(layer));
      return button;
    });
    const hertz = element("div", { className: "hertz", ariaHidden: "true" }, element("span", {}, "8 kHz"), element("span", {}, "0"));
    hertz.style.height = `${HEIGHT}px`;
    at("layers").replaceChildren(hertz, ...buttons);
  }

  color(layer) {
    const row = this.picture.layers.indexOf(layer);
    at("layers").querySelectorAll("button").forEach((button, n) => button.setAttribute("aria-pressed", n === row));
    this.picture.draw(layer);
  }

  tell({ offsetX, offsetY }) {
    const seconds = this.picture.secondsAt(offsetX);
    const layer = this.picture.layerAt(offsetY);
    const expert = expertAt(layer, seconds);
    const what = expert === undefined ? "nothing was decoded" : `expert ${expert}`;
    at("under").textContent = `${seconds.toFixed(2)} s, ${layer.name}: ${what}`;
  }

  // -- files --------------------------------------------------------------------------

  async download(format) {
    const { answer, name, request } = this.found;
    at("error").textContent = "";
    try {
      const content =
        format === "json"
          ? JSON.stringify(answer, null, 2)
          : await (await request({ response_format: format })).text();
      const url = URL.createObjectURL(new Blob([content], { type: "text/plain" }));
      element("a", { href: url, download: `${name.replace(/\.\w+$/, "")}.${format}` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    } catch (trouble) {
      if (!(trouble instanceof Trouble)) throw trouble;
      at("error").textContent = trouble.message;
    }
  }
}

// What chose the experts, in words
function sentence(layers, model) {
  const routed = layers.filter(({ spans }) => spans.every(({ label }) => label === null));
  const told = layers
    .filter((layer) => !routed.includes(layer))
    .map(({ layer, task, spans }) => {
      const uses = new Set(spans.map(({ chosen, label }) => `expert ${chosen[0]}, that of the label “${label}”`));
      return `${task ? `${titleOf(model, task)}: the` : "The"} ${layer} used ${[...uses].join(" and ")}.`;
    });
  if (routed.length) {
    const counts = [...new Set(routed.map(({ count }) => count))].join(" or ");
    const where = routed.length === 1 ? "one layer" : `${routed.length} layers`;
    told.push(`In ${where} of the encoder a router chose, frame by frame, among ${counts} experts.`);
  }
  return told.join(" ");
}

function showShares(layers, most) {
  const experts = Array.from({ length: most }, (_, expert) => element("th", { scope: "col" }, `expert ${expert}`));
  const rows = layers.map(({ name, rows }) => {
    const all = rows.reduce((sum, seconds) => sum + seconds, 0);
    const cells = Array.from({ length: most }, (_, expert) =>
      element("td", {}, expert < rows.length ? `${Math.round((100 * rows[expert]) / all)} %` : ""),
    );
    return element("tr", {}, element("th", { scope: "row" }, name), ...cells);
  });
  at("shares").querySelector("thead").replaceChildren(element("tr", {}, element("th", { scope: "col" }, "Layer"), ...experts));
  at("shares").querySelector("tbody").replaceChildren(...rows);
}
