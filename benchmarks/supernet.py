"""What a supernet costs, and how well it ranks, on the space of the table (``table.py``).

    python benchmarks/supernet.py [--configurations N] [--sampling NAME ...] [--trainings T ...]
    python benchmarks/supernet.py --configurations 273     all of them; its last line is their tau
    python benchmarks/supernet.py --stored      that of the scores in the table, without training

Truth are the scores of `tables/brown-tags.parquet`: every configuration really trained, the mean of
its seeds. All times are seconds of the processor on one thread, measured in this run. `tau` is
Kendall's between inherited scores and truth, with the 95% interval of a bootstrap over
configurations; `by size` is the tau of the mere number of parameters, and `seed to seed` that of
one training against another of the same configuration with another seed: no supernet can do much
better.
"""

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np
import table
from scipy.stats import kendalltau, spearmanr

from autopeft.process import prepare
from autopeft.search_spaces.configuration import Configuration

_BOOTSTRAPS = 1_000
_TIMED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A configuration of the table and what it really scored, by seed."""

    configuration: Configuration
    parameters: int
    scores: tuple[float, ...]

    @property
    def score(self) -> float:
        return float(np.mean(self.scores))


def known(count: int) -> list[Known]:
    """Read configurations of the table, drawn at random."""
    import pyarrow.parquet as pq

    rows = pq.read_table(table.TABLES / f"{table.NAME}.parquet").to_pylist()
    found: dict[str, list[dict]] = {}
    for row in rows:
        if row["share"] == 1.0:
            found.setdefault(row["genome"], []).append(row)
    chosen = np.random.default_rng(0).permutation(sorted(found))[:count]
    return [
        Known(
            configuration=Configuration(tuple(map(tuple, json.loads(found[g][0]["sizes"])))),
            parameters=found[g][0]["parameters"],
            scores=tuple(row["score"] for row in sorted(found[g], key=lambda row: row["seed"])),
        )
        for g in chosen
    ]


def tau_with_interval(one, other) -> str:
    """Return Kendall's tau and its interval."""
    one, other, rng = np.asarray(one), np.asarray(other), np.random.default_rng(0)
    drawn = (rng.integers(len(one), size=len(one)) for _ in range(_BOOTSTRAPS))
    taus = [kendalltau(one[rows], other[rows]).statistic for rows in drawn]
    low, high = np.nanquantile(taus, (0.025, 0.975))
    return f"{kendalltau(one, other).statistic:.2f} ({low:.2f} to {high:.2f})"


def seconds_of_training(trainer, study, configurations) -> float:
    """Return what a plain training takes, without scoring."""
    from autopeft.strategies.recipes import default_recipe
    from autopeft.training.loop import fit, steps_of

    times = []
    for configuration in configurations:
        recipe = default_recipe(study.recipe, configuration.methods(study.space.slots))
        with trainer.tuned(study.space.slots, configuration, recipe, 0) as tuned:
            began = time.process_time()
            train = trainer.parts["train"]
            for _ in fit(
                tuned.model, train, recipe, tuned.injection.by_method(),
                steps=steps_of(len(train), recipe), rng=np.random.default_rng(0),
            ):  # fmt: skip
                pass
            times.append(time.process_time() - began)
    return float(np.mean(times))


def stored() -> None:
    """Print tau of the inherited scores that stand in the table, for each supernet's seed."""
    import pyarrow.parquet as pq

    truth: dict[str, list[float]] = {}
    inherited: dict[int, dict[str, float]] = {}
    for row in pq.read_table(table.TABLES / f"{table.NAME}.parquet").to_pylist():
        if row["share"] == 1.0:
            truth.setdefault(row["genome"], []).append(row["score"])
            inherited.setdefault(row["seed"], {})[row["genome"]] = row["inherited"]
    means = [float(np.mean(scores)) for scores in truth.values()]
    for seed, scores in sorted(inherited.items()):
        found = tau_with_interval([scores[genome] for genome in truth], means)
        print(f"supernet of seed {seed}: tau {found} on all {len(truth)} configurations")


def main() -> None:
    prepare()
    import torch

    from autopeft.supernet.elastic import Supernet
    from autopeft.supernet.scoring import Scoring
    from autopeft.supernet.training import Schedule, Training
    from autopeft.training.trainer import Trainer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configurations", type=int, default=60)
    parser.add_argument("--sampling", nargs="+", default=["sandwich", "single"])
    parser.add_argument("--trainings", nargs="+", type=float, default=[2.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--stored", action="store_true")
    options = parser.parse_args()
    if options.stored:
        stored()
        return
    torch.set_num_threads(1)
    study, rows = table.study(), known(options.configurations)
    trainer = Trainer.open(study.task, study.backbone, study.where, test=False, threads=1)
    training = seconds_of_training(trainer, study, [row.configuration for row in rows[:_TIMED]])
    truth = [row.score for row in rows]
    print(f"\n{len(rows)} configurations, one training {training:.1f} s; tau by size "
          f"{tau_with_interval([row.parameters for row in rows], truth)}")  # fmt: skip
    if pairs := [row.scores[:2] for row in rows if len(row.scores) > 1]:
        print(f"seed to seed {tau_with_interval(*zip(*pairs, strict=True))}")
    print("\n| sampling | asked | seed | steps | cost, trainings | a score, of a training "
          "| tau | rho | best tenth by truth, found in the first tenth |")  # fmt: skip
    print("| --- | --: | --: | --: | --: | --: | --: | --: | --: |")
    lines = []
    for sampling in options.sampling:
        for trainings in options.trainings:
            for seed in options.seeds:
                net = Supernet(trainer, study.space, study.ceiling, study.recipe, seed)
                work = Training(net, Schedule(sampling=sampling, trainings=trainings))
                began = time.process_time()
                for _ in work.run():
                    pass
                cost = time.process_time() - began
                scoring = Scoring(net)
                began = time.process_time()
                scores = [scoring.score(row.configuration) for row in rows]
                each = (time.process_time() - began) / len(rows)
                rho = spearmanr(scores, truth).statistic
                tenth = max(1, len(rows) // 10)
                tau = tau_with_interval(scores, truth)
                lines.append(f"{sampling}, {trainings:g} trainings, seed {seed}: tau {tau}")
                top = set(np.argsort(truth)[-tenth:]) & set(np.argsort(scores)[-tenth:])
                print(
                    f"| {sampling} | {trainings:g} | {seed} | {work.steps} | {cost / training:.2f} "
                    f"| 1/{training / each:.1f} | {tau} | {rho:.2f} "
                    f"| {len(top)} of {tenth} |",
                    flush=True,
                )
    print(f"\n{len(rows)} configurations; " + "; ".join(lines))


if __name__ == "__main__":
    main()
