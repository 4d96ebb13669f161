/* The log of what happened to a job. */

import { html, useState } from "./vendor/preact-htm.js";
import * as write from "./format.js";
import { Wrong } from "./says.js";

const STEP = 100;
const KINDS = [
  ["", "all but progress"],
  ["state", "changes of state"],
  ["trial", "trials"],
  ["message", "messages"],
  ["progress", "progress"],
  ["trouble", "warnings and errors"],
];

function wanted(kind) {
  if (kind === "trouble") return (event) => event.level !== "info";
  return (event) => (kind ? event.kind === kind : event.kind !== "progress" || event.level !== "info");
}

export function Events({ events, problem }) {
  const [kind, setKind] = useState("");
  const [most, setMost] = useState(STEP);
  const shown = events.filter(wanted(kind)).reverse();
  return html`<${Wrong} problem=${problem} />
    <div class="filters"><label><span>Show</span>
      <select name="events" value=${kind} onChange=${(event) => setKind(event.target.value)}>
        ${KINDS.map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}
      </select></label></div>
    ${shown.length
      ? html`<ol class="log" aria-label="Events, the latest first" tabindex="0" reversed>
          ${shown.slice(0, most).map((event) => html`<li key=${event.id} class=${event.level}>
            <time datetime=${event.at} title=${write.date(event.at)}>${write.time(event.at)}</time>
            ${event.level !== "info" && html`<strong>${event.level}</strong>`}
            <span>${write.capital(event.message)}</span></li>`)}
        </ol>`
      : html`<p class="empty">Nothing of that kind has happened yet.</p>`}
    ${shown.length > most && html`<button type="button" onClick=${() => setMost(most + STEP)}>Show older ones</button>`}`;
}
