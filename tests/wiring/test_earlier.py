"""First points of a study from earlier ones in the store."""

from dataclasses import replace

import pytest

from autopeft.errors import OptionError, StudyError
from autopeft.search_spaces.written.reading import parse_space
from autopeft.storage.memory import MemoryStore
from autopeft.strategies.random import RandomStrategy
from autopeft.strategies.warm_start import WarmStart
from autopeft.trial import Fidelity, Purpose
from autopeft.wiring.earlier import earlier_points, named_studies, pinned, similar_studies
from autopeft.wiring.warm import with_earlier
from tests.builders import TASK, TINY, a_measurement, a_proposal, a_study

OTHER_DATA = replace(TASK, digest="f" * 64)

NORMS = parse_space(
    "{name: norms, groups: [{slots: [ln_fit@attention.norm], sizes: [0, 1]}]}", "norms.yaml"
).on(TINY)


@pytest.fixture
def store():
    return MemoryStore()


def add(store, study, *scored, **changes):
    """Add a study with a complete trial for every ``(ranks, score)``, and return its id."""
    store.add_study(study)
    for ranks, score in scored:
        trial = store.add_trial(study.id, a_proposal(*ranks, **changes))
        started = store.start(study.id, trial)
        store.finish(study.id, started.done(a_measurement(score)))
    return study.id


def ranks_of(point):
    return tuple(row[0] for row in point.configuration.sizes)


def test_the_best_configurations_come_first_with_their_rates(store):
    earlier = add(store, a_study(), ((1, 1), 0.7), ((4, 4), 0.9), ((2, 0), 0.8), rate=3e-3)
    study = a_study(task=OTHER_DATA, earlier=(earlier,))

    points = earlier_points(study, store)

    assert [ranks_of(point) for point in points] == [(4, 4), (2, 0), (1, 1)]
    assert [dict(point.learning_rates) for point in points] == [{"lora": 3e-3}] * 3
    assert [(point.study, point.trial) for point in points] == [(earlier, 1), (earlier, 2),
                                                                (earlier, 0)]  # fmt: skip


def test_a_search_that_is_warm_started_begins_with_them(store):
    earlier = add(store, a_study(), ((1, 1), 0.7), ((4, 4), 0.9))
    study = a_study(task=OTHER_DATA, earlier=(earlier,))

    strategy = WarmStart(study, RandomStrategy(study), earlier_points(study, store))

    first = [strategy.ask().configuration.sizes for _ in range(2)]
    assert [tuple(row[0] for row in sizes) for sizes in first] == [(4, 4), (1, 1)]


def test_several_studies_take_turns_and_equal_configurations_count_once(store):
    one = add(store, a_study(), ((1, 1), 0.7), ((4, 4), 0.9))
    other = add(store, a_study(seed=1), ((4, 4), 0.6), ((0, 2), 0.5))
    study = a_study(task=OTHER_DATA, earlier=(one, other))

    points = earlier_points(study, store)

    assert [ranks_of(point) for point in points] == [(4, 4), (1, 1), (0, 2)]
    assert [point.study for point in points] == [one, one, other]


def test_six_points_are_enough(store):
    scored = [((a, b), a + b) for a in (1, 2, 4) for b in (0, 1, 2, 4)]
    study = a_study(task=OTHER_DATA, earlier=(add(store, a_study(), *scored),))

    assert len(earlier_points(study, store)) == 6


def test_only_what_was_trained_to_the_end_counts(store):
    """Failures, NaN, finals, and trials that paused at a rung do not."""
    earlier = a_study()
    add(store, earlier, ((1, 1), 0.7), ((2, 2), float("nan")))
    add(store, earlier, ((4, 4), 0.9), purpose=Purpose.FINAL, of=0, seed=1)
    add(store, earlier, ((2, 1), 0.9), fidelity=Fidelity(share=0.25))
    failed = store.start(earlier.id, store.add_trial(earlier.id, a_proposal(1, 2)))
    store.finish(earlier.id, failed.failed("ValueError"))

    points = earlier_points(a_study(task=OTHER_DATA, earlier=(earlier.id,)), store)

    assert [ranks_of(point) for point in points] == [(1, 1)]


def test_with_several_objectives_those_that_nothing_beats_come_first(store):
    """(8, 8) has the best score; (1, 1) is smaller; (4, 4) is beaten by (2, 2) in both."""
    earlier = a_study()
    store.add_study(earlier)
    for ranks, score, parameters in (((4, 4), 0.7, 128), ((2, 2), 0.8, 64), ((8, 8), 0.9, 256),
                                     ((1, 1), 0.6, 32)):  # fmt: skip
        started = store.start(earlier.id, store.add_trial(earlier.id, a_proposal(*ranks)))
        store.finish(earlier.id, started.done(a_measurement(score, parameters)))
    study = a_study(
        task=OTHER_DATA, earlier=(earlier.id,), objectives=("score", "params", "latency")
    )

    points = earlier_points(study, store)

    assert [ranks_of(point) for point in points] == [(8, 8), (2, 2), (1, 1), (4, 4)]


def test_a_study_without_earlier_ones_has_no_points(store):
    assert earlier_points(a_study(), store) == ()


def test_an_earlier_study_that_is_gone_is_named(store):
    add(store, a_study(), ((1, 1), 0.7))

    with pytest.raises(StudyError, match="there is no study 'ffffffffffff'"):
        earlier_points(a_study(task=OTHER_DATA, earlier=("ffffffffffff",)), store)


def test_named_studies_are_found_by_the_start_of_their_id(store):
    earlier = add(store, a_study(), ((1, 1), 0.7))
    study = a_study(task=OTHER_DATA)

    assert named_studies(study, [f" {earlier[:6]} ", earlier], store) == (earlier,)


def test_a_named_study_that_is_unknown_is_refused(store):
    add(store, a_study(), ((1, 1), 0.7))

    with pytest.raises(StudyError, match="there is no study 'abcd'"):
        named_studies(a_study(task=OTHER_DATA), ["abcd"], store)


def test_a_named_study_of_another_kind_of_task_is_refused(store):
    earlier = add(store, a_study(task=replace(TASK, kind="regression", labels=())))

    message = "is about regression, and this one about classification: leave it out"
    with pytest.raises(StudyError, match=message):
        named_studies(a_study(), [earlier], store)


def test_a_named_study_that_shares_no_slot_is_refused(store):
    earlier = add(store, a_study())

    with pytest.raises(StudyError, match="uses no slot that the space 'norms' has on tiny: leave"):
        named_studies(a_study(space=NORMS), [earlier], store)


def test_similar_studies_have_the_same_backbone_first_then_the_same_data(store):
    other_weights = replace(TINY, digest="c" * 64)
    far = add(store, a_study(backbone=other_weights), ((1, 1), 0.7))
    near = add(store, a_study(task=OTHER_DATA), ((1, 1), 0.7))
    nearest = add(store, a_study(seed=9), ((1, 1), 0.7))

    assert similar_studies(a_study(), store) == (nearest, near, far)


def test_three_similar_studies_are_enough(store):
    for seed in range(1, 6):
        add(store, a_study(seed=seed), ((1, 1), 0.7))

    assert similar_studies(a_study(), store) == tuple(a_study(seed=s).id for s in (5, 4, 3))


@pytest.mark.parametrize(
    "unlike",
    [
        a_study(task=replace(TASK, kind="regression", labels=())),
        a_study(backbone=replace(TINY, architecture="llama")),
        a_study(earlier=("0123456789ab",)),
    ],
    ids=["another task", "another architecture", "itself"],
)
def test_studies_that_are_not_alike_are_passed_over(store, unlike):
    add(store, unlike, ((1, 1), 0.7))

    assert similar_studies(a_study(), store) == ()


def test_studies_without_a_slot_in_common_are_passed_over(store):
    add(store, a_study(), ((1, 1), 0.7))

    assert similar_studies(a_study(space=NORMS), store) == ()


def test_a_study_that_has_measured_nothing_is_passed_over(store):
    add(store, a_study(seed=1))

    assert similar_studies(a_study(), store) == ()


def test_the_trials_that_a_study_begins_with_are_a_part_of_it(store):
    one = add(store, a_study(), ((1, 1), 0.7), ((4, 4), 0.9))
    other = add(store, a_study(seed=1), ((4, 4), 0.6), ((0, 2), 0.5))
    study = pinned(a_study(task=OTHER_DATA, earlier=(one, other)), store)

    assert study.earlier == (f"{one}:1.0", f"{other}:1")
    points = earlier_points(study, store)
    assert sorted(map(ranks_of, points)) == [(0, 2), (1, 1), (4, 4)]
    assert pinned(study, store) == study


@pytest.mark.parametrize("wanted", ["auto", "named"])
def test_a_study_that_goes_on_begins_with_the_same_whatever_was_measured_since(store, wanted):
    earlier = add(store, a_study(seed=1), ((1, 1), 0.7), ((4, 4), 0.9))
    wanted = {"named": earlier}.get(wanted, wanted)
    first = with_earlier(a_study(), wanted, store)
    before = earlier_points(first, store)
    store.add_study(first)

    add(store, a_study(seed=1), ((2, 2), 0.99), ((2, 0), 0.8))
    again = with_earlier(a_study(), wanted, store)

    assert again == first
    assert earlier_points(again, store) == before
    assert [ranks_of(point) for point in before] == [(4, 4), (1, 1)]


def test_another_study_begins_with_what_is_known_by_then(store):
    earlier = add(store, a_study(seed=1), ((1, 1), 0.7))
    store.add_study(with_earlier(a_study(), earlier, store))
    add(store, a_study(seed=1), ((2, 2), 0.99))

    study = with_earlier(a_study(seed=2), earlier, store)

    assert study.earlier == (f"{earlier}:1.0",)


def test_a_study_of_an_earlier_version_goes_on_with_all_that_is_known(store):
    earlier = add(store, a_study(seed=1), ((1, 1), 0.7))
    old = a_study(earlier=(earlier,))
    store.add_study(old)

    assert with_earlier(a_study(), earlier, store) == old


def test_a_trial_that_is_gone_is_named(store):
    earlier = add(store, a_study(seed=1), ((1, 1), 0.7))

    with pytest.raises(StudyError, match=f"began with trial 8 of study {earlier}, which is not in"):
        earlier_points(a_study(earlier=(f"{earlier}:0.8",)), store)


def test_a_named_study_of_which_nothing_fits_gives_no_point(store):
    earlier = add(store, a_study(seed=1))

    study = with_earlier(a_study(), earlier, store)

    assert study.earlier == (f"{earlier}:",)
    assert earlier_points(study, store) == ()


def test_named_studies_need_a_store():
    with pytest.raises(OptionError, match="there is no store with any yet"):
        with_earlier(a_study(), "3fa9c1d2e47b", None)
    assert with_earlier(a_study(), "auto", None) == with_earlier(a_study(), "none", None)
