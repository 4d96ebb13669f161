/* Two searches side by side. */

import { html, useEffect } from "./vendor/preact-htm.js";
import { all, ask } from "./api.js";
import { factsOf } from "./asked.js";
import * as write from "./format.js";
import { useLoad } from "./live.js";
import { Both } from "./both.js";
import { Badge } from "./progress.js";
import { resultsOf } from "./results.js";
import { Loaded } from "./says.js";
import { answerOf, Verdict } from "./verdict.js";

async function found(id) {
  if (!id) return null;
  const search = await ask(`searches/${encodeURIComponent(id)}`);
  return { search, answer: answerOf(search), results: await resultsOf(search) };
}

function Chooser({ searches, first, second }) {
  const go = (one, other) => {
    location.hash = `#/compare/${encodeURIComponent(one)}${other ? `/${encodeURIComponent(other)}` : ""}`;
  };
  const select = (name, label, value, choose) => html`<label><span>${label}</span>
    <select name=${name} onChange=${(event) => choose(event.target.value)}>
      <option value="" selected=${!value}>choose a search</option>
      ${searches.map((search) => html`<option key=${search.id} value=${search.id} selected=${search.id === value}>${write.title(search)}, ${write.date(search.created)}, ${write.STATES[search.state]} (${search.id.slice(-6)})</option>`)}
    </select></label>`;
  return html`<div class="filters" role="group" aria-label="Which searches are compared">
    ${select("first", "First", first, (id) => go(id, second))}
    ${select("second", "Second", second, (id) => go(first, id))}
  </div>`;
}

const NUMBERS = [
  ["State", ({ search }) => html`<${Badge} state=${search.state} />`],
  ["Metric", ({ results }) => results.metric ?? "–"],
  ["Best score so far", ({ search }) => write.score(search.progress.best)],
  ["Score of the plan", ({ answer }) => write.interval(planOf(answer)?.score)],
  ["Parameters of the plan", ({ answer }) => write.count(planOf(answer)?.parameters)],
  ["Searched minus baseline", ({ answer }) => write.difference(answer?.difference)],
  ["Verdict", ({ answer }) => answer?.verdict ?? "–"],
  ["Tau of the supernet", ({ answer }) => write.interval(answer?.ranking?.tau)],
  ["Trials", ({ search }) => `${search.progress.trials} of ${search.progress.of}`],
  ["Time", ({ search }) => write.duration(search.progress.seconds)],
];

function planOf(answer) {
  return [answer?.searched, answer?.baseline].find((finalist) => finalist && finalist.trial === answer.chosen);
}

function Table({ caption, rows, pair }) {
  return html`<div class="scroll" role="group" aria-label=${caption} tabindex="0"><table class="two">
    <caption class="unseen">${caption}</caption>
    <thead><tr><td></td>${pair.map(({ search }, place) => html`<th scope="col" key=${place}><a href=${`#/searches/${encodeURIComponent(search.id)}`}>${["First", "Second"][place]}: ${write.title(search)}</a></th>`)}</tr></thead>
    <tbody>${rows.map(([name, cells, differs]) => html`<tr key=${name} class=${differs ? "differs" : ""}>
      <th scope="row">${name}${differs && html` <span class="badge">differs</span>`}</th>${cells.map((cell, place) => html`<td key=${place}>${cell}</td>`)}</tr>`)}</tbody>
  </table></div>`;
}

/** The facts of both, and whether they differ. */
export function askedRows([one, other]) {
  const second = new Map(factsOf(other.search, other.results));
  return factsOf(one.search, one.results).map(([name, value]) => [name, [value, second.get(name)], value !== second.get(name)]);
}

/** What keeps the scores of two searches from being held against each other; empty for nothing. */
export function obstacles([one, other]) {
  const found = [];
  if (one.results.metric !== other.results.metric) found.push("they are scored by two metrics");
  if (write.source(one.search.request) !== write.source(other.search.request)) found.push("they were given two data sets");
  return found;
}

function Pair({ pair }) {
  const against = obstacles(pair);
  return html`
    ${against.length > 0 && html`<p class="warning"><strong>The scores of these two cannot be held against each other:</strong> ${against.join(", and ")}.</p>`}
    <div class="pair">${pair.map(({ search, answer }, place) => html`<section class="card" key=${place} aria-labelledby=${`side-${place}`}>
      <h2 id=${`side-${place}`}>${["First", "Second"][place]}: ${write.title(search)} <${Badge} state=${search.state} /></h2>
      ${answer ? html`<${Verdict} answer=${answer} />` : html`<p class="empty">There is no answer yet.</p>`}</section>`)}</div>
    <section class="card" aria-labelledby="numbers-head"><h2 id="numbers-head">In numbers</h2>
      <${Table} caption="What they have found" pair=${pair} rows=${NUMBERS.map(([name, show]) => [name, pair.map(show), false])} /></section>
    <section class="card" aria-labelledby="both-head"><h2 id="both-head">What they reach with how much</h2><${Both} pair=${pair} /></section>
    <section class="card" aria-labelledby="asked-head"><h2 id="asked-head">What they were asked</h2>
      <${Table} caption="What they were asked" pair=${pair} rows=${askedRows(pair)} /></section>`;
}

export function Compare({ first, second }) {
  const list = useLoad(() => all("searches"), []);
  const pair = useLoad(() => Promise.all([found(first), found(second)]), [first, second]);
  useEffect(() => {
    document.title = "Compare · autopeft";
  }, []);
  return html`<h1 tabindex="-1">Compare two searches</h1>
    <${Loaded} of=${list} what="the searches">${(searches) => html`<${Chooser} searches=${searches} first=${first} second=${second} />`}<//>
    ${first && second
      ? html`<${Loaded} of=${pair} what="both searches">${(both) => html`<${Pair} pair=${both} />`}<//>`
      : html`<p class="empty">Choose two searches, and they are shown side by side.</p>`}`;
}
