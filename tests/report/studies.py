"""Studies to report on, from a single trial to a thousand."""

from dataclasses import replace

import numpy as np

from autopeft.answer import Interval
from autopeft.report import content_of
from autopeft.report.mattering import Ablation, Effect, Importance, Share
from autopeft.search_spaces.sampling import Sampler
from autopeft.selection import answer
from autopeft.trial import Fidelity, Proposal, Purpose, Trial
from tests.builders import a_measurement, a_study, a_trial
from tests.test_report import ANSWER, STUDY, TRIALS, a_plan
from tests.test_selection import TRUTH, accuracy

NAN = float("nan")


def interval(mean: float, low: float, high: float) -> Interval:
    return Interval(mean=mean, low=low, high=high)


IMPORTANCE = Importance(
    trials=40,
    at=1.0,
    shares=(
        Share(kind="slot", name="lora@attention.query", share=interval(0.4, 0.3, 0.5)),
        Share(kind="blocks", name="block 1", share=interval(0.1, 0.0, 0.2)),
        Share(kind="recipe", name="learning rate of lora", share=interval(0.05, 0.0, 0.1)),
    ),
    chance=interval(0.05, 0.0, 0.2),
)
ABLATION = Ablation(
    study="abcdef123456",
    trial=1,
    seeds=(1, 2),
    examples=40,
    effects=(
        Effect(group="lora", parameters=0, score=0.6, difference=interval(0.3, 0.2, 0.4)),
        Effect(group="block 0", parameters=32, score=0.9, difference=interval(0.0, -0.1, 0.1)),
        Effect(group="block 1", parameters=32, score=0.95, difference=interval(-0.1, -0.2, -0.01)),
        Effect(group="ia3", parameters=32, failure="diverged: the loss is nan"),
    ),
)


def whole(study=STUDY, trials=TRIALS, found=ANSWER, importance=IMPORTANCE, ablation=ABLATION):
    """Return the content of a report with all of its sections."""
    return content_of(study, trials, found, a_plan(study), importance, ablation)


def alone():
    """Return the content of a report on a single trial, without a baseline."""
    trials = (a_trial(0, 0.9, predictions=[int(y) for y in TRUTH]),)
    return content_of(STUDY, trials, answer(STUDY, trials, TRUTH, accuracy), a_plan())


def without_numbers():
    """Return the content of a report of which every score is no number but one."""
    trials = tuple(
        replace(t, measurement=replace(t.measurement, score=NAN if t.number else 0.5))
        if t.measurement
        else t
        for t in TRIALS
    )
    return content_of(STUDY, trials, ANSWER, a_plan())


def many(count: int, study=None):
    """Return a study with so many trials at two rungs, scored by what is trained at the query."""
    study = study or a_study(rungs=(0.5, 1.0))
    sampler, rng = Sampler(study.space, study.ceiling), np.random.default_rng(0)
    trials = []
    for number in range(count):
        table = study.space.decode(sampler.draw(rng))
        rates = {m: 10 ** rng.uniform(-4, -2) for m in table.methods(study.space.slots)}
        proposal = Proposal(
            configuration=table,
            recipe=replace(study.recipe, learning_rates=rates),
            seed=0,
            purpose=Purpose.BASELINE if number < 3 else Purpose.SEARCH,
            label=f"baseline {number}" if number < 3 else "",
            inherited=float(rng.random()),
            fidelity=Fidelity(share=0.5),
        )
        score = 0.5 + 0.05 * min(8, sum(row[0] for row in table.sizes)) + 0.002 * rng.random()
        found = a_measurement(score, table.parameters(study.space.slots))
        trial = Trial(number=number, proposal=proposal).started().done(found)
        trials.append(trial.promoted(1.0).started().done(found) if number % 3 == 0 else trial)
    return study, tuple(trials)
