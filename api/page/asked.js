/* What a search was asked, as facts. */

import { html } from "./vendor/preact-htm.js";
import * as write from "./format.js";

const named = (values) =>
  Object.entries(values ?? {})
    .map(([name, value]) => `${name}=${value}`)
    .join(", ");

const parts = ({ data }) =>
  ["validation", "test"]
    .map((part) => [part, data[`${part}_dataset`] ?? data[`${part}_path`]])
    .filter(([, name]) => name)
    .map(([part, name]) => `; ${part}: ${name}`)
    .join("");

const task = ({ task: { kind, metric, head, text, label } = {} }) =>
  [kind, metric && `metric ${metric}`, head && `head ${head}`, text && `text in ${text}`, label && `label in ${label}`].filter(Boolean).join(", ");

const limits = ({ limits: { trials, seconds, finals } = {} }) =>
  `${trials} trials${seconds ? `, ${write.duration(seconds)} at most` : ""}, ${finals} fresh seeds for each finalist`;

const recipe = ({ recipe: { epochs, batch_size: size, precision } = {} }) =>
  `${epochs} epochs of batches of ${size}${precision ? `, ${precision}` : ""}`;

const run = ({ run: { executor, workers } = {} }) => `${executor}, ${workers === 1 ? "1 worker" : `${workers} workers`}`;

/** What a search was asked: names and values, the same names for every search. */
export function factsOf(search, { metric, ceiling }) {
  const { request } = search;
  const most = ceiling ? `, at most ${write.count(ceiling)} parameters` : "";
  return [
    ["Model", request.model],
    ["Data", `${write.source(request)}${parts(request)}`],
    ["Task", task(request) || "as the data has it"],
    ["Metric", metric ?? request.task?.metric ?? "as the task has it"],
    ["Budget", `${request.budget}${most}`],
    ["Space", request.space_yaml ? "a YAML document of its own" : request.space],
    ["Strategy", `${request.strategy}${named(request.options) ? ` (${named(request.options)})` : ""}`],
    ["Objectives", (request.objectives ?? []).join(", ")],
    ["Rungs", request.rungs ? request.rungs.map(write.percent).join(", ") : "as the strategy has it"],
    ["Recipe", recipe(request)],
    ["Limits", limits(request)],
    ["Seed", String(request.seed)],
    ["First points", request.warm_start],
    ["Runs on", run(request)],
    ["Labels", named(search.metadata) || "none"],
  ];
}

export function Asked({ search, results }) {
  return html`<dl class="facts wide">
    ${factsOf(search, results).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
    ${search.study && html`<div><dt>Study</dt><dd><code>${search.study}</code></dd></div>`}
  </dl>`;
}
