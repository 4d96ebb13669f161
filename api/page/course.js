/* Score against time: what each trial gave, and the best so far. */

import { html } from "./vendor/preact-htm.js";
import { Chart, ends, Legend, Numbers, Point } from "./chart.js";
import * as write from "./format.js";
import { trimmed, whole } from "./pareto.js";

const ENDED = new Set(["complete", "paused", "pruned", "failed", "oom"]);

/** When each trial last ended, as its events tell: numbers to milliseconds. */
export function endsOf(events) {
  const found = new Map();
  for (const event of events)
    if (event.kind === "trial" && event.data.number != null && ENDED.has(event.data.state))
      found.set(event.data.number, Date.parse(event.at));
  return found;
}

/** Put a time in seconds to each trial with a score: by the clock where that is known of all. */
export function courseOf(trials, started, events) {
  const scored = trials.filter((trial) => Number.isFinite(trial.score));
  const ended = endsOf(events);
  const begin = Date.parse(started);
  if (Number.isFinite(begin) && scored.length && scored.every((trial) => ended.has(trial.number))) {
    const points = scored.map((trial) => ({ trial, at: (ended.get(trial.number) - begin) / 1000 }));
    return { clock: true, points: points.sort((one, other) => one.at - other.at) };
  }
  let spent = 0;
  const points = scored.map((trial) => ({ trial, at: (spent += trial.seconds ?? 0) }));
  return { clock: false, points };
}

/** The best score so far after each point; finals repeat a trial and do not count. */
export function bestSoFar(points) {
  const line = [];
  for (const point of points) {
    if (point.trial.purpose === "final" || !whole(point.trial)) continue;
    if (!line.length || point.trial.score > line.at(-1).trial.score) line.push(point);
  }
  return line;
}

/** A line of steps through the best so far, up to the right end. */
export function stepsOf(line, across, up, right) {
  if (!line.length) return "";
  const parts = line.map(({ at, trial }, place) =>
    place ? `H${across(at)}V${up(trial.score)}` : `M${across(at)} ${up(trial.score)}`,
  );
  return `${parts.join("")}H${right}`;
}

/** Seconds on an axis, in the unit that fits the whole of it. */
export function unitOf(seconds) {
  if (seconds > 2 * 86_400) return { name: "days", size: 86_400 };
  if (seconds > 2 * 3600) return { name: "hours", size: 3600 };
  if (seconds > 180) return { name: "minutes", size: 60 };
  return { name: "seconds", size: 1 };
}

function inWords(line, points, metric) {
  const top = line.at(-1);
  if (!top) return `${points.length} scores, none of a whole training.`;
  return `${points.length} scores. The best ${metric}, ${write.score(top.trial.score)}, came with trial ${top.trial.number} after ${write.duration(top.at)}.`;
}

export function Course({ trials, started, events, metric }) {
  const { clock, points } = courseOf(trials, started, events);
  if (!points.length)
    return html`<p class="empty">Here is how the score grows with time, as soon as a trial is measured.</p>`;
  const line = bestSoFar(points);
  const unit = unitOf(points.at(-1).at);
  const inUnits = points.map(({ trial, at }) => ({ trial, at: at / unit.size }));
  const label = `${unit.name} ${clock ? "since the start" : "of training"}`;
  const across = { ends: ends(inUnits.map((p) => p.at), { from: 0, margin: 0.03 }), label, write: trimmed };
  const up = { ends: ends(points.map((p) => p.trial.score)), label: metric, write: trimmed };
  const draw = (x, y, frame) => html`
    <path class="best" d=${stepsOf(bestSoFar(inUnits), x, y, frame.width - frame.right)} />
    ${inUnits.map(({ trial, at }) => html`<${Point} key=${trial.number} x=${x(at)} y=${y(trial.score)} kind=${trial.purpose} solid=${whole(trial)} tip=${`Trial ${trial.number}: ${write.score(trial.score)} after ${write.duration(at * unit.size)}`} />`)}`;
  return html`<${Chart} name="course" title=${`${metric} against time`} text=${inWords(line, points, metric)} x=${across} y=${up} draw=${draw} />
    <${Legend} kinds=${new Set(points.map((p) => p.trial.purpose))} hollow=${points.some((p) => !whole(p.trial))} more=${[["best", "best so far"]]} />
    <${Numbers} caption=${`${metric} of each trial by ${label}`} head=${["Trial", "What", unit.name, metric]}
      rows=${points.map(({ trial, at }) => [trial.number, write.what(trial), trimmed(at / unit.size), write.score(trial.score)])} />`;
}
