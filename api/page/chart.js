/* Scales, axes and the frame of a chart. Every chart is an image with a title, a description in
 * words and a table of its numbers, so that nothing is told by sight alone. */

import { html } from "./vendor/preact-htm.js";
import { useWidth } from "./live.js";

const MARGIN = { top: 22, right: 20, bottom: 46, left: 62 };

/** A linear map of one range onto another. */
export function linear([low, high], [from, to]) {
  const width = high - low || 1;
  const map = (value) => from + ((value - low) / width) * (to - from);
  map.ticks = (most) => ticks(low, high, most);
  return map;
}

/** Round numbers between two ends, about as many as are wanted. */
export function ticks(low, high, most) {
  const rough = (high - low) / Math.max(1, most);
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, place) => (first + place) * step);
}

/** The ends of some values, with a margin where they are no fixed ends. */
export function ends(values, { from, margin = 0.06 } = {}) {
  const finite = values.filter(Number.isFinite);
  if (!finite.length) return [0, 1];
  const low = from ?? Math.min(...finite);
  const high = Math.max(...finite);
  const room = (high - low || Math.abs(high) || 1) * margin;
  return [from ?? low - room, high + room];
}

/** A chart: `draw` is given both scales and returns what lies between the axes. */
export function Chart({ name, title, text, x, y, height = 320, draw }) {
  const [ref, width] = useWidth(560);
  const across = linear(x.ends, [MARGIN.left, width - MARGIN.right]);
  const up = linear(y.ends, [height - MARGIN.bottom, MARGIN.top]);
  return html`<div class="chart" ref=${ref}>
    <svg width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="img"
      aria-labelledby=${`${name}-title ${name}-text`}>
      <title id=${`${name}-title`}>${title}</title>
      <desc id=${`${name}-text`}>${text}</desc>
      <g aria-hidden="true">
        <${Across} scale=${across} axis=${x} width=${width} height=${height} />
        <${Up} scale=${up} axis=${y} width=${width} height=${height} />
        ${draw(across, up, { width, height, ...MARGIN })}
      </g>
    </svg>
  </div>`;
}

function Across({ scale, axis, width, height }) {
  const base = height - MARGIN.bottom;
  return html`<g class="axis">
    ${scale.ticks(width / 110).map((value) => html`<g key=${value}>
      <line class="grid" x1=${scale(value)} x2=${scale(value)} y1=${MARGIN.top} y2=${base} />
      <text x=${scale(value)} y=${base + 17} text-anchor="middle">${axis.write(value)}</text>
    </g>`)}
    <line x1=${MARGIN.left} x2=${width - MARGIN.right} y1=${base} y2=${base} />
    <text class="label" x=${(MARGIN.left + width - MARGIN.right) / 2} y=${height - 8} text-anchor="middle">${axis.label}</text>
  </g>`;
}

function Up({ scale, axis, width, height }) {
  const middle = (MARGIN.top + height - MARGIN.bottom) / 2;
  return html`<g class="axis">
    ${scale.ticks(height / 60).map((value) => html`<g key=${value}>
      <line class="grid" x1=${MARGIN.left} x2=${width - MARGIN.right} y1=${scale(value)} y2=${scale(value)} />
      <text x=${MARGIN.left - 8} y=${scale(value) + 4} text-anchor="end">${axis.write(value)}</text>
    </g>`)}
    <text class="label" x="14" y=${middle} text-anchor="middle" transform=${`rotate(-90 14 ${middle})`}>${axis.label}</text>
  </g>`;
}

/** How points of the kinds are drawn; the form tells them apart, not the colour alone. */
const FORMS = {
  baseline: (x, y) => `M${x - 6} ${y - 6}h12v12h-12z`,
  search: (x, y) => `M${x - 5} ${y}a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z`,
  final: (x, y) => `M${x} ${y - 7}l7 12h-14z`,
};

/** A point of a chart with what it is, for the mouse. */
export function Point({ x, y, kind, tip, solid = true, series = "" }) {
  return html`<path class=${`point ${kind} ${series} ${solid ? "" : "hollow"}`} d=${FORMS[kind](x, y)}>
    <title>${tip}</title>
  </path>`;
}

const WORDS = { baseline: "baseline", search: "searched", final: "final, a fresh seed" };

/** What the forms mean, of those that are there. */
export function Legend({ kinds, hollow, more = [] }) {
  const sample = (kind, solid) => html`<svg width="16" height="16" aria-hidden="true">
    <path class=${`point ${kind} ${solid ? "" : "hollow"}`} d=${FORMS[kind](8, 8)} /></svg>`;
  return html`<ul class="legend">
    ${Object.keys(WORDS).filter((kind) => kinds.has(kind)).map((kind) => html`<li key=${kind}>${sample(kind, true)} ${WORDS[kind]}</li>`)}
    ${hollow && html`<li>${sample("search", false)} part of a training</li>`}
    ${more.map(([name, text]) => html`<li key=${name}><svg width="22" height="16" aria-hidden="true"><line class=${name} x1="0" x2="22" y1="8" y2="8" /></svg> ${text}</li>`)}
  </ul>`;
}

/** The numbers of a chart as a table. */
export function Numbers({ caption, head, rows }) {
  return html`<details class="numbers">
    <summary>The numbers as a table</summary>
    <div class="scroll" role="group" aria-label=${caption} tabindex="0">
      <table>
        <caption>${caption}</caption>
        <thead><tr>${head.map((text) => html`<th scope="col" key=${text}>${text}</th>`)}</tr></thead>
        <tbody>${rows.map((row, place) => html`<tr key=${place}>
          ${row.map((cell, column) => (column ? html`<td key=${column}>${cell}</td>` : html`<th key=${column} scope="row">${cell}</th>`))}
        </tr>`)}</tbody>
      </table>
    </div>
  </details>`;
}
