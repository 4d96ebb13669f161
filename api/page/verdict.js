/* The answer: first in words, then in numbers. */

import { html } from "./vendor/preact-htm.js";
import { announce } from "./says.js";
import * as write from "./format.js";

const WORDS = {
  better: ["good", "The search found something better than the best baseline."],
  "no difference beyond noise": [
    "even",
    "No difference beyond noise: the best baseline does as well as what the search found.",
  ],
  worse: ["bad", "The best of the search is worse than the best baseline."],
  "not compared": ["even", "Not compared: with fewer than two fresh seeds there is nothing to tell them apart by."],
};

/** What was found, wherever it lies in what the service sends. */
export function answerOf(search) {
  const sent = search.answer;
  if (!sent) return null;
  const { answer = sent, sentence = sent.sentence } = sent;
  return { ...answer, sentence };
}

/** How far a baseline beats a search is no failure of the search: the plan is made of the better. */
export function Verdict({ answer }) {
  const [mood, words] = WORDS[answer.verdict] ?? ["even", answer.verdict];
  return html`<div class="answer">
    <p class="sentence">${write.capital(answer.sentence)}</p>
    <p class=${`verdict ${mood}`}><strong>Verdict: ${answer.verdict}.</strong> ${words}</p>
    ${(answer.warnings ?? []).map((text) => html`<p class="warning" key=${text}><strong>Warning:</strong> ${text}</p>`)}
  </div>`;
}

export function Finalists({ answer }) {
  const rows = [
    ["best searched", answer.searched],
    ["best baseline", answer.baseline],
  ].filter(([, finalist]) => finalist);
  if (!rows.length) return null;
  return html`<div class="scroll" role="group" aria-label="Finalists" tabindex="0"><table>
      <caption class="unseen">The finalists</caption>
      <thead><tr><th scope="col">Finalist</th><th scope="col">Configuration</th><th scope="col" class="number">Trial</th>
        <th scope="col" class="number">Parameters</th><th scope="col" class="number">Fresh seeds</th><th scope="col" class="number">${answer.metric}</th></tr></thead>
      <tbody>${rows.map(([role, finalist]) => html`<tr key=${role} class=${finalist.trial === answer.chosen ? "chosen" : ""}>
        <th scope="row">${role}${finalist.trial === answer.chosen && html` <span class="badge on-front">the plan</span>`}</th>
        <td>${finalist.name}</td><td class="number">${finalist.trial}</td><td class="number">${write.count(finalist.parameters)}</td>
        <td class="number">${finalist.seeds}</td><td class="number">${write.interval(finalist.score)}</td></tr>`)}</tbody>
    </table></div>
    <p class="hint">Intervals are 95% bootstrap intervals over ${write.count(answer.validation_examples)} validation examples and the fresh seeds.</p>
    ${answer.difference && html`<p>Searched minus baseline: <strong>${write.difference(answer.difference)}</strong></p>`}`;
}

/** Which share of all orders agrees as well or better by chance: as `autopeft.ranking.chance` counts it. */
function chance({ tau, pairs }) {
  let shares = [1];
  for (let count = 2; count <= pairs; count++) {
    const next = Array(shares.length + count - 1).fill(0);
    shares.forEach((share, swapped) => {
      for (let more = 0; more < count; more++) next[swapped + more] += share / count;
    });
    shares = next;
  }
  const swapped = Math.floor(((1 - tau.mean) / 2) * (shares.length - 1) + 1e-6);
  return shares.slice(0, swapped + 1).reduce((sum, share) => sum + share, 0);
}

/** How far the scores of the supernet could be trusted. */
export function Tau({ ranking }) {
  const { tau, rho, pairs, share, against = "score" } = ranking;
  const trusted = pairs >= 5 && chance(ranking) <= 0.05;
  return html`<p>
      ${pairs} configurations were trained by themselves, for ${write.percent(share)} of a training, and their ${against === "loss" ? "losses" : "scores"} held
      against what the shared weights said of them. ${trusted
        ? "The order is better than chance, beyond noise: inherited scores guided the search."
        : "That the order is better than chance is not certain: the search leaned on real trainings."}
    </p>
    <dl class="facts">
      <div><dt>Kendall's tau-b</dt><dd>${write.interval(tau)}</dd></div>
      <div><dt>Spearman's rho</dt><dd>${write.interval(rho)}</dd></div>
    </dl>
    <${Scale} tau=${tau} />`;
}

/** Tau with its interval between the reverse order and the same. */
function Scale({ tau }) {
  const at = (value) => 14 + ((value + 1) / 2) * 272;
  return html`<svg class="scale" width="300" height="52" viewBox="0 0 300 52" role="img" aria-labelledby="tau-title">
    <title id="tau-title">Tau is ${tau.mean.toFixed(2)}, between ${tau.low.toFixed(2)} and ${tau.high.toFixed(2)}, on a scale from −1 (the reverse order) over 0 (chance) to 1 (the same order)</title>
    <g aria-hidden="true">
      <line class="ruler" x1=${at(-1)} x2=${at(1)} y1="18" y2="18" />
      ${[-1, 0, 1].map((value) => html`<g key=${value}><line class="ruler" x1=${at(value)} x2=${at(value)} y1="10" y2="26" />
        <text x=${at(value)} y="44" text-anchor=${["start", "middle", "end"][value + 1]} dx=${14 * value}>${["reverse", "chance", "same"][value + 1]}</text></g>`)}
      <line class="reach" x1=${at(tau.low)} x2=${at(tau.high)} y1="18" y2="18" />
      <circle class="middle" cx=${at(tau.mean)} cy="18" r="6" />
    </g>
  </svg>`;
}

/** Tell a screen reader the answer when it comes. */
export const announceAnswer = (search) => {
  const answer = answerOf(search);
  if (answer) announce(`The search has an answer. ${answer.sentence}`);
};
