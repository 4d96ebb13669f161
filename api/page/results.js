/* What a search has measured: its trials, in which metric, and how many parameters it allows. */

import { all, ask } from "./api.js";

export const NOTHING = { trials: [], metric: null, ceiling: null };

/** Load what a search has measured; before it is checked there is nothing to ask for. */
export async function resultsOf(search) {
  if (!search?.study) return NOTHING;
  const path = `searches/${encodeURIComponent(search.id)}`;
  const [trials, pareto] = await Promise.all([all(`${path}/trials`), ask(`${path}/pareto`)]);
  const labels = new Map(pareto.points.map((point) => [point.trial, point.label]));
  return {
    trials: trials.map((trial) => ({ ...trial, label: labels.get(trial.number) || trial.label })),
    metric: pareto.metric,
    ceiling: pareto.ceiling,
  };
}
