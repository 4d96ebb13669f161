/* The service over HTTP: one way to ask, one kind of error, and the stream of events.
 *
 * The key lives in the session storage of this tab and goes out as a bearer token. EventSource
 * could not send it, so the stream is read with fetch. */

import * as connection from "./connection.js";

const KEY = "autopeft.key";
const FIRST_WAIT = 500;
const LONGEST_WAIT = 15_000;

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY)),
};

/** What went wrong, as a sentence; `param` is the field to look at, `remedy` what to do. */
export class Problem extends Error {
  constructor({ detail, code, status, param, errors, remedy, after }) {
    super(detail);
    const known = { param: param ?? null, errors: errors ?? [], remedy: remedy ?? null };
    Object.assign(this, { code, status, ...known, after });
  }

  /** Whether the same question may be answered in a moment. */
  get passes() {
    return this.code === "unreachable" || this.status === 503;
  }
}

const UNREACHABLE = {
  code: "unreachable",
  status: 0,
  detail: "The service does not answer.",
  remedy: "The page tries again by itself; see that `autopeft serve` runs.",
};

const NOT_ALLOWED = new Set([401]);
const AWAY = new Set([502, 504]);
let onRefused = () => {};

/** Call this whenever the service wants a key, or another one. */
export function whenRefused(call) {
  onRefused = call;
}

const address = (path) => new URL(`v1/${path}`, document.baseURI);

function headers(more) {
  const own = key.get();
  return own ? { ...more, Authorization: `Bearer ${own}` } : more;
}

async function reach(path, options) {
  let answer;
  try {
    answer = await fetch(address(path), { ...options, headers: headers(options.headers ?? {}) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    connection.lost();
    throw new Problem(UNREACHABLE);
  }
  if (AWAY.has(answer.status)) {
    connection.lost();
    throw new Problem(UNREACHABLE);
  }
  connection.found();
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

async function problemOf(answer) {
  const found = (await answer.json().catch(() => null)) ?? {};
  const detail = found.detail ?? found.title ?? `The service answered ${answer.status}.`;
  const after = Number(answer.headers.get("Retry-After")) || null;
  if (NOT_ALLOWED.has(answer.status)) onRefused(detail);
  return new Problem({ ...found, detail, status: answer.status, after });
}

/** Ask the service; the answer is read as JSON, or null where it is empty. */
export async function ask(path, { method = "GET", body, headers: more = {}, signal } = {}) {
  const sent = body === undefined ? {} : { "Content-Type": "application/json" };
  const answer = await reach(path, {
    method,
    signal,
    headers: { Accept: "application/json", ...sent, ...more },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

/** Post something that must not be done twice, however often it is sent. */
export const submit = (path, body, once) =>
  ask(path, { method: "POST", body, headers: { "Idempotency-Key": once } });

/** A name that nobody else thinks of; randomUUID exists on https and localhost only. */
export function freshName() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Read a list to its end, page by page. */
export async function all(path, options) {
  const items = [];
  let after = "";
  for (;;) {
    const page = await ask(`${path}?limit=100${after}`, options);
    items.push(...page.data);
    if (!page.has_more || !page.next) return items;
    after = `&after=${encodeURIComponent(page.next)}`;
  }
}

/** Fetch a file with the key and let the browser save it. */
export async function save(path, name, accept = "*/*") {
  const answer = await reach(path, { headers: { Accept: accept } });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Send a file; fetch cannot tell how far it is, so this is the older way. */
export function upload(path, form, told) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address(path));
    for (const [name, value] of Object.entries(headers({ Accept: "application/json" })))
      request.setRequestHeader(name, value);
    request.upload.onprogress = (at) => told(at.lengthComputable ? at.loaded / at.total : 0);
    request.onerror = () => {
      connection.lost();
      reject(new Problem({ ...UNREACHABLE, remedy: "Send the file again when it is back." }));
    };
    request.onload = async () => {
      const { status, responseText: body } = request;
      if (status < 300) return resolve(JSON.parse(body));
      const after = request.getResponseHeader("Retry-After") ?? "";
      reject(await problemOf(new Response(body, { status, headers: { "Retry-After": after } })));
    };
    request.send(form);
  });
}

const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });

/** Tell every event of a job after one of them, until it has ended or the signal says stop.
 *
 * What breaks off is taken up again behind the last event that came. */
export async function follow(path, { after = 0, told, signal }) {
  let last = after;
  let wait = FIRST_WAIT;
  while (!signal.aborted) {
    try {
      const asked = { Accept: "text/event-stream", "Last-Event-ID": String(last) };
      const answer = await reach(path, { headers: asked, signal });
      for await (const event of events(answer.body)) {
        wait = FIRST_WAIT;
        if (event.name === "end") return last;
        last = event.id || last;
        told(event.data);
      }
      wait = FIRST_WAIT;
    } catch (error) {
      if (signal.aborted) return last;
      if (error instanceof Problem && !error.passes && error.status !== 429) throw error;
      if (!(error instanceof Problem)) connection.lost();
    }
    await pause(wait, signal);
    wait = Math.min(2 * wait, LONGEST_WAIT);
  }
  return last;
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const event = eventOf(block);
      if (event) yield event;
    }
  }
}

/** Read one event of a stream; null for a comment, which is only a sign of life. */
export function eventOf(block) {
  const found = { name: "message", id: 0, data: [] };
  for (const line of block.split("\n")) {
    const [, field, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (field === "event") found.name = value;
    if (field === "id") found.id = Number(value);
    if (field === "data") found.data.push(value);
  }
  if (!found.data.length) return found.name === "end" ? found : null;
  return { ...found, data: parsed(found.data.join("\n")) };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { message: text };
  }
}
