/* A configuration as a map: blocks by slots, the darker the larger. */

import { html } from "./vendor/preact-htm.js";
import { Numbers } from "./chart.js";
import * as write from "./format.js";

const CELL = { width: 34, height: 22 };
const LEFT = 52;
const LEVELS = 5;
const LETTER = 6.6;

/** The columns in use, each with its largest size over all slots of its method. */
export function columnsOf({ slots, sizes }) {
  const largest = new Map();
  const used = slots
    .map((slot, place) => ({ slot, place, method: slot.split("@")[0] }))
    .filter(({ place }) => sizes.some((row) => row[place] > 0));
  for (const { method, place } of used)
    largest.set(method, Math.max(largest.get(method) ?? 0, ...sizes.map((row) => row[place])));
  return used.map((column) => ({ ...column, largest: largest.get(column.method) }));
}

/** How dark a size is: sizes of two methods mean two things, so each goes by its own largest. */
export const level = (size, largest) => (size ? Math.max(1, Math.ceil((LEVELS * size) / largest)) : 0);

function inWords(columns, sizes) {
  const methods = [...new Set(columns.map(({ method }) => method))];
  const blocks = sizes.filter((row) => row.some((size) => size > 0)).length;
  return `${columns.length} slots of ${methods.join(", ")} in use, in ${blocks} of ${sizes.length} blocks. The table below has the sizes.`;
}

function Cells({ columns, sizes, top }) {
  return sizes.map((row, block) => html`<g key=${block}>
    <text class="row" x=${LEFT - 8} y=${top + block * CELL.height + 15} text-anchor="end">${block}</text>
    ${columns.map(({ slot, place, largest }, column) => html`<g key=${slot} class=${`heat heat-${level(row[place], largest)}`}>
      <rect x=${LEFT + column * CELL.width} y=${top + block * CELL.height} width=${CELL.width - 2} height=${CELL.height - 2} rx="3">
        <title>${`block ${block}, ${slot}: ${row[place] || "nothing"}`}</title>
      </rect>
      ${row[place] > 0 && html`<text x=${LEFT + column * CELL.width + CELL.width / 2 - 1} y=${top + block * CELL.height + 14} text-anchor="middle">${row[place]}</text>`}
    </g>`)}
  </g>`);
}

function Heads({ columns, top }) {
  return columns.map(({ slot }, column) => {
    const [x, y] = [LEFT + column * CELL.width + CELL.width / 2 + 2, top - 8];
    return html`<text key=${slot} class="column" x=${x} y=${y} transform=${`rotate(-50 ${x} ${y})`}>${slot}</text>`;
  });
}

export function HeatMap({ trial }) {
  const columns = columnsOf(trial);
  if (!columns.length)
    return html`<p class="empty">Trial ${trial.number} puts nothing into the backbone: only the head is trained.</p>`;
  const longest = Math.max(...columns.map(({ slot }) => slot.length)) * LETTER;
  const top = 16 + longest * 0.78;
  const width = LEFT + columns.length * CELL.width + longest * 0.7;
  const height = top + trial.sizes.length * CELL.height + 4;
  return html`<div class="scroll" role="group" aria-label="Map of the sizes" tabindex="0">
      <svg width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="img" aria-labelledby="heat-title heat-text">
        <title id="heat-title">Sizes of trial ${trial.number}, blocks by slots</title>
        <desc id="heat-text">${inWords(columns, trial.sizes)}</desc>
        <g aria-hidden="true">
          <text class="row" x=${LEFT - 8} y=${top - 8} text-anchor="end">block</text>
          <${Heads} columns=${columns} top=${top} />
          <${Cells} columns=${columns} sizes=${trial.sizes} top=${top} />
        </g>
      </svg>
    </div>
    <p class="hint">The darker, the larger, by the largest size of each method; an empty cell has nothing. Slots that no block uses are left out.</p>
    <${Numbers} caption=${`Sizes of trial ${trial.number}`} head=${["Block", ...columns.map(({ slot }) => slot)]}
      rows=${trial.sizes.map((row, block) => [block, ...columns.map(({ place }) => row[place] || "·")])} />`;
}

const RECIPE = [
  ["learning_rates", "Learning rates", (rates) => Object.entries(rates).map(([name, rate]) => `${name} ${+rate.toPrecision(3)}`).join(", ")],
  ["head_learning_rate", "Head's learning rate", (rate) => +rate.toPrecision(3)],
  ["epochs", "Epochs", write.count],
  ["batch_size", "Batch size", write.count],
  ["precision", "Precision", String],
];

/** How a trial is trained. */
export function Recipe({ trial }) {
  return html`<dl class="facts">
    ${RECIPE.filter(([name]) => trial.recipe?.[name] != null).map(([name, text, show]) => html`<div key=${name}><dt>${text}</dt><dd>${show(trial.recipe[name]) || "–"}</dd></div>`)}
  </dl>`;
}
