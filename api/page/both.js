/* The trials and fronts of two searches in one plot. */

import { html } from "./vendor/preact-htm.js";
import { Chart, ends, Numbers, Point } from "./chart.js";
import * as write from "./format.js";
import { frontOf, short, steps, trimmed } from "./pareto.js";

const NAMES = ["first", "second"];
const measured = (trial) => Number.isFinite(trial.score) && trial.parameters != null;

function inWords(pair, shown) {
  return pair
    .map(({ search }, place) => {
      const top = write.best(shown[place], (trial) => trial.score);
      return `The ${NAMES[place]}, ${write.title(search)}: ${shown[place].length} trials${top ? `, the best with ${write.score(top.score)} and ${write.count(top.parameters)} parameters` : ""}.`;
    })
    .join(" ");
}

function Legend() {
  const item = (place, kind) => html`<svg width="40" height="16" aria-hidden="true"><line class=${`front ${NAMES[place]}`} x1="16" x2="40" y1="8" y2="8" />
    <${Point} x=${8} y=${8} kind=${kind} series=${NAMES[place]} tip="" /></svg>`;
  return html`<ul class="legend"><li>${item(0, "search")} first, with its front</li><li>${item(1, "final")} second, with its front</li></ul>`;
}

export function Both({ pair }) {
  const shown = pair.map(({ results }) => results.trials.filter(measured));
  const flat = shown.flat();
  if (!flat.length) return html`<p class="empty">Nothing is measured yet.</p>`;
  const ceilings = pair.map(({ results }) => results.ceiling);
  const metric = [...new Set(pair.map(({ results }) => results.metric).filter(Boolean))].join(" / ") || "score";
  const across = { ends: ends([...flat.map((t) => t.parameters), ...ceilings.map((c) => c ?? 0)], { from: 0 }), label: "trained parameters", write: short };
  const up = { ends: ends(flat.map((t) => t.score)), label: metric, write: trimmed };
  const draw = (x, y, frame) => shown.map((trials, place) => html`<g key=${place}>
    <path class=${`front ${NAMES[place]}`} d=${steps(frontOf(trials), x, y, x(ceilings[place] ?? across.ends[1]))} />
    ${ceilings[place] && html`<line class=${`budget ${NAMES[place]}`} x1=${x(ceilings[place])} x2=${x(ceilings[place])} y1=${frame.top} y2=${frame.height - frame.bottom} />`}
    ${trials.map((t) => html`<${Point} key=${t.number} x=${x(t.parameters)} y=${y(t.score)} kind=${place ? "final" : "search"} series=${NAMES[place]}
      tip=${`${NAMES[place]}, trial ${t.number}: ${write.score(t.score)} with ${write.count(t.parameters)} parameters`} />`)}</g>`);
  return html`<${Chart} name="both" title=${`${metric} against trained parameters, of both searches`} text=${inWords(pair, shown)} x=${across} y=${up} draw=${draw} />
    <${Legend} />
    <${Numbers} caption="Scores and trained parameters of both searches" head=${["Search", "Trial", "What", "Parameters", metric]}
      rows=${shown.flatMap((trials, place) => trials.map((t) => [NAMES[place], t.number, write.what(t), write.count(t.parameters), write.score(t.score)]))} />`;
}
