"""The table benchmark: a table that agrees with its space, and a replay that counts honestly."""

from dataclasses import replace

import numpy as np
import pytest

from autopeft.search_spaces.configuration import Configuration
from autopeft.strategies.recipes import default_recipe
from autopeft.trial import Fidelity, Proposal, Trial

# imported by name, like the scripts do: see conftest.py
from curves import against, draw, markdown, summary  # isort: skip
from regret import Incumbent, seconds, whole  # isort: skip
from replay import (  # isort: skip
    TRIALS, contestants, keep, read_kept, replay, replications, rungs_of,
)  # fmt: skip
from tabled import (  # isort: skip
    RUNGS, Row, Spent, Table, TabledScores, TableEvaluator, names, rung_of,
)  # fmt: skip

TABLE = Table.read()
STUDY = TABLE.study("random", 0)


def a_trial(configuration: Configuration, share: float = 1.0, rate: float = 1.0) -> Trial:
    recipe = default_recipe(STUDY.recipe, configuration.methods(STUDY.space.slots))
    rates = {method: rate * usual for method, usual in recipe.learning_rates.items()}
    proposal = Proposal(
        configuration=configuration,
        recipe=replace(recipe, learning_rates=rates),
        seed=0,
        fidelity=Fidelity(share=share),
    )
    return Trial(number=0, proposal=proposal).started()


def a_configuration() -> Configuration:
    return next(iter(TABLE.true))


def evaluated(evaluator: TableEvaluator, trial: Trial) -> Trial:
    return list(evaluator.evaluate((trial,)))[-1]


@pytest.mark.parametrize("name", names())
def test_a_table_holds_all_that_its_space_allows_within_its_budget(name):
    """Otherwise a strategy would be punished for what nobody has trained."""
    table = Table.read(name)
    study = table.study("random", 0)
    choices = [range(len(gene.choices)) for gene in study.space.genes]
    every = np.array(np.meshgrid(*choices, indexing="ij")).reshape(len(choices), -1).T
    counts = study.space.counter().counts(every)
    allowed = {
        study.space.decode(genome)
        for genome, count in zip(every.tolist(), counts, strict=True)
        if 0 < count <= study.ceiling
    }

    assert set(table.true) == allowed
    assert len(table.rows) == len(allowed) * len(table.seeds) * len(RUNGS)
    assert 0 < len(allowed) < len(every)  # the budget cuts some of them off


@pytest.mark.parametrize("name", names())
def test_what_a_table_counts_is_what_its_space_counts(name):
    table = Table.read(name)
    slots = table.study("random", 0).space.slots

    for (configuration, _, _), row in table.rows.items():
        assert row.parameters == configuration.parameters(slots)


def test_a_promoted_trial_pays_only_for_the_steps_that_are_added():
    configuration, spent = a_configuration(), Spent()
    evaluator = TableEvaluator(TABLE, 0, spent)
    low, high = (TABLE.rows[configuration, 0, rung] for rung in (0, 2))

    paused = evaluated(evaluator, a_trial(configuration, RUNGS[0]))
    evaluated(evaluator, paused.promoted(1.0).started())

    assert spent.training == pytest.approx(high.training)
    assert spent.scoring == pytest.approx(low.scoring + high.scoring)


def test_other_learning_rates_score_the_same_and_cost_once_more():
    spent = Spent()
    evaluator = TableEvaluator(TABLE, 0, spent)
    first = evaluated(evaluator, a_trial(a_configuration()))
    once = spent.now()

    second = evaluated(evaluator, a_trial(a_configuration(), rate=0.5))

    assert second.score == first.score
    assert spent.now() == pytest.approx(2 * once)


def test_what_the_table_does_not_hold_fails_and_is_counted():
    nothing = Configuration(((0,) * len(STUDY.space.slots),) * STUDY.space.blocks)

    failed = evaluated(TableEvaluator(TABLE, 0, Spent()), a_trial(nothing))

    assert "does not hold" in failed.failure


def test_who_finds_what_looks_best_misses_nothing_though_there_is_regret():
    """With one seed another configuration looks best than is best on average."""
    seen, evaluator = Incumbent(TABLE, 0), TableEvaluator(TABLE, 0, Spent())
    by_looks = sorted(TABLE.true, key=lambda c: TABLE.seen(c, 0))

    missed = []
    for configuration in (by_looks[0], by_looks[100], by_looks[-1]):
        seen.saw(evaluated(evaluator, a_trial(configuration)))
        missed.append(seen.missed)

    assert missed[0] > missed[1] > missed[2] == 0
    assert seen.regret == TABLE.best - TABLE.true[by_looks[-1]] > 0


def test_a_share_that_was_not_trained_is_refused():
    with pytest.raises(ValueError, match=r"the table has no share 0\.5"):
        rung_of(0.5)


def test_a_supernet_is_paid_once_and_a_score_once_for_each_configuration():
    row = Row(
        score=0.9, loss=0.1, parameters=1, steps=60, training=3.0, scoring=1.0, inherited=0.8,
        inherited_seconds=0.5,
    )  # fmt: skip
    table = Table.of({(a_configuration(), 0, 2): row}, (0,), {"supernet": {"seconds": {"0": 9.0}}})
    spent = Spent()
    scores = TabledScores(table, 0, spent)

    list(scores.prepare())
    found = [*scores.scores([a_configuration()] * 2), *scores.scores([a_configuration()])]

    assert found == [0.8] * 3
    assert (spent.training, spent.scoring) == (9.0, 0.5)


def test_inherited_scores_that_nobody_made_are_refused():
    rows = {place: replace(row, inherited=None) for place, row in TABLE.rows.items()}
    table = Table.of(rows, TABLE.seeds, TABLE.facts)

    assert "autopeft" not in contestants(table)
    with pytest.raises(ValueError, match="no supernet has scored this table"):
        list(TabledScores(table, 0, Spent()).scores([a_configuration()]))


@pytest.mark.parametrize("contestant", ["random", "tpe", "random+rungs"])
def test_a_replay_is_reproduced_by_its_seed(contestant):
    first, again = (replay(TABLE, contestant, 3, trials=8) for _ in range(2))

    assert first.points == again.points
    assert first.outside == 0


def test_every_table_can_be_replayed_and_its_replications_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path))

    for name in names():
        done = list(replications(["random"], 1, 1, name))
        keep(name, done)
        assert done[0].points[0].regret == Incumbent(Table.read(name), 0).regret
        assert [one.points[-1].trials for one in read_kept(name, "random")] == [
            one.points[-1].trials for one in done
        ]
    assert len(list(tmp_path.glob("replay*/random.json"))) == len(names())


def test_a_replay_goes_on_until_the_time_of_so_many_trainings_is_over():
    done = replay(TABLE, "random+rungs", 0, trials=6)

    assert done.points[-1].trials >= 6
    assert seconds(done.points, 1.0)[-1] >= 6 * whole(TABLE, 1.0)


def test_a_contestant_is_as_the_tool_has_it_unless_its_name_says_otherwise():
    assert rungs_of("random", TABLE) == (1.0,)
    assert rungs_of("random+rungs", TABLE) == RUNGS
    assert rungs_of("tpe+third", TABLE) == RUNGS[1:]
    assert rungs_of("autopeft-rungs", TABLE) == (1.0,)
    assert rungs_of("autopeft", TABLE)[-2:] == pytest.approx(RUNGS[1:], abs=1e-6)


def test_random_and_tpe_come_closer_to_the_best():
    """The quick form of what ``benchmarks/replay.py`` does with fifty seeds."""
    everything = {name: list(replications([name], 5, 1)) for name in ("random", "tpe")}
    found = summary(TABLE, everything)

    for done in (one for runs in everything.values() for one in runs):
        assert all(point.regret >= 0 for point in done.points)
    for name in everything:
        facts = found["contestants"][name]
        assert facts["replications"] == 5
        last = facts[f"{TRIALS} trials"]
        assert 0 <= last["low"] <= last["mean"] <= last["high"] < facts["10 trials"]["high"]
    assert found["contestants"]["random"][f"{TRIALS} trials"]["against random"]["mean"] == 0
    assert "| tpe |" in markdown(found)


def test_who_always_regrets_more_than_random_is_called_worse():
    low, high = np.full(10, 0.01), np.full(10, 0.02)

    assert against(high, low)["verdict"] == "worse"
    assert against(low, high)["verdict"] == "better"
    assert against(low, low)["verdict"] == "no difference"


def test_the_figure_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")

    draw(TABLE, {"random": list(replications(["random"], 2, 1))}, tmp_path / "replay.svg")

    assert "random" in (tmp_path / "replay.svg").read_text("utf-8")
