/* Score against trained parameters: the front, the baselines, and how much the budget allows. */

import { html } from "./vendor/preact-htm.js";
import { Chart, ends, Legend, Numbers, Point } from "./chart.js";
import * as write from "./format.js";

const MORE = [
  ["front", "front: beaten by none"],
  ["budget", "budget"],
];

const measured = (trial) => Number.isFinite(trial.score) && trial.parameters != null;

/** The trials of the front that were trained by themselves, from few parameters to many. */
export function frontOf(trials) {
  return trials
    .filter((trial) => trial.front && measured(trial))
    .sort((one, other) => one.parameters - other.parameters || one.score - other.score);
}

/** The front as a line of steps: what is reached with at most so many parameters. */
export function steps(front, across, up, right) {
  let top = -Infinity;
  const parts = [];
  for (const trial of front) {
    if (trial.score <= top) continue;
    const [x, y] = [across(trial.parameters), up(trial.score)];
    parts.push(parts.length ? `H${x}V${y}` : `M${x} ${y}`);
    top = trial.score;
  }
  return parts.length ? `${parts.join("")}H${right}` : "";
}

const tip = (trial) =>
  `Trial ${trial.number}, ${write.what(trial)}: ${write.score(trial.score)} with ${write.count(trial.parameters)} parameters`;

function inWords(shown, front, ceiling, metric) {
  const top = front.at(-1);
  const found = top
    ? ` The front has ${front.length} of them; its highest ${metric} is ${write.score(top.score)} with ${write.count(top.parameters)} parameters, trial ${top.number}.`
    : "";
  const budget = ceiling ? ` The budget allows ${write.count(ceiling)} parameters.` : "";
  return `${shown.length} trials, by ${metric} and trained parameters.${found}${budget}`;
}

function Budget({ x, height, top, bottom, width }) {
  const left = x > width - 60;
  return html`<g><line class="budget" x1=${x} x2=${x} y1=${top} y2=${height - bottom} />
    <text class="note" x=${left ? width - 4 : x} y=${top - 6} text-anchor=${left ? "end" : "middle"}>budget</text></g>`;
}

export function Pareto({ trials, ceiling, metric, name = "pareto" }) {
  const shown = trials.filter(measured);
  if (!shown.length)
    return html`<p class="empty">Here is what each trial reaches with how many parameters, as soon as one is measured.</p>`;
  const front = frontOf(trials);
  const across = { ends: ends([...shown.map((t) => t.parameters), ceiling ?? 0], { from: 0 }), label: "trained parameters", write: short };
  const up = { ends: ends(shown.map((t) => t.score)), label: metric, write: (v) => trimmed(v) };
  const draw = (x, y, frame) => html`
    <path class="front" d=${steps(front, x, y, ceiling ? x(ceiling) : frame.width - frame.right)} />
    ${ceiling && html`<${Budget} x=${x(ceiling)} ...${frame} />`}
    ${shown.map((t) => html`<${Point} key=${t.number} x=${x(t.parameters)} y=${y(t.score)} kind=${t.purpose} solid=${whole(t)} series=${t.front ? "on-front" : ""} tip=${tip(t)} />`)}`;
  return html`<${Chart} name=${name} title=${`${metric} against trained parameters`} text=${inWords(shown, front, ceiling, metric)} x=${across} y=${up} draw=${draw} />
    <${Legend} kinds=${new Set(shown.map((t) => t.purpose))} hollow=${shown.some((t) => !whole(t))} more=${ceiling ? MORE : MORE.slice(0, 1)} />
    <${Numbers} caption=${`${metric} and trained parameters of each trial`} head=${["Trial", "What", "Parameters", metric, "On the front"]}
      rows=${shown.map((t) => [t.number, write.what(t), write.count(t.parameters), write.score(t.score), t.front ? "yes" : "no"])} />`;
}

/** Whether a trial was trained to its end. */
export const whole = (trial) => trial.share == null || trial.share >= 1;

/** A number of parameters in as few letters as an axis has room for. */
export function short(value) {
  if (value >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (value >= 1e3) return `${+(value / 1e3).toPrecision(3)}k`;
  return String(Math.round(value));
}

/** A score on an axis. */
export const trimmed = (value) => String(+value.toPrecision(4));
