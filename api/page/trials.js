/* All trials in a table that can be sorted and filtered. */

import { html, useMemo, useState } from "./vendor/preact-htm.js";
import * as write from "./format.js";
import { announce } from "./says.js";

const STEP = 100;

const COLUMNS = [
  { name: "number", text: "Trial", of: (t) => t.number, show: (t) => t.number },
  { name: "purpose", text: "Purpose", of: (t) => t.purpose, show: (t) => (t.of == null ? t.purpose : `${t.purpose} of ${t.of}`) },
  { name: "label", text: "What", of: write.what, show: write.what, words: true },
  { name: "state", text: "State", of: (t) => t.state, show: (t) => html`<${State} trial=${t} />`, words: true },
  { name: "score", text: "Score", of: (t) => t.score, show: (t) => write.score(t.score) },
  { name: "inherited", text: "Inherited", of: (t) => t.inherited, show: (t) => write.score(t.inherited), some: true },
  { name: "parameters", text: "Parameters", of: (t) => t.parameters, show: (t) => write.count(t.parameters) },
  { name: "share", text: "Trained", of: (t) => t.share, show: (t) => write.percent(t.share) },
  { name: "seconds", text: "Time", of: (t) => t.seconds, show: (t) => write.duration(t.seconds) },
];

function State({ trial }) {
  return html`<span class=${`badge trial-${trial.state}`}>${write.TRIAL_STATES[trial.state] ?? trial.state}</span>
    ${trial.front && html` <span class="badge on-front">front</span>`}
    ${trial.failure && html`<span class="failure">${trial.failure}</span>`}`;
}

/** Keep the trials that the filters ask for. */
export function kept(trials, { state, purpose, text, front }) {
  const word = text.trim().toLowerCase();
  return trials.filter(
    (trial) =>
      (!state || trial.state === state) &&
      (!purpose || trial.purpose === purpose) &&
      (!front || trial.front) &&
      (!word || `${trial.number} ${trial.label} ${write.what(trial)} ${trial.failure}`.toLowerCase().includes(word)),
  );
}

/** Sort by a column; what has no value comes last, whichever way it goes. */
export function sorted(trials, name, down) {
  const value = COLUMNS.find((column) => column.name === name).of;
  const missing = (trial) => value(trial) == null;
  const order = (one, other) => {
    if (missing(one) || missing(other)) return missing(one) - missing(other);
    const [a, b] = [value(one), value(other)];
    const by = typeof a === "number" ? a - b : String(a).localeCompare(String(b));
    return down ? -by : by;
  };
  return [...trials].sort(order);
}

function Filters({ trials, filter, set }) {
  const choice = (name, text, values, words) => html`<label><span>${text}</span>
    <select name=${name} value=${filter[name]} onChange=${(event) => set({ [name]: event.target.value })}>
      <option value="">all</option>
      ${values.map((value) => html`<option key=${value} value=${value}>${words[value] ?? value}</option>`)}
    </select></label>`;
  const values = (name) => [...new Set(trials.map((trial) => trial[name]))].sort();
  return html`<div class="filters" role="group" aria-label="Which trials are shown">
    ${choice("state", "State", values("state"), write.TRIAL_STATES)}
    ${choice("purpose", "Purpose", values("purpose"), {})}
    <label><span>Containing</span>
      <input type="search" value=${filter.text} onInput=${(event) => set({ text: event.target.value })} /></label>
    <label class="check"><input type="checkbox" checked=${filter.front} onChange=${(event) => set({ front: event.target.checked })} /> only the front</label>
  </div>`;
}

function Head({ columns, order, set }) {
  const turn = (name) => {
    const down = order.name === name ? !order.down : name === "score";
    set({ name, down });
    announce(`Sorted by ${name}, ${down ? "largest" : "smallest"} first.`);
  };
  return html`<tr>
    ${columns.map(({ name, text, words }) => {
      const sort = order.name === name ? (order.down ? "descending" : "ascending") : "none";
      const mark = { none: "", ascending: "▲", descending: "▼" }[sort];
      return html`<th key=${name} scope="col" aria-sort=${sort} class=${words || name === "purpose" ? "" : "number"}>
        <button type="button" class="sort" onClick=${() => turn(name)}>${text}<span aria-hidden="true"> ${mark}</span></button>
      </th>`;
    })}
    <th scope="col">Map</th>
  </tr>`;
}

function Row({ trial, columns, shown, show }) {
  return html`<tr class=${shown ? "chosen" : ""}>
    ${columns.map(({ name, show: cell, words }) =>
      name === "number"
        ? html`<th key=${name} scope="row" class="number">${cell(trial)}</th>`
        : html`<td key=${name} class=${words || name === "purpose" ? "" : "number"}>${cell(trial)}</td>`,
    )}
    <td><button type="button" class="small" aria-pressed=${shown ? "true" : "false"} onClick=${() => show(trial.number)}>
      Show<span class="unseen"> the sizes of trial ${trial.number}</span></button></td>
  </tr>`;
}

export function Trials({ trials, metric, chosen, show }) {
  const [filter, setFilter] = useState({ state: "", purpose: "", text: "", front: false });
  const [order, setOrder] = useState({ name: "number", down: false });
  const [most, setMost] = useState(STEP);
  const rows = useMemo(() => sorted(kept(trials, filter), order.name, order.down), [trials, filter, order]);
  if (!trials.length) return html`<p class="empty">There are no trials yet.</p>`;
  const columns = COLUMNS.filter(({ some, of }) => !some || trials.some((trial) => of(trial) != null)).map((column) =>
    column.name === "score" ? { ...column, text: metric } : column,
  );
  const set = (change) => setFilter((known) => ({ ...known, ...change }));
  return html`<${Filters} trials=${trials} filter=${filter} set=${set} />
    <p role="status" class="hint">${rows.length} of ${trials.length} trials</p>
    <div class="scroll" role="group" aria-label="Trials" tabindex="0">
      <table class="trials">
        <caption class="unseen">Trials of the search; the heads of the columns sort</caption>
        <thead><${Head} columns=${columns} order=${order} set=${setOrder} /></thead>
        <tbody>${rows.slice(0, most).map((trial) => html`<${Row} key=${trial.number} trial=${trial} columns=${columns} shown=${trial.number === chosen} show=${show} />`)}</tbody>
      </table>
    </div>
    ${!rows.length && html`<p class="empty">No trial is like that.</p>`}
    ${rows.length > most && html`<button type="button" onClick=${() => setMost(most + STEP)}>Show ${Math.min(STEP, rows.length - most)} more</button>`}`;
}
