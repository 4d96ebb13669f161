/* How far a job is, what it has cost so far, and what is still to come. */

import { html } from "./vendor/preact-htm.js";
import * as write from "./format.js";

export function Badge({ state }) {
  return html`<span class=${`badge state-${state}`}>${write.STATES[state] ?? state}</span>`;
}

function explained({ state, progress, attempts }) {
  const lost = attempts ? ` It has lost its worker ${attempts === 1 ? "once" : `${attempts} times`} and goes on from what is recorded.` : "";
  switch (state) {
    case "validating":
      return "The model, the data and the space are being checked.";
    case "queued":
      return `It waits for a worker that is free.${lost}`;
    case "running":
      return `Now: ${write.phase(progress.phase) || "starting"}.${lost}`;
    case "pausing":
      return "It pauses as soon as the step that runs is done; nothing that is measured is lost.";
    case "paused":
      return "It is paused: Resume lets it go on from what is recorded.";
    case "cancelling":
      return "It is being cancelled; what is measured is kept.";
    case "cancelled":
      return "It was cancelled. What was measured is kept, and Resume takes it up again.";
    default:
      return "";
  }
}

export function Progress({ job }) {
  const { progress, state } = job;
  const text = explained(job);
  const { trials, of } = progress;
  return html`${text && html`<p>${text}</p>`}
    ${of > 0 && !ENDED.has(state) && html`<div class="bar"><label for="trials-bar">Trials: ${trials} of ${of}</label>
      <progress id="trials-bar" max=${of} value=${Math.min(trials, of)}></progress></div>`}
    ${state === "running" && progress.share > 0 && progress.phase && html`<div class="bar">
      <label for="phase-bar">${write.capital(write.phase(progress.phase))}: ${write.percent(progress.share)}</label>
      <progress id="phase-bar" max="1" value=${progress.share}></progress></div>`}`;
}

function until(job) {
  const left = job.progress.remaining;
  if (left == null || job.state !== "running") return "";
  const end = new Date(Date.now() + 1000 * left);
  return `, until about ${write.date(end.toISOString())}`;
}

/** Cost so far and to come. */
export function Cost({ job, trials, prepared }) {
  const { progress, state } = job;
  const training = trials.reduce((sum, trial) => sum + (trial.seconds ?? 0), 0);
  const left = ENDED.has(state) ? "nothing" : progress.remaining == null ? "not known yet" : `about ${write.duration(progress.remaining)}${until(job)}`;
  const facts = [
    ["So far", write.duration(progress.seconds || NaN)],
    ["To come", left],
    ["Trials ended", progress.of ? `${progress.trials} of ${progress.of}` : progress.trials],
    ["In trials", training ? `${write.duration(training)} of training and scoring` : "–"],
    ...(prepared ? [["Before the trials", write.duration(prepared)]] : []),
    ["Best score so far", write.score(progress.best)],
    ["Submitted", write.date(job.created)],
    ["Started", write.date(job.started)],
    ...(job.ended ? [["Ended", write.date(job.ended)]] : []),
  ];
  return html`<dl class="facts">
    ${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>`;
}

const { ENDED } = write;
