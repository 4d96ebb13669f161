/* The fields of a new search: what matters first, the rest behind "Further choices". */

import { html, useState } from "./vendor/preact-htm.js";
import { Choice, Field } from "./form.js";
import { Upload } from "./upload.js";

const AUTO = "as the data has it";
const TASKS = ["classification", "regression", "tokens", "causal_lm", "seq2seq", "image"];
const METRICS = ["accuracy", "macro_f1", "spearman", "token_accuracy", "entity_f1", "log_likelihood", "exact_match"];
const HEADS = ["mean", "cls", "pooler", "tokens", "lm"];
const OBJECTIVES = [
  ["params", "few parameters"],
  ["flops", "few operations"],
  ["memory", "little memory in training"],
  ["latency", "a fast answer"],
];

function Offered({ id, items }) {
  return html`<datalist id=${id}>${items.map(({ name, summary }) => html`<option key=${name} value=${name}>${summary}</option>`)}</datalist>`;
}

export function Essentials({ known, from, wrong }) {
  const { limits = {} } = from;
  const spaces = known.spaces.map(({ name }) => name);
  return html`<section class="card" aria-labelledby="what-head"><h2 id="what-head">What to search for</h2>
    <${Field} name="model" label="Model" list="models" required value=${from.model ?? known.models[0]?.name ?? ""} wrong=${wrong("model")}
      hint=${`package:NAME, a folder of the service, or a hub id. ${known.models.length} are offered.`} />
    <${Offered} id="models" items=${known.models} />
    <div class="row">
      <${Field} name="budget" label="Budget" required value=${from.budget ?? "1%"} wrong=${wrong("budget")} hint="Trained parameters: 1%, 0.01 or 300k." />
      <${Choice} name="space" label="Search space" values=${spaces} usual=${from.space ?? (spaces.includes("unified") ? "unified" : spaces[0])} wrong=${wrong("space")} hint="Where which methods may sit, and how large." />
    </div>
    <div class="row">
      <${Field} name="limits.trials" label="Trials" type="number" min="1" required value=${limits.trials ?? 30} wrong=${wrong("limits.trials")} hint="Baselines included." />
      <${Field} name="limits.seconds" label="Minutes at most" type="number" min="0.01" step="any" data-read="minutes" value=${limits.seconds ? limits.seconds / 60 : ""} wrong=${wrong("limits.seconds")} hint="Empty: until all trials are run." />
      <${Field} name="limits.finals" label="Fresh seeds" type="number" min="0" value=${limits.finals ?? 3} wrong=${wrong("limits.finals")} hint="Of each finalist; two or more tell noise apart." />
    </div>
  </section>`;
}

function datasetOptions(datasets) {
  return datasets.filter(({ state }) => state !== "invalid").map(({ id, name, state }) => [id, state === "ready" ? `${name} (${id})` : `${name} (being looked into)`]);
}

function Uploaded({ known, data, wrong, reload }) {
  const options = datasetOptions(known.datasets);
  const [fresh, setFresh] = useState(null);
  const [open] = useState(!options.length); // it must not close while it says what came of an upload
  const done = (dataset) => {
    if (dataset.state === "ready") setFresh(dataset.id);
    reload();
  };
  const usual = fresh ?? data.dataset ?? options[0]?.[0] ?? "";
  return html`<${Choice} name="data.dataset" label="Data set" values=${options} usual=${usual} empty="choose one" required wrong=${wrong("data.dataset")}
      hint="It is split into train, validation and test, unless it says so itself or there are further files." />
    <div class="row">
      <${Choice} name="data.validation_dataset" label="Validation" values=${options} usual=${data.validation_dataset} empty="a part of it" wrong=${wrong("data.validation_dataset")} />
      <${Choice} name="data.test_dataset" label="Test" values=${options} usual=${data.test_dataset} empty="a part of it" wrong=${wrong("data.test_dataset")} />
    </div>
    <details open=${open}><summary>Upload a data set</summary><${Upload} done=${done} /></details>`;
}

function Paths({ data, wrong }) {
  return html`<${Field} name="data.path" label="File of the service" required value=${data.path ?? ""} wrong=${wrong("data.path")} hint="Below one of the folders that the service was started with." />
    <div class="row">
      <${Field} name="data.validation_path" label="Validation" value=${data.validation_path ?? ""} wrong=${wrong("data.validation_path")} />
      <${Field} name="data.test_path" label="Test" value=${data.test_path ?? ""} wrong=${wrong("data.test_path")} />
    </div>`;
}

export function Data({ known, from, wrong, reload }) {
  const { data = {}, task = {} } = from;
  const [where, setWhere] = useState(data.path ? "path" : "dataset");
  const radio = (value, text) => html`<label class="check"><input type="radio" name="where" data-apart="yes" value=${value}
    checked=${where === value} onChange=${() => setWhere(value)} /> ${text}</label>`;
  return html`<section class="card" aria-labelledby="data-head"><h2 id="data-head">From which data</h2>
    <fieldset class="plain"><legend>The data is</legend>${radio("dataset", "uploaded")} ${radio("path", "a file of the service")}</fieldset>
    ${where === "dataset" ? html`<${Uploaded} known=${known} data=${data} wrong=${wrong} reload=${reload} />` : html`<${Paths} data=${data} wrong=${wrong} />`}
    <div class="row">
      <${Choice} name="task.kind" label="Task" values=${TASKS} usual=${task.kind} empty=${AUTO} wrong=${wrong("task.kind")} />
      <${Choice} name="task.metric" label="Metric" values=${METRICS} usual=${task.metric} empty="as the task has it" wrong=${wrong("task.metric")} />
    </div>
    <div class="row">
      <${Field} name="task.text" label="Column of the text" value=${task.text ?? ""} wrong=${wrong("task.text")} hint="Empty: found in the data." />
      <${Field} name="task.label" label="Column of the label" value=${task.label ?? ""} wrong=${wrong("task.label")} hint="Empty: found in the data." />
    </div>
  </section>`;
}

function Objectives({ chosen }) {
  return html`<fieldset class="plain"><legend>Beside the score, go by</legend>
    <input type="hidden" name="objectives" data-read="list" value="score" />
    ${OBJECTIVES.map(([value, text]) => html`<label class="check" key=${value}><input type="checkbox" name="objectives" value=${value} defaultChecked=${chosen.includes(value)} /> ${text}</label>`)}
  </fieldset>`;
}

const pairs = (values) => Object.entries(values ?? {}).map(([name, value]) => `${name}=${value}`).join("\n");

function Area({ read, value, rows = 3, ...field }) {
  return html`<${Field} ...${field}>${(own) => html`<textarea ...${own} rows=${rows} data-read=${read} spellcheck=${false}>${value}</textarea>`}<//>`;
}

function Training({ from, wrong }) {
  const { recipe = {}, task = {} } = from;
  const field = (name, label, value, more = {}) => html`<${Field} name=${name} label=${label} value=${value ?? ""} wrong=${wrong(name)} ...${more} />`;
  const number = { type: "number", min: "1" };
  return html`<div class="row">${field("recipe.epochs", "Epochs", recipe.epochs ?? 3, number)} ${field("recipe.batch_size", "Batch size", recipe.batch_size ?? 32, number)}
      <${Choice} name="recipe.precision" label="Precision" values=${["fp32", "bf16"]} usual=${recipe.precision} empty="bf16 where there is it" wrong=${wrong("recipe.precision")} /></div>
    <div class="row">${field("task.max_length", "Tokens at most", task.max_length ?? 128, { type: "number", min: "8" })}
      <${Choice} name="task.head" label="Head" values=${HEADS} usual=${task.head} empty="as the task has it" wrong=${wrong("task.head")} /></div>
    <div class="row">${field("task.text_pair", "Column of a second text", task.text_pair)} ${field("task.split", "Column of the split", task.split)}</div>`;
}

export function Further({ known, from, wrong }) {
  const { run = {} } = from;
  const field = (name, label, value, more = {}) => html`<${Field} name=${name} label=${label} value=${value ?? ""} wrong=${wrong(name)} ...${more} />`;
  return html`<details class="card"><summary><h2>Further choices</h2></summary>
    <div class="row"><${Choice} name="strategy" label="Strategy" values=${known.strategies.map(({ name }) => name)} usual=${from.strategy ?? "autopeft"} wrong=${wrong("strategy")} />
      ${field("seed", "Seed", from.seed ?? 0, { type: "number", min: "0" })}
      ${field("warm_start", "Earlier studies", from.warm_start ?? "none", { hint: "none, auto, or ids of studies." })}</div>
    <${Objectives} chosen=${from.objectives ?? []} />
    ${field("rungs", "Rungs", from.rungs?.join(", "), { "data-read": "numbers", hint: "Shares of a training at which the worse trials stop, such as 0.33, 1. Empty: as the strategy has it." })}
    <h3>Training</h3><${Training} from=${from} wrong=${wrong} />
    <h3>Where it runs</h3>
    <div class="row"><${Choice} name="run.executor" label="Executor" values=${["inline", "ray"]} usual=${run.executor ?? "inline"} wrong=${wrong("run.executor")} />
      ${field("run.workers", "Trials at once", run.workers ?? 1, { type: "number", min: "1" })} ${field("run.threads", "Threads", run.threads, { type: "number", min: "1" })}
      ${field("priority", "Priority", from.priority ?? 0, { type: "number", min: "-100", max: "100" })}</div>
    <${Area} name="options" label="Options of the strategy" read="pairs" value=${pairs(from.options)} wrong=${wrong("options")} hint="name=value, a line each." />
    <${Area} name="metadata" label="Labels" read="pairs" value=${pairs(from.metadata)} wrong=${wrong("metadata")} hint="name=value, a line each: to find the search again." />
    <${Area} name="space_yaml" label="A search space of your own" rows="6" value=${from.space_yaml ?? ""} wrong=${wrong("space_yaml")} hint="A YAML document; it takes the place of the search space above." />
  </details>`;
}
