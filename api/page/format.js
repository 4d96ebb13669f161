/* How numbers, times and states are written. */

const DASH = "–";

export const count = (value) => (value == null ? DASH : Math.round(value).toLocaleString("en-GB"));

export function score(value, digits = 4) {
  return Number.isFinite(value) ? value.toFixed(digits) : DASH;
}

export const percent = (share) => {
  if (!Number.isFinite(share)) return DASH;
  return `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)}%`;
};

const plain = (value) => value.toFixed(3).replace("-", "−");

export const interval = (found) =>
  found ? `${plain(found.mean)} [${plain(found.low)}, ${plain(found.high)}]` : DASH;

const signed = (value) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);

/** A difference with the ends of its interval. */
export const difference = (found) =>
  found ? `${signed(found.mean)} [${signed(found.low)}, ${signed(found.high)}]` : DASH;

/** Seconds as people say them. */
export function duration(seconds) {
  if (!Number.isFinite(seconds)) return DASH;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} days ${hours % 24} h`;
}

/** Bytes in binary units. */
export function bytes(value) {
  if (!Number.isFinite(value)) return DASH;
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(4, Math.floor(Math.log2(Math.max(1, value)) / 10));
  const digits = power === 0 || value / 1024 ** power >= 100 ? 0 : 1;
  return `${(value / 1024 ** power).toFixed(digits)} ${units[power]}`;
}

const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

export const date = (text) => (text ? day.format(new Date(text)) : DASH);
export const time = (text) => clock.format(new Date(text));

/** States of a job for people. */
export const STATES = {
  validating: "checking",
  queued: "waiting for a worker",
  running: "running",
  pausing: "pausing",
  paused: "paused",
  cancelling: "cancelling",
  cancelled: "cancelled",
  succeeded: "done",
  failed: "failed",
};

export const ENDED = new Set(["succeeded", "failed", "cancelled"]);

/** States of a trial for people. */
export const TRIAL_STATES = {
  waiting: "waiting",
  running: "running",
  paused: "paused",
  pruned: "stopped early",
  preempted: "interrupted",
  oom: "out of memory",
  failed: "failed",
  complete: "complete",
};

const PHASES = {
  reading: "reading the model and the data",
  measuring: "measuring a step",
  supernet: "training the shared weights",
  scores: "scoring configurations with the shared weights",
  gates: "training the gates",
  trials: "trying configurations",
  finals: "training the finalists again with fresh seeds",
  concluding: "comparing the finalists and writing the plan",
};

export const phase = (name) => PHASES[name] ?? name;

/** A file's or a package's name without where it lies. */
export const brief = (name) => (name ?? "").replace(/^package:/, "").split("/").at(-1);

/** What a search is called on the page. */
export const title = (search) => `${brief(search.request.model)} at ${search.request.budget}`;

/** Where the data of a search comes from. */
export const source = ({ data }) => data.dataset ?? data.path ?? DASH;

/** What a trial trains, in a few words: a name, or the methods; the map has where and how large. */
export function what(trial) {
  const label = trial.label || `configuration ${trial.number}`;
  const methods = [...new Set(Array.from(label.matchAll(/(\w+)@/g), ([, method]) => method))];
  if (!methods.length) return label;
  return `${label.startsWith("probe") ? "probe: " : ""}${methods.join(" + ")}`;
}

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** The largest of a list by a measure, or undefined. */
export function best(items, measure) {
  return items.reduce((top, one) => (!top || measure(one) > measure(top) ? one : top), undefined);
}
