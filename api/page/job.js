/* One search: its answer in words, then its numbers, pictures, trials, files and history. */

import { html, useEffect, useRef, useState } from "./vendor/preact-htm.js";
import { Actions } from "./actions.js";
import { ask } from "./api.js";
import { Asked } from "./asked.js";
import { Course } from "./course.js";
import { Downloads } from "./downloads.js";
import { Events } from "./events.js";
import * as write from "./format.js";
import { HeatMap, Recipe } from "./heatmap.js";
import { useEvents, useEvery, useLoad, useSoon } from "./live.js";
import { Pareto } from "./pareto.js";
import { Badge, Cost, Progress } from "./progress.js";
import { resultsOf } from "./results.js";
import { announce, Loaded } from "./says.js";
import { Trials } from "./trials.js";
import { announceAnswer, answerOf, Finalists, Tau, Verdict } from "./verdict.js";

const SOON = 400;
const SLOW = 10_000; // behind the stream of events, in case that it is held up on its way

/** A search with its trials, kept up to date by its events. */
function useSearch(id) {
  const path = `searches/${encodeURIComponent(id)}`;
  const job = useLoad(() => ask(path), [id]);
  const results = useLoad(async () => job.value && resultsOf(job.value), [id], [job.value?.study]);
  const ended = write.ENDED.has(job.value?.state);
  const jobSoon = useSoon(SOON, job.reload);
  const resultsSoon = useSoon(SOON, results.reload);
  const { events, problem } = useEvents(`${path}/events`, ended, (fresh) => {
    jobSoon();
    if (fresh.some(({ kind }) => kind !== "progress")) resultsSoon();
  });
  useEvery(SLOW, !ended && job.value != null, () => {
    job.reload();
    results.reload();
  });
  return { job, results, events, problem };
}

/** Say aloud what has changed, but not what was so when the page was opened. */
function useAnnouncements(search) {
  const before = useRef(null);
  useEffect(() => {
    if (!search) return;
    const known = before.current;
    before.current = search;
    if (!known || known.id !== search.id) return;
    if (known.state !== search.state) announce(`The search is ${write.STATES[search.state]}.`);
    if (!known.answer && search.answer) announceAnswer(search);
    else if (known.progress.trials !== search.progress.trials)
      announce(`${search.progress.trials} of ${search.progress.of} trials have ended.`);
  }, [search]);
}

function Section({ id, title, children }) {
  return html`<section class="card" aria-labelledby=${id}><h2 id=${id}>${title}</h2>${children}</section>`;
}

/** Which trial's sizes are shown where nobody has chosen one. */
export function bestTrial(trials, answer) {
  if (answer) return answer.chosen;
  const scored = trials.filter((trial) => Number.isFinite(trial.score) && trial.purpose !== "final");
  const longest = Math.max(...scored.map((trial) => trial.share ?? 1));
  const whole = scored.filter((trial) => (trial.share ?? 1) === longest);
  return write.best(whole, (trial) => trial.score)?.number ?? null;
}

function Sizes({ search, number, best, trials }) {
  const label = trials.find((trial) => trial.number === number)?.label;
  const path = `searches/${encodeURIComponent(search.id)}/trials/${number}`;
  const trial = useLoad(() => ask(path), [search.id, number]);
  return html`<${Loaded} of=${trial} what=${`trial ${number}`}>${(found) => html`
    <p>${number === best ? html`<strong>The best configuration${search.answer ? ", of which the plan is made" : " so far"}:</strong> ` : ""}trial
      ${" "}${number}, ${write.what({ ...found, label: label || found.label })}, ${write.count(found.parameters)} parameters, score ${write.score(found.score)}.</p>
    <${HeatMap} trial=${found} /><${Recipe} trial=${found} />`}<//>`;
}

function Trouble({ trouble }) {
  if (!trouble) return null;
  return html`<div class="problem" role="alert"><p><strong>The search failed.</strong> ${trouble.detail}</p>
    ${trouble.param && html`<p>Look at <code>${trouble.param}</code>.</p>`}</div>`;
}

function Found({ search, answer }) {
  if (!answer) return null;
  return html`<${Section} id="answer" title="The answer"><${Verdict} answer=${answer} />
      <h3>In numbers</h3><${Finalists} answer=${answer} /><//>
    ${answer.ranking && html`<${Section} id="tau" title="How far the supernet could be trusted"><${Tau} ranking=${answer.ranking} /><//>`}`;
}

function Whole({ search, results, events, problem, reload }) {
  const { trials, ceiling } = results;
  const answer = answerOf(search);
  const metric = answer?.metric ?? results.metric ?? "score";
  const best = bestTrial(trials, answer);
  const [chosen, setChosen] = useState(null);
  const number = chosen ?? best;
  const hopeless = !trials.length && write.ENDED.has(search.state);
  const show = (wish) => {
    setChosen(wish);
    document.getElementById("sizes")?.scrollIntoView({ block: "start" });
    announce(`The map shows trial ${wish}.`);
  };
  return html`<div class="head">
      <h1 tabindex="-1">${write.title(search)} <${Badge} state=${search.state} /></h1>
      <p class="hint"><code>${search.id}</code></p>
      <${Actions} job=${search} changed=${reload} />
    </div>
    <${Trouble} trouble=${search.trouble} />
    <${Found} search=${search} answer=${answer} />
    <${Section} id="progress" title=${write.ENDED.has(search.state) ? "Cost" : "Progress and cost"}><${Progress} job=${search} />
      <${Cost} job=${search} trials=${trials} prepared=${answer?.prepared} /><//>
    ${hopeless ? null : html`<${Measured} ...${{ search, trials, ceiling, metric, events, number, best, show }} />`}
    <div class="pair">
      <${Section} id="downloads" title="Downloads"><${Downloads} search=${search} /><//>
      <${Section} id="asked" title="What was asked"><${Asked} search=${search} results=${results} />
        <p class="more"><a href=${`#/submit?from=${encodeURIComponent(search.id)}`}>Begin a new search from this one</a> · <a href=${`#/compare/${encodeURIComponent(search.id)}`}>Compare it with another</a></p><//>
    </div>
    <${Section} id="events" title="What happened"><${Events} events=${events} problem=${problem} /><//>`;
}

/** The pictures and the table of what was measured. */
function Measured({ search, trials, ceiling, metric, events, number, best, show }) {
  return html`<div class="pair">
      <${Section} id="pareto-section" title="What it reaches with how much"><${Pareto} trials=${trials} ceiling=${ceiling} metric=${metric} /><//>
      <${Section} id="course-section" title="Score against time"><${Course} trials=${trials} started=${search.started} events=${events} metric=${metric} /><//>
    </div>
    <${Section} id="sizes" title="Where the parameters are">
      ${number == null ? html`<p class="empty">Here are the sizes of the best configuration, block by block, as soon as there is one.</p>` : html`<${Sizes} search=${search} number=${number} best=${best} trials=${trials} />`}<//>
    <${Section} id="trials-section" title="Trials"><${Trials} trials=${trials} metric=${metric} chosen=${number} show=${show} /><//>`;
}

export function Job({ id }) {
  const { job, results, events, problem } = useSearch(id);
  useAnnouncements(job.value);
  useEffect(() => {
    document.title = job.value ? `${write.title(job.value)}: ${write.STATES[job.value.state]} · autopeft` : "autopeft";
  }, [job.value]);
  const reload = () => Promise.all([job.reload(), results.reload()]);
  return html`${!job.value && html`<h1 tabindex="-1">Search</h1>`}
    <${Loaded} of=${job} what="the search">${(search) => html`
      <${Loaded} of=${results} what="the trials">${(known) => html`
        <${Whole} search=${search} results=${known} events=${events} problem=${problem} reload=${reload} />`}<//>`}<//>`;
}
