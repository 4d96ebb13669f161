/* The list of searches. */

import { html, useEffect, useState } from "./vendor/preact-htm.js";
import { ask } from "./api.js";
import * as write from "./format.js";
import { useEvery, useLoad } from "./live.js";
import { Badge } from "./progress.js";
import { Loaded } from "./says.js";

const EVERY = 5000;
const STEP = 20;
const GROUPS = [
  ["", "all", []],
  ["going", "going on", ["validating", "queued", "running", "pausing", "cancelling"]],
  ["ended", "ended", ["succeeded", "failed", "cancelled"]],
];

const statesOf = (choice) => GROUPS.find(([name]) => name === choice)?.[2] ?? [choice];

/** Load the first pages of the list, as many as are shown. */
async function pagesOf(choice, most) {
  const states = statesOf(choice).map((state) => `&state=${state}`).join("");
  const data = [];
  let after = "";
  for (;;) {
    const page = await ask(`searches?limit=${STEP}${states}${after}`);
    data.push(...page.data);
    const last = page.next ?? page.data.at(-1)?.id;
    if (!page.has_more || data.length >= most || !last) return { data, more: page.has_more };
    after = `&after=${encodeURIComponent(last)}`;
  }
}

function Progressed({ search }) {
  const { trials, of } = search.progress;
  if (!of) return "–";
  return html`<span class="tiny"><progress max=${of} value=${Math.min(trials, of)} aria-label=${`Trials of ${write.title(search)}`}></progress> ${trials} of ${of}</span>`;
}

function Row({ search }) {
  return html`<tr>
    <th scope="row"><a href=${`#/searches/${encodeURIComponent(search.id)}`}>${write.title(search)}</a>
      <span class="under">${write.source(search.request)} · ${search.request.strategy}</span></th>
    <td><${Badge} state=${search.state} /></td>
    <td class="wide"><${Progressed} search=${search} /></td>
    <td class="number">${write.score(search.progress.best)}</td>
    <td class="number wide">${write.duration(search.progress.seconds || NaN)}</td>
    <td class="wide"><time datetime=${search.created}>${write.date(search.created)}</time></td>
  </tr>`;
}

function Table({ searches }) {
  return html`<div class="scroll" role="group" aria-label="Searches" tabindex="0"><table>
    <caption class="unseen">Searches, the newest first</caption>
    <thead><tr><th scope="col">Search</th><th scope="col">State</th><th scope="col" class="wide">Trials</th>
      <th scope="col" class="number">Best score</th><th scope="col" class="number wide">Time</th><th scope="col" class="wide">Submitted</th></tr></thead>
    <tbody>${searches.map((search) => html`<${Row} key=${search.id} search=${search} />`)}</tbody>
  </table></div>`;
}

function Filter({ choice, choose }) {
  return html`<div class="filters"><label><span>State</span>
    <select name="state" value=${choice} onChange=${(event) => choose(event.target.value)}>
      ${GROUPS.map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}
      <optgroup label="One state">
        ${Object.entries(write.STATES).map(([value, text]) => html`<option key=${value} value=${value}>${text}</option>`)}
      </optgroup>
    </select></label></div>`;
}

function Nothing({ choice }) {
  return choice
    ? html`<p class="empty">No search is in that state.</p>`
    : html`<div class="empty"><p>There are no searches yet.</p><p><a class="button primary" href="#/submit">Start the first one</a></p></div>`;
}

export function Jobs() {
  const [choice, setChoice] = useState("");
  const [most, setMost] = useState(STEP);
  const list = useLoad(() => pagesOf(choice, most), [choice, most]);
  const going = list.value?.data.some((search) => !write.ENDED.has(search.state)) ?? false;
  useEvery(going ? EVERY : 4 * EVERY, true, list.reload);
  useEffect(() => {
    document.title = "Searches · autopeft";
  }, []);
  return html`<div class="head row"><h1 tabindex="-1">Searches</h1><a class="button primary" href="#/submit">New search</a></div>
    <${Filter} choice=${choice} choose=${setChoice} />
    <${Loaded} of=${list} what="the searches">${({ data, more }) => html`
      ${data.length ? html`<${Table} searches=${data} />` : html`<${Nothing} choice=${choice} />`}
      ${more && html`<button type="button" onClick=${() => setMost(most + STEP)}>Show older ones</button>`}`}<//>`;
}
