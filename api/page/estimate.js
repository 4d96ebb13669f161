/* What a search would cost, asked before it is started. */

import { html } from "./vendor/preact-htm.js";
import { ask, freshName, submit } from "./api.js";
import * as write from "./format.js";

const POLL = 400;

/** Have the service measure a step of a search; `told` hears how it stands. */
export async function estimateOf(body, told, signal) {
  let job = await submit("estimates", body, freshName());
  while (!write.ENDED.has(job.state) && !signal.aborted) {
    told(job);
    await new Promise((resolve) => setTimeout(resolve, POLL));
    job = await ask(`estimates/${encodeURIComponent(job.id)}`, { signal });
  }
  return job;
}

const range = (found) =>
  `${write.count(found.smallest)} to ${found.largest_is === "at least" ? "at least " : ""}${write.count(found.largest)} parameters`;

function rowsOf(found) {
  const limited = found.limit_seconds != null && found.limit_seconds < found.seconds_without_limit;
  return [
    ["A trial", `about ${write.duration(found.seconds_per_trial)}, ${write.count(found.steps_per_trial)} steps`],
    ["Trainings", `${found.trainings}, finals included, as much work as ${found.whole_trainings} whole ones`],
    ["Memory", `about ${write.bytes(found.memory_bytes)} at its peak`],
    ["Budget", `${write.count(found.ceiling)} of the model's ${write.count(found.backbone_parameters)} parameters`],
    ["Space", `${found.space}, ${Number(found.configurations).toPrecision(3)} configurations of ${range(found)}`],
    ["Examples", (found.examples ?? []).map(write.count).join(" / ")],
    ...(limited ? [["Without the limit", write.duration(found.seconds_without_limit)]] : []),
  ];
}

function Found({ found }) {
  const limited = found.limit_seconds != null && found.limit_seconds < found.seconds_without_limit;
  return html`<p class="sentence">The search would take about ${write.duration(found.seconds)}${limited ? ", the limit of time: it ends before all trials are run" : ""}.</p>
    <dl class="facts">${rowsOf(found).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** An estimate as it stands. */
export function Estimate({ job }) {
  if (!job) return html`<p class="empty">Nothing is trained for an estimate: one step of a search is measured, which takes seconds.</p>`;
  if (job.state === "failed")
    return html`<div class="problem"><p><strong>This search cannot be run.</strong> ${job.trouble?.detail}</p></div>`;
  if (job.state === "cancelled") return html`<p>The estimate was cancelled.</p>`;
  if (job.state !== "succeeded") return html`<p class="loading">Estimating: ${write.STATES[job.state]} …</p>`;
  return html`<${Found} found=${job.result.estimate ?? job.result} />`;
}
