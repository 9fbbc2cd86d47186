// The page: a recording goes in, by file or microphone, and what the server found is shown.

import { Microphone } from "./microphone.js";
import { Result, element, titleOf } from "./result.js";
import { Stream, Trouble, ask, setToken } from "./server.js";
import { clock } from "./spectrogram.js";

const READ_SECONDS = 2; // between partial texts for screen readers
const LAST_SECONDS = 10; // that the last words of a stream are waited for
const MOST_TASKS = 3; // that are written unless somebody chooses

const at = (id) => document.getElementById(id);
const show = (id, visible) => (at(id).hidden = !visible);

let models = [];
let microphone = null;
let asking = null; // what stops the request under way
let again = start; // what to do once a token is there

// -- what is told ---------------------------------------------------------------------

function say(text, busy = false) {
  at("status").textContent = text;
  at("status").classList.toggle("busy", busy);
}

function complain(trouble) {
  if (trouble.name === "AbortError") return say("Cancelled.");
  if (!(trouble instanceof Trouble)) console.error(trouble);
  say("");
  at("error").textContent = trouble.message;
  if (trouble.status === 401) {
    show("token-form", true);
    at("token").focus();
  }
}

// Runs something that a person asked for; what goes wrong is told
async function attempt(work) {
  at("error").textContent = "";
  again = work;
  try {
    await work();
  } catch (trouble) {
    complain(trouble);
  }
}

// -- what the model can ---------------------------------------------------------------

const model = () => models.find(({ id }) => id === at("model").value);

async function start() {
  say("Asking the server for its models…", true);
  models = (await (await ask("v1/models")).json()).data;
  show("token-form", false);
  at("model").replaceChildren(...models.map(({ id }) => element("option", { value: id }, id)));
  show("model-choice", models.length > 1);
  show("input", true);
  showModel();
  say("");
}

function showModel() {
  const { id, tasks, translations, streams, takes_language } = model();
  const writes = translations.length < tasks.length ? "transcribes" : "translates";
  const both = writes === "transcribes" && translations.length ? " and translates" : "";
  at("about").textContent = `${id} ${writes}${both} recordings of speech.`;
  const notes = [];
  if (!translations.length) notes.push("This model does not translate.");
  notes.push(
    streams
      ? "Words appear while you speak."
      : "This model does not write while you speak: its text comes when you stop.",
  );
  at("note").textContent = notes.join(" ");
  const first = [tasks.find((task) => !translations.includes(task)), translations[0]];
  const chosen = tasks.length > MOST_TASKS ? first : tasks;
  at("tasks").replaceChildren(
    at("tasks").firstElementChild,
    ...tasks.map((task) => {
      const box = element("input", { type: "checkbox", value: task, checked: chosen.includes(task) });
      return element("label", {}, box, ` ${titleOf(model(), task)}`);
    }),
  );
  show("tasks", tasks.length > 1);
  show("language-choice", takes_language);
}

function chosenTasks() {
  const boxes = [...at("tasks").querySelectorAll("input:checked")];
  if (!boxes.length) throw new Trouble("Choose at least one text to write.");
  return boxes.map((box) => box.value);
}

// -- recordings -----------------------------------------------------------------------

const result = new Result();

async function transcribe(blob, name) {
  const mine = supersede(new AbortController());
  const tasks = chosenTasks();
  const request = (fields) => send(blob, name, { ...fields, tasks: tasks.join() }, mine.signal);
  say(`Reading ${name}…`, true);
  show("cancel", true);
  try {
    const fields = { response_format: "verbose_json", experts: "true" };
    const times = model().word_times.includes(tasks[0]) ? ["segment", "word"] : ["segment"];
    fields["timestamp_granularities[]"] = times;
    const answer = await (await request(fields)).json();
    if (mine !== asking) return;
    await result.show({ answer, blob, name, tasks, model: model(), request });
    const texts = Object.values(answer.texts ?? [answer.text]);
    say(texts.some(Boolean) ? `Done: ${clock(answer.duration)} of ${name}.` : `Nobody speaks in ${name}.`);
  } catch (trouble) {
    if (mine === asking) throw trouble; // else another recording came meanwhile
  } finally {
    if (mine === asking) show("cancel", false);
  }
}

function supersede(mine) {
  const before = asking;
  asking = mine;
  before?.abort();
  return mine;
}

function send(blob, name, fields, signal) {
  const form = new FormData();
  form.append("file", blob, name);
  const language = at("language").value.trim();
  const all = { model: model().id, ...(model().takes_language && language && { language }), ...fields };
  for (const [key, value] of Object.entries(all)) {
    [value].flat().forEach((one) => form.append(key, one));
  }
  return ask("v1/audio/transcriptions", { method: "POST", body: form, signal });
}

function take(files) {
  if (!files.length || microphone) return;
  const [file] = files;
  result.clear();
  attempt(() => transcribe(file, file.name));
}

// -- the microphone -------------------------------------------------------------------

let turning = false; // a disabled button would lose the focus

async function speak() {
  if (turning) return;
  turning = true;
  try {
    if (microphone) await finish();
    else await listen();
  } finally {
    turning = false;
  }
}

let stream = null;

async function listen() {
  chosenTasks();
  let position = 0;
  const heard = (samples) => {
    stream?.send(samples);
    const peak = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    at("level").style.transform = `scaleX(${Math.sqrt(peak / 32768)})`;
    const seconds = Math.floor(microphone?.seconds ?? 0);
    if (seconds > position) at("clock").textContent = clock((position = seconds));
  };
  microphone = await Microphone.open(heard);
  supersede(null);
  show("cancel", false);
  if (model().streams) {
    const live = result.live(model());
    stream = new Stream(model().id, microphone.rate, (event) => hear(live, event));
    stream.over.then((trouble) => {
      if (trouble && microphone) {
        trouble.message += " You can go on speaking: the text comes when you stop.";
        complain(trouble);
      }
    });
  } else {
    result.clear();
  }
  listening(true);
  say("Listening. Press Stop when you are done.");
}

let readAt = 0; // when a screen reader was given something

function hear(live, event) {
  live.hear(event);
  const now = performance.now();
  if (event.kind === "final" || now - readAt > 1000 * READ_SECONDS) {
    at("heard").textContent = event.text;
    readAt = now;
  }
}

function listening(on) {
  at("speak").textContent = on ? "Stop" : "Speak";
  at("speak").classList.toggle("on", on);
  at("clock").textContent = clock(0);
  at("file").disabled = on;
  at("model").disabled = on;
  show("meter", on);
  show("clock", on);
  show("drop-hint", !on);
}

async function finish() {
  const blob = await microphone.stop();
  microphone = null;
  listening(false);
  const ending = stream;
  stream = null;
  if (ending) {
    say("The last words…", true);
    ending.end();
    await Promise.race([ending.over, new Promise((late) => setTimeout(late, 1000 * LAST_SECONDS))]);
    ending.close();
  }
  const name = `microphone ${new Date().toTimeString().slice(0, 8).replaceAll(":", ".")}.wav`;
  attempt(() => transcribe(blob, name));
}

// -- who does what --------------------------------------------------------------------

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const work = models.length ? again : start;
  attempt(async () => {
    setToken(at("token").value.trim());
    await work();
    show("token-form", false);
  });
});
at("model").addEventListener("change", showModel);
at("speak").addEventListener("click", () => attempt(speak));
at("cancel").addEventListener("click", () => asking?.abort());
at("file").addEventListener("change", ({ target }) => {
  take(target.files);
  target.value = ""; // the same file may be chosen again
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", kind === "dragover");
    if (kind === "drop" && !at("input").hidden) take(event.dataTransfer.files);
  });
}

attempt(start);
