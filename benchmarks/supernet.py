"""What a supernet costs, and how well it ranks, on the space of the table (``table.py``).

    python benchmarks/supernet.py [--configurations N] [--sampling NAME ...] [--trainings T ...]
    python benchmarks/supernet.py --configurations 273     all of them; its last line is their tau
    python benchmarks/supernet.py --table noun-classes     on another table
    python benchmarks/supernet.py --whole       score on the whole validation part too
    python benchmarks/supernet.py --demo 400    what it costs on so many of the demo's sentences

Truth are the scores of a table: every configuration really trained, the mean of its seeds. All
times are seconds of the processor on one thread, measured in this run. `tau` is Kendall's between
inherited scores, which are negated losses, and truth, with the 95% interval of a bootstrap over
configurations; `by size` is the tau of the mere number of parameters, and `seed to seed` that of
one training against another of the same configuration with another seed: no supernet can do much
better. ``taus.py`` prints the same of the supernets whose scores stand in the tables. A score is a
loss on few examples; ``--whole`` adds the taus of the loss and of the metric on all of them, which
cost as much as the scoring of a training. ``--demo`` takes the default search instead: the space
`unified`, three epochs in batches of 32, and the 60 scores that evolution asks for.
"""

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import materials
import numpy as np
from scipy.stats import spearmanr
from table_task import BUDGET, MODEL, TASKS
from tabled import RUNGS, USUAL, Table, names
from taus import tau_with_interval

from autopeft.process import prepare
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.sampling import Sampler
from autopeft.study import DataFiles
from autopeft.wiring.request import Request, study_of

DEMO = Path(__file__).parents[1] / "examples" / "data" / "sentiment.csv"
_TIMED = 4
_EVALUATIONS = 60  # of evolution, by default


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A configuration of the table and what it really scored, by seed."""

    configuration: Configuration
    parameters: int
    scores: tuple[float, ...]

    @property
    def score(self) -> float:
        return float(np.mean(self.scores))


def known(table: Table, count: int) -> list[Known]:
    """Draw configurations of a table at random."""
    every, last = list(table.true), len(RUNGS) - 1
    chosen = np.random.default_rng(0).permutation(len(every))[:count]
    return [
        Known(
            configuration=every[place],
            parameters=table.rows[every[place], table.seeds[0], last].parameters,
            scores=tuple(table.seen(every[place], seed) for seed in table.seeds),
        )
        for place in chosen
    ]


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


def on_all(net, trainer, study, rows) -> str:
    """Return the taus of loss and metric on the whole validation part."""
    from autopeft.tasks.metrics import METRICS
    from autopeft.training.loop import predict

    part, losses, scores = trainer.parts["validation"], [], []
    truth = part.truth.astype(np.float64)
    for row in rows:
        with net.active(row.configuration) as subnet:
            predictions, loss = predict(subnet.model, part, net.recipe)
        losses.append(-loss)
        scores.append(METRICS[study.task.metric].score(truth, predictions.astype(np.float64)))
    real = [row.score for row in rows]
    return (
        f"on all {len(part)}: loss {tau_with_interval(losses, real)}, "
        f"{study.task.metric} {tau_with_interval(scores, real)}"
    )


def demo_study(rows: int):
    """Make the study of the default search on the first of the demo's sentences."""
    lines = DEMO.read_text("utf-8").splitlines(keepends=True)

    def build(target: Path) -> None:
        target.write_text("".join(lines[: rows + 1]), encoding="utf-8")

    data = DataFiles(train=str(materials.built(f"demo-{rows}.csv", build)))
    return study_of(Request(
        model=MODEL, data=data, budget=BUDGET, space="unified", strategy="autopeft", seed=0,
        epochs=3, finals=0,
    ))  # fmt: skip


def on_demo(rows: int) -> None:
    """Print what a supernet of the default search and evolution's scores cost."""
    from autopeft.strategies.evolution import Plan, evolve
    from autopeft.supernet.elastic import Supernet
    from autopeft.supernet.scoring import Scoring
    from autopeft.supernet.training import Schedule, Training
    from autopeft.training.trainer import Trainer

    study = demo_study(rows)
    trainer = Trainer.open(study.task, study.backbone, study.where, test=False, threads=1)
    sampler, rng = Sampler(study.space, study.ceiling), np.random.default_rng(5)
    drawn = [study.space.decode(sampler.draw(rng)) for _ in range(_TIMED)]
    training = seconds_of_training(trainer, study, drawn)
    net = Supernet(trainer, study.space, study.ceiling, study.recipe, 0)
    work, began = Training(net, Schedule()), time.process_time()
    for _ in work.run():
        pass
    cost = time.process_time() - began
    began, asked, scoring = time.process_time(), [], Scoring(net)

    def scores(configurations):
        found = dict(scoring.scores(configurations))
        asked.extend(found)
        return (found[place] for place in range(len(configurations)))

    evolve(study.space, study.ceiling, scores, rng, Plan.of(_EVALUATIONS, study.space))
    scored = time.process_time() - began
    print(
        f"\n{rows} rows, {study.task.examples[0]} to train; one training {training:.1f} s; "
        f"supernet of {work.steps} steps {cost / training:.2f} trainings; {len(asked)} scores of "
        f"{scoring.examples} examples {scored / training:.2f} trainings, one 1/"
        f"{training * len(asked) / scored:.1f}; together {(cost + scored) / training:.2f}"
    )


def main() -> None:
    prepare()
    import torch

    from autopeft.supernet.elastic import Supernet
    from autopeft.supernet.scoring import Scoring
    from autopeft.supernet.training import Schedule, Training
    from autopeft.training.trainer import Trainer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", choices=names(), default=USUAL)
    parser.add_argument("--configurations", type=int, default=60)
    parser.add_argument("--sampling", nargs="+", default=["sandwich", "single"])
    parser.add_argument("--trainings", nargs="+", type=float, default=[2.0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--demo", type=int, metavar="ROWS")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.demo:
        on_demo(options.demo)
        return
    study = TASKS[options.table].study()
    rows = known(Table.read(options.table), options.configurations)
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
                if options.whole:
                    lines.append(on_all(net, trainer, study, rows))
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
