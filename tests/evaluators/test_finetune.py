import pickle
import random
from dataclasses import replace

import numpy as np
import pytest

from autopeft.errors import BackboneError
from autopeft.evaluators.finetune import FinetuneEvaluator
from autopeft.executors.inline import InlineExecutor
from autopeft.search import search
from autopeft.storage.memory import MemoryStore
from autopeft.study import Limits
from autopeft.training.room import Room
from autopeft.trial import Fidelity, Purpose, State
from tests.models import (
    FEW,
    MANY,
    MINILM,
    opinions,
    recipe_of,
    save_tiny,
    sentiment_rows,
    study_on,
    table,
    trial_of,
    write_rows,
)

TABLES = (FEW, MANY, {"bitfit@block": 1}, {"prefix@attention": 3}, {"lora@ffn.input": 2})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    data = write_rows(folder / "data.csv", opinions(80))
    return study_on(str(save_tiny(folder / "model")), data, recipe_of(dropout=0.1))


def trials_of(study, sizes=TABLES, **changes):
    return [
        trial_of(
            table(study.space.slots, study.backbone.blocks, row),
            changes.get("recipe", study.recipe),
            number=number,
            seed=changes.get("seed", number),
            fidelity=changes.get("fidelity", Fidelity()),
        )
        for number, row in enumerate(sizes, 1)
    ]


def outcomes(evaluator, trials):
    """Return the ended trials by number, without the time they took."""
    return {
        trial.number: replace(
            trial, measurement=trial.measurement and replace(trial.measurement, seconds=0.0)
        )
        for trial in evaluator.evaluate(trials)
        if trial.ended
    }


def test_a_trial_is_measured_and_its_table_was_trained(study):
    trial = trials_of(study, [MANY])[0]

    *_, done = FinetuneEvaluator(study, threads=1).evaluate([trial])

    assert (done.state, done.number, done.proposal) == (State.COMPLETE, 1, trial.proposal)
    assert done.measurement.parameters == trial.proposal.configuration.parameters(study.space.slots)
    assert len(np.frombuffer(done.measurement.predictions, "<i4")) == study.task.examples[1]


def test_a_trial_reports_that_it_runs_before_anything_is_loaded(study):
    evaluator = FinetuneEvaluator(study, threads=1)

    first = next(evaluator.evaluate(trials_of(study)))

    assert (first.state, first.progress) == (State.RUNNING, 0.0)
    assert evaluator._trainer is None


def test_progress_is_told_about_every_second(study, monkeypatch):
    """With no time between, after every step."""
    monkeypatch.setattr("autopeft.evaluators.finetune._PROGRESS_EVERY", 0.0)

    events = list(FinetuneEvaluator(study, threads=1).evaluate(trials_of(study, [FEW])))

    assert [event.progress for event in events] == [0.0, 1 / 3, 2 / 3, 1.0, 1.0]
    assert [event.ended for event in events] == [False] * 4 + [True]


def test_trials_give_in_any_order_what_they_give_alone(study):
    """No trial leaves anything behind, on one evaluator or on many."""
    trials = trials_of(study)
    alone = {}
    for trial in trials:
        alone |= outcomes(FinetuneEvaluator(study, threads=1), [trial])

    shared = FinetuneEvaluator(study, threads=1)
    for seed in range(3):
        shuffled = random.Random(seed).sample(trials, len(trials))  # no secret
        assert outcomes(shared, shuffled) == alone


def test_a_pack_gives_what_its_trials_give_alone(study, monkeypatch):
    """Progress comes from all of them before any has ended."""
    monkeypatch.setattr("autopeft.evaluators.finetune._PROGRESS_EVERY", 0.0)
    trials = trials_of(study, recipe=recipe_of(), seed=0)
    evaluator = FinetuneEvaluator(study, threads=1)
    expected = {}
    for trial in trials:
        expected |= outcomes(evaluator, [trial])

    assert evaluator.told == ()
    events = list(evaluator.evaluate(trials))

    [said] = evaluator.told
    assert said == f"{len(trials)} trials trained in packs, 0 alone"
    ends = [place for place, event in enumerate(events) if event.ended]
    assert {event.number for event in events[: ends[0]] if event.progress == 1} == {1, 2, 3, 4, 5}
    for event in (events[place] for place in ends):
        found, alone = event.measurement, expected[event.number].measurement
        assert found.loss == pytest.approx(alone.loss, abs=1e-5)
        assert counted(found) == counted(alone)


def counted(measurement):
    """Leave out what rounds, the time, and the operators: several trials share one in a pack."""
    return replace(measurement, loss=0.0, seconds=0.0, operators=())


def test_of_those_that_train_alone_it_says_why(study):
    """Dropout lets nothing be shared, and a limit that is nearly used up leaves no room."""
    calm, shaken = recipe_of(), recipe_of(dropout=0.1)
    few = [*trials_of(study, [FEW, FEW], recipe=calm), *trials_of(study, [MANY], recipe=shaken)]
    told = {}
    for name, trials in {"some": few, "none": few[2:] * 2, "single": few[1:]}.items():
        evaluator = FinetuneEvaluator(study, threads=1)
        evaluator._count(trials, evaluator._packs(trials))
        [told[name]] = evaluator.told
    crowded = FinetuneEvaluator(study, threads=1)
    crowded.resident().room = Room(1)
    crowded._count(few, crowded._packs(few))

    assert told == {
        "some": "2 trials trained in packs, 1 alone: 1 would have gained nothing",
        "none": "0 trials trained in packs, 2 alone: 2 would have gained nothing",
        "single": "0 trials trained in packs, 2 alone: 2 would have gained nothing",
    }
    assert crowded.told[0] == (
        "0 trials trained in packs, 3 alone: 1 would have gained nothing, 2 had no room beside "
        "others"
    )


def test_a_trial_of_a_pack_that_diverges_has_failed_and_the_others_go_on(study):
    wild = recipe_of(
        learning_rates=dict.fromkeys(study.recipe.learning_rates, 1e18),
        head_learning_rate=1e18,
        epochs=40,
    )
    usual = trials_of(study, [FEW, MANY], recipe=recipe_of())
    lost = replace(trials_of(study, [MANY], recipe=wild)[0], number=9)
    evaluator = FinetuneEvaluator(study, threads=1)

    found = outcomes(evaluator, [usual[0], lost, usual[1]])

    assert [found[number].state for number in (1, 9, 2)] == [
        State.COMPLETE,
        State.FAILED,
        State.COMPLETE,
    ]
    assert found[9].failure.startswith("diverged: the loss became ")


def test_another_seed_gives_another_measurement(study):
    evaluator = FinetuneEvaluator(study, threads=1)

    first, second = (
        outcomes(evaluator, trials_of(study, [MANY], seed=seed))[1].measurement for seed in (1, 2)
    )

    assert first.loss != second.loss


def test_it_travels_small_and_without_its_backbone(study):
    evaluator = FinetuneEvaluator(study, threads=1)
    expected = outcomes(evaluator, trials_of(study))
    assert evaluator._trainer is not None

    sent = pickle.dumps(evaluator)
    arrived = pickle.loads(sent)  # our own bytes

    assert len(sent) < 100_000
    assert arrived._trainer is None
    assert outcomes(arrived, trials_of(study)) == expected


def test_the_backbone_is_loaded_once(study):
    evaluator = FinetuneEvaluator(study, threads=1)
    outcomes(evaluator, trials_of(study, [FEW]))
    resident = evaluator._trainer

    outcomes(evaluator, trials_of(study, [MANY]))

    assert evaluator._trainer is resident


def test_the_test_part_is_never_loaded(study):
    evaluator = FinetuneEvaluator(study, threads=1)

    outcomes(evaluator, trials_of(study, [FEW]))

    assert set(evaluator._trainer.parts) == {"train", "validation"}
    assert [len(part) for part in evaluator._trainer.parts.values()] == [48, 16]


def test_a_trial_that_diverges_has_failed_and_the_next_one_is_not_harmed(study):
    wild = recipe_of(learning_rates=dict.fromkeys(study.recipe.learning_rates, 1e18), epochs=40)
    evaluator = FinetuneEvaluator(study, threads=1)
    expected = outcomes(evaluator, trials_of(study, [FEW]))

    failed = outcomes(evaluator, trials_of(study, [MANY], recipe=wild))[1]

    assert failed.state is State.FAILED
    assert failed.failure.startswith("diverged: the loss became ")
    assert failed.measurement is None
    assert outcomes(evaluator, trials_of(study, [FEW])) == expected


def test_a_share_of_the_fidelity_trains_fewer_steps(study):
    evaluator = FinetuneEvaluator(study, threads=1)

    steps = [
        outcomes(evaluator, trials_of(study, [FEW], fidelity=Fidelity(share=share)))[
            1
        ].measurement.steps
        for share in (1.0, 0.4)
    ]

    assert steps == [3, 1]


def test_a_real_model_is_measured_the_same_twice(tmp_path):
    """One epoch on 120 rows of the demo data, through the executor that the command line uses."""
    study = study_on(
        MINILM,
        write_rows(tmp_path / "data.csv", sentiment_rows(120)),
        recipe_of(head_learning_rate=1e-2),
    )
    trials = trials_of(study, [MANY])
    evaluator = FinetuneEvaluator(study, threads=1)

    first, again = (
        next(trial for trial in InlineExecutor().run(evaluator, iter(trials)) if trial.ended)
        for _ in range(2)
    )

    assert first.state is State.COMPLETE
    one, other = (replace(trial.measurement, seconds=0.0) for trial in (first, again))
    assert one == other
    assert one.score > 0.6
    assert first.measurement.seconds > 0


def test_what_cannot_be_loaded_is_found_out_before_a_trial(study, tmp_path):
    gone = replace(study, where=replace(study.where, model=str(tmp_path)))

    with pytest.raises(BackboneError, match=r"is no model: .* has no config\.json"):
        FinetuneEvaluator(gone, threads=1).ready()


class Listed:
    """Proposes what it was given, whatever comes of it; the first as a baseline."""

    def __init__(self, proposals):
        first, *rest = proposals
        self._proposals = [replace(first, purpose=Purpose.BASELINE), *rest]

    def ask(self):
        return self._proposals.pop(0) if self._proposals else None

    def tell(self, trial):
        """Learn nothing."""


def test_a_search_in_packs_finds_what_it_finds_without(tmp_path):
    """The same finalists, and the same scores of all."""
    data = write_rows(tmp_path / "data.csv", opinions(80))
    study = replace(study_on(str(save_tiny(tmp_path / "model")), data, recipe_of()), finals=1)
    ends = []
    for pack in (1, 4):
        store = MemoryStore()
        store.add_study(study)
        trials = search(
            study,
            Limits(trials=5),
            strategy=Listed([trial.proposal for trial in trials_of(study, recipe=recipe_of())]),
            evaluator=FinetuneEvaluator(study, threads=1),
            executor=InlineExecutor(),
            store=store,
            pack=pack,
        )
        assert [trial.number for trial in trials if trial.ended]
        ends.append(store.trials(study.id))

    one, packed = ends
    assert [trial.proposal for trial in packed] == [trial.proposal for trial in one]
    for found, alone in zip(packed, one, strict=True):
        assert found.measurement.loss == pytest.approx(alone.measurement.loss, abs=1e-4)
        assert found.measurement.score == alone.measurement.score
