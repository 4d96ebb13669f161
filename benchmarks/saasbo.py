"""How long `saasbo` takes for a batch of four proposals, with so many trials known.

python benchmarks/saasbo.py [--trials 200] [--option KEY=VALUE]

The trials are drawn at random, and their scores come from a formula: what is timed is the strategy
alone. A batch's models are fitted for its first proposal, so what counts is the mean over the
batch. Times are the processor's: the strategy uses one thread, whatever else runs on the machine.
"""

import argparse
import math
import time
from dataclasses import replace

from spaces import shape

from autopeft.backbone import Backbone
from autopeft.budget import Budget
from autopeft.search_spaces.written.reading import read_space
from autopeft.strategies.random import RandomStrategy
from autopeft.strategies.saasbo import Options, SaasboStrategy
from autopeft.study import Columns, DataFiles, Objective, Study, Task, Where
from autopeft.trial import Measurement, Recipe, Trial

CASES: tuple[tuple[str, str, str], ...] = (
    ("autopeft", "BERT-base", "100%"),
    ("unified", "MiniLM", "1%"),
)


TASK = Task(
    kind="classification", metric="accuracy", columns=Columns(text="text", label="label"),
    labels=("no", "yes"), head="mean", max_length=16, digest="none", split_seed=0,
    examples=(1, 1, 1),
)  # fmt: skip


def study_on(
    backbone: Backbone, space: str, budget: str, objectives: tuple[Objective, ...]
) -> Study:
    return Study(
        task=TASK, backbone=backbone, space=read_space(space).on(backbone),
        budget=Budget.parse(budget), strategy="saasbo", seed=0, recipe=Recipe(), finals=0,
        where=Where(model="none", data=DataFiles(train="none")), objectives=objectives,
    )  # fmt: skip


def measured(study: Study, trial: Trial) -> Trial:
    """End a trial: large sizes in the later blocks score better, rates near 1e-3 too."""
    sizes = trial.proposal.configuration.sizes
    score = sum(
        block * math.log1p(size) * math.sin(1 + column)
        for block, row in enumerate(sizes)
        for column, size in enumerate(row)
    )
    rates = trial.proposal.recipe.learning_rates.values()
    score -= sum((math.log10(rate) + 3) ** 2 for rate in rates)
    parameters = trial.proposal.configuration.parameters(study.space.slots)
    return trial.done(
        Measurement(
            score=score, loss=0.0, parameters=parameters, head_parameters=0, steps=1, seconds=1.0
        )
    )


def batch(study: Study, trials: int) -> list[float]:
    """Return the processor's seconds of each proposal of one batch; all is done on one thread."""
    drawn, strategy = RandomStrategy(study), SaasboStrategy(study)
    for number in range(trials):
        proposal = drawn.ask()
        assert proposal
        strategy.tell(measured(study, Trial(number=number, proposal=proposal).started()))
    seconds = []
    for _ in range(Options.parse(study.options).q):
        began = time.process_time()
        strategy.ask()
        seconds.append(time.process_time() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    chosen = parser.parse_args()
    options = dict(text.split("=") for text in chosen.option)
    print("| space | genes | objectives | the batch's first, s | each further, s | mean, s |")
    print("| --- | --: | --: | --: | --: | --: |")
    for space, model, budget in CASES:
        objectives: tuple[Objective, ...]
        for objectives in (("score",), ("score", "params")):
            study = replace(study_on(shape(model), space, budget, objectives), options=options)
            first, *rest = batch(study, chosen.trials)
            print(
                f"| `{space}` on {model} | {len(study.space.genes)} | {len(objectives)} | "
                f"{first:.1f} | {sum(rest) / len(rest):.1f} | {(first + sum(rest)) / 4:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
