// What the page asks the server, and what goes wrong in plain words.

const TOKEN = "espnet-smoe-token";

let token = "";
try {
  token = sessionStorage.getItem(TOKEN) ?? "";
} catch {
  // the browser keeps nothing: the token is asked for again
}

export class Trouble extends Error {
  // status: of HTTP, 0 where no answer came
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

export function setToken(value) {
  if (!/^[\x21-\x7e]+$/.test(value)) {
    throw new Trouble("A token has no spaces and only plain letters, digits and signs.");
  }
  token = value;
  try {
    sessionStorage.setItem(TOKEN, value);
  } catch {
    // as above
  }
}

// relative to the page: it may stand behind a proxy, at any path
const at = (path) => new URL(path, document.baseURI);

export async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(at(path), { ...options, headers });
  } catch (fault) {
    if (fault.name === "AbortError") throw fault;
    throw new Trouble("The server does not answer. Is it still running, and are you online?");
  }
  if (!response.ok) throw await troubleOf(response);
  return response;
}

async function troubleOf(response) {
  let told = "";
  try {
    told = (await response.json()).error.message.replace(/\.$/, "");
  } catch {
    // a proxy's own page
  }
  const { status } = response;
  const retry = response.headers.get("Retry-After");
  const again = retry ? `Try again in ${retry} s.` : "Try again later.";
  const words = {
    400: `This cannot be done: ${told}.`,
    401: token ? "The token is wrong." : "", // the form says it
    403: `The server does not let this page in: ${told}.`,
    408: "The recording did not arrive in time. Try again.",
    413: "The recording is too large for this server. Send a shorter one, or a compressed one such as FLAC or MP3.",
    429: `Too many of your recordings at the same time. ${again}`,
    500: `The server failed: ${told}.`,
    503: `The server is busy: ${told}. ${again}`,
  };
  const message = told ? (words[status] ?? `${told}.`) : `The server cannot be reached behind its proxy (error ${status}).`;
  return new Trouble(message, status);
}

const CLOSED = {
  1001: "The server stops.",
  1006: "The connection to the server broke, or it let nobody in.",
  1013: "The server is busy. Try again later.",
};

// Words while somebody speaks: the server's own protocol.
export class Stream {
  // heard: called with each event
  constructor(model, rate, heard) {
    const url = at("espnet-smoe");
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("model", model);
    let told = "";
    this.waiting = [JSON.stringify({ type: "start", rate })];
    // a browser cannot set the header; the server answers with the first of the two
    const protocols = token ? ["realtime", `openai-insecure-api-key.${token}`] : [];
    this.socket = new WebSocket(url, protocols);
    this.socket.onopen = () => {
      this.waiting.forEach((frame) => this.socket.send(frame));
      this.waiting = null;
    };
    // resolved with a `Trouble`, or with nothing when all has been said
    this.over = new Promise((resolve) => {
      this.socket.onmessage = ({ data }) => {
        const message = JSON.parse(data);
        if (message.type === "event") heard(message);
        if (message.type === "error") told = message.message;
        if (message.type === "done") resolve();
      };
      this.socket.onclose = ({ code }) => {
        const plain = CLOSED[code] ?? "The server has ended the stream.";
        resolve(new Trouble(told ? `${plain} (${told})` : plain));
      };
    });
  }

  send(frame) {
    if (this.waiting) this.waiting.push(frame);
    else if (this.socket.readyState === WebSocket.OPEN) this.socket.send(frame);
  }

  end() {
    this.send(JSON.stringify({ type: "end" }));
  }

  close() {
    this.socket.close();
  }
}
