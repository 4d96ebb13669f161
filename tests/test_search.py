"""The loop: everything is recorded, nothing is measured twice, and it ends the same way."""

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from autopeft.budget import Budget
from autopeft.errors import DataError
from autopeft.executors.inline import InlineExecutor
from autopeft.search import MOST_ATTEMPTS, search
from autopeft.storage.memory import MemoryStore
from autopeft.strategies.baselines import BaselinesFirst
from autopeft.strategies.random import RandomStrategy
from autopeft.strategies.tpe import TpeStrategy
from autopeft.study import Limits
from autopeft.trial import Purpose, State
from tests.builders import SMALL_SPACE, a_measurement, a_study
from tests.contracts.strategy import measured as scored

STUDY = a_study(finals=2)


class PowerCut(BaseException):
    """Ends the process, as far as a test can."""


@dataclass
class Evaluator:
    """Measures at once, by a function of the proposal; logs what it began and what it measured.

    ``steps`` is how many times it gets to yield before the power is cut; ``errors`` are raised in
    the middle of the trials of their numbers.
    """

    steps: int = 10**9
    errors: dict[int, Exception] = field(default_factory=dict)
    begun: list[int] = field(default_factory=list)
    measured: list[int] = field(default_factory=list)

    def evaluate(self, trials):
        for trial in trials:
            self.begun.append(trial.number)
            self._step()
            yield trial.running(0.5)
            if trial.number in self.errors:
                raise self.errors[trial.number]
            self._step()
            self.measured.append(trial.number)
            yield self._measure(trial)

    def _step(self):
        self.steps -= 1
        if self.steps < 0:
            raise PowerCut

    def _measure(self, trial):
        proposal = trial.proposal
        # what a short training shows is a part of it, and a little besides the point
        share = proposal.fidelity.share
        score = share * scored(trial).score + proposal.seed / 1000
        return trial.done(
            a_measurement(score, proposal.configuration.parameters(SMALL_SPACE.slots))
        )


def strategy_of(study):
    inner = TpeStrategy(study) if study.strategy == "tpe" else RandomStrategy(study)
    return BaselinesFirst(study, inner)


def go(store, study=STUDY, trials=7, evaluator=None, **kwargs):
    """Return the generator of a run with a fresh strategy, as another process would have it."""
    limits = kwargs.pop("limits", Limits(trials=trials))
    return search(
        study, limits, strategy=kwargs.pop("strategy", None) or strategy_of(study),
        evaluator=evaluator or Evaluator(), executor=InlineExecutor(), store=store, **kwargs,
    )  # fmt: skip


def opened(study=STUDY) -> MemoryStore:
    store = MemoryStore()
    store.add_study(study)
    return store


def outcomes(store, study=STUDY):
    """Return all trials but for how often each was begun."""
    return [replace(trial, attempts=0) for trial in store.trials(study.id)]


def whole(study=STUDY, trials=7):
    """Return the trials of a run that nothing interrupted."""
    store = opened(study)
    list(go(store, study, trials))
    return outcomes(store, study)


def test_all_trials_are_recorded_and_shown_as_they_change():
    store = opened()

    events = list(go(store))

    assert [t for t in events if t.ended] == list(store.trials(STUDY.id))
    assert [t.progress for t in events] == [0.5, 1.0] * (7 + 4)
    assert {t.state for t in store.trials(STUDY.id)} == {State.COMPLETE}
    assert [t.number for t in store.trials(STUDY.id)] == list(range(11))


def test_the_finalists_are_trained_once_with_each_fresh_seed():
    trials = whole()

    finals = [t.proposal for t in trials if t.proposal.purpose is Purpose.FINAL]
    best = [
        max((t for t in trials if t.proposal.purpose is purpose), key=lambda t: t.score)
        for purpose in (Purpose.SEARCH, Purpose.BASELINE)
    ]
    assert [(p.of, p.seed) for p in finals] == [(t.number, s) for s in (1, 2) for t in best]
    assert [p.configuration for p in finals[:2]] == [t.proposal.configuration for t in best]
    assert [p.recipe for p in finals[:2]] == [t.proposal.recipe for t in best]


@pytest.mark.parametrize("finals", [0, 1, 3])
def test_a_study_says_how_many_fresh_seeds_there_are(finals):
    study = a_study(finals=finals)

    assert len(whole(study)) == 7 + 2 * finals


def test_a_study_that_has_ended_measures_nothing_more():
    store = opened()
    list(go(store))
    again = Evaluator()

    assert list(go(store, evaluator=again)) == []
    assert again.begun == []


@pytest.mark.parametrize("strategy", ["random", "tpe"])
@pytest.mark.parametrize("steps", [0, 1, 2, 5, 6, 7, 13, 14, 15, 16, 20, 21])
def test_a_run_that_was_cut_off_goes_on_as_if_nothing_had_happened(steps, strategy):
    """Cut at the start, in the middle of baselines and searched trials, and in finals."""
    study = a_study(finals=2, strategy=strategy)
    store, first, second = opened(study), Evaluator(steps=steps), Evaluator()
    with pytest.raises(PowerCut):
        list(go(store, study, evaluator=first))

    list(go(store, study, evaluator=second))

    assert outcomes(store, study) == whole(study)
    assert set(Counter(first.measured + second.measured).values()) == {1}
    attempts = [t.attempts for t in store.trials(study.id)]
    assert sum(attempts) == 11 + 1
    assert attempts[steps // 2] == 2


@pytest.mark.parametrize("events", [1, 2, 3, 8, 14, 15, 19])
def test_a_run_that_was_abandoned_goes_on_as_if_nothing_had_happened(events):
    """The consumer stops pulling, as Ctrl-C or a closed notebook does."""
    store, first, second = opened(), Evaluator(), Evaluator()
    running = go(store, evaluator=first)
    for _ in range(events):
        next(running)
    running.close()

    list(go(store, evaluator=second))

    assert outcomes(store) == whole()
    assert set(Counter(first.measured + second.measured).values()) == {1}


def test_a_run_that_is_cut_off_again_and_again_ends_the_same():
    """Each run gets one trial and a half done."""
    store, measured = opened(), []
    for _ in range(30):
        evaluator = Evaluator(steps=3)
        try:
            list(go(store, evaluator=evaluator))
            break
        except PowerCut:
            measured += evaluator.measured

    assert outcomes(store) == whole()
    assert sorted(measured + evaluator.measured) == list(range(11))


def test_more_trials_extend_a_study():
    """Up to the finals of the shorter run, which stay, it is the longer study from the start."""
    store = opened()
    list(go(store, trials=5))
    second = Evaluator()

    list(go(store, trials=9, evaluator=second))

    def proposed(trials):
        return [t.proposal for t in trials if t.proposal.purpose is not Purpose.FINAL]

    assert proposed(outcomes(store)) == proposed(whole(trials=9))
    assert min(second.begun) == 9  # five trials and the four finals of two finalists are kept


def test_fewer_trials_than_are_known_ask_for_none():
    store = opened()
    list(go(store, trials=6))
    again = Evaluator()

    list(go(store, trials=4, evaluator=again))

    assert again.begun == []


def test_trials_that_fail_or_run_out_of_memory_are_outcomes_and_the_others_go_on():
    store = opened()
    errors = {
        0: ValueError("shapes differ"),
        4: MemoryError(),
        7: RuntimeError("CUDA out of memory"),
    }

    list(go(store, evaluator=Evaluator(errors=errors)))

    states = {t.number: t.state for t in store.trials(STUDY.id)}
    assert [n for n, state in states.items() if state is State.FAILED] == [0]
    assert [n for n, state in states.items() if state is State.OOM] == [4, 7]
    assert len(states) == 11


def test_a_study_of_which_every_trial_fails_ends_without_finals():
    store = opened()
    errors = {n: ValueError("no such layer") for n in range(99)}

    list(go(store, evaluator=Evaluator(errors=errors)))

    assert [t.state for t in store.trials(STUDY.id)] == [State.FAILED] * 7


def test_a_failed_final_is_not_tried_again():
    store = opened()
    list(go(store, evaluator=Evaluator(errors={8: ValueError("diverged")})))
    again = Evaluator()

    list(go(store, evaluator=again))

    assert again.begun == []


def test_a_trial_that_ended_every_run_that_began_it_is_given_up():
    store = opened()
    for attempt in range(MOST_ATTEMPTS):
        with pytest.raises(PowerCut):
            list(go(store, evaluator=Evaluator(steps=4 if attempt == 0 else 0)))
    evaluator = Evaluator()

    events = list(go(store, evaluator=evaluator))

    given_up = store.trials(STUDY.id)[2]
    assert given_up.state is State.FAILED
    assert given_up.failure == "the process ended 3 times while it ran; was memory short?"
    assert events[0] == given_up
    assert 2 not in evaluator.begun
    assert len(store.trials(STUDY.id)) == 11


@pytest.mark.parametrize("stop", [KeyboardInterrupt, DataError])
def test_an_orderly_stop_is_no_attempt(stop):
    """However often a user interrupts a trial, or mends what was wrong, it is not given up."""
    store = opened()
    for _ in range(MOST_ATTEMPTS + 1):
        with pytest.raises(stop):
            list(go(store, evaluator=Evaluator(errors={0: stop("stopped")})))

    assert [(t.state, t.attempts) for t in store.trials(STUDY.id)] == [(State.WAITING, 0)]
    list(go(store))
    assert outcomes(store) == whole()


def test_a_strategy_is_told_of_the_trial_that_was_given_up():
    """Else it would propose otherwise now than when the study is resumed later."""
    told = []

    class Listening(RandomStrategy):
        def tell(self, trial):
            told.append(trial)
            super().tell(trial)

    store = opened()
    for _ in range(MOST_ATTEMPTS):
        with pytest.raises(PowerCut):
            list(go(store, evaluator=Evaluator(steps=0)))

    list(go(store, trials=1, strategy=Listening(STUDY)))

    assert [(t.number, t.state) for t in told] == [(0, State.RUNNING), (0, State.FAILED)]


def test_a_strategy_with_nothing_left_ends_the_search():
    class Exhausted:
        def ask(self):
            return None

        def tell(self, trial):
            pytest.fail("there is nothing to tell")

    assert list(go(opened(), strategy=Exhausted())) == []


@dataclass
class Working:
    """Wraps an evaluator: each trial takes ten seconds of a clock that stands still otherwise."""

    inner: Evaluator = field(default_factory=Evaluator)
    now: float = 1000.0

    def evaluate(self, trials):
        for trial in self.inner.evaluate(trials):
            if trial.ended:
                self.now += 10
                yield trial.done(replace(trial.measurement, seconds=10.0))
            else:
                yield trial


@pytest.mark.parametrize(
    ("seconds", "finals", "searched"),
    [(101, 0, 10), (101, 1, 8), (101, 3, 4), (95, 1, 7), (5, 1, 1)],
)
def test_within_a_time_limit_the_search_leaves_room_for_the_finals(seconds, finals, searched):
    """The first trial is run without knowing how long it takes."""
    study, working = a_study(finals=finals), Working()
    store = opened(study)

    limits = Limits(trials=99, seconds=seconds)
    list(go(store, study, limits=limits, evaluator=working, clock=lambda: working.now))

    purposes = Counter(t.proposal.purpose is Purpose.FINAL for t in store.trials(study.id))
    assert purposes[False] == searched
    if seconds > 10:
        assert working.now - 1000 <= seconds


def test_finals_for_which_time_is_short_are_made_up_for_by_the_next_run():
    store = opened()
    with pytest.raises(PowerCut):
        list(go(store, evaluator=Evaluator(steps=14)))
    working = Working()

    limits = Limits(trials=7, seconds=35)  # for three, but a pair of one seed is not torn apart
    list(go(store, limits=limits, evaluator=working, clock=lambda: working.now))

    known = outcomes(store)
    assert [t.proposal.seed for t in known[7:]] == [1, 1]  # one of each finalist
    assert working.now - 1000 == 20
    list(go(store))
    assert [t.proposal for t in outcomes(store)] == [t.proposal for t in whole()]


def test_time_that_is_up_at_once_asks_for_no_trial():
    store = opened()

    assert list(go(store, limits=Limits(trials=9, seconds=0.0), clock=lambda: 5.0)) == []


def test_the_lease_is_given_back_when_a_run_is_cut_off():
    from autopeft.storage.processes import this_process

    store = opened()
    with pytest.raises(PowerCut):
        list(go(store, evaluator=Evaluator(steps=3)))
    stranger = replace(this_process(), host="another")
    store._process = lambda: stranger

    list(go(store))

    assert len(store.trials(STUDY.id)) == 11


def test_a_budget_that_fits_no_baseline_is_searched_without_them():
    study = a_study(budget=Budget.parse("16"), finals=1)

    trials = whole(study, trials=4)

    assert {t.proposal.purpose for t in trials} == {Purpose.SEARCH, Purpose.FINAL}
    assert len(trials) == 5


HALVED = a_study(finals=1, rungs=(0.1, 0.3, 1.0))


def shares(trials):
    return [
        [found.share for found in (*t.rungs, t.measurement)]
        for t in trials
        if t.proposal.purpose is not Purpose.FINAL
    ]


def test_with_rungs_the_best_third_goes_on_and_one_of_each_kind_is_trained_to_the_end():
    """More than a third where a better one comes later: promotions are not taken back."""
    store = opened(HALVED)
    list(go(store, HALVED, trials=15))
    trials = store.trials(HALVED.id)

    found = shares(trials)
    assert len(found) == 15
    assert all(share[0] == 0.1 for share in found)
    assert [share for share in (0.1, 0.3, 1.0) for t in found if t[-1] == share].count(1.0) >= 2
    for purpose in (Purpose.BASELINE, Purpose.SEARCH):
        own = [t for t in trials if t.proposal.purpose is purpose]
        further = [t for t in own if t.at(0.3)]
        assert -(-len(own) // 3) <= len(further) < len(own)
        assert {t.number for t in further} >= {max(own, key=lambda t: t.at(0.1).score).number}
        assert any(t.complete for t in own)
    assert all(t.complete for t in trials if t.proposal.purpose is Purpose.FINAL)


@pytest.mark.parametrize("steps", [3, 11, 20, 33, 40, 47])
def test_a_halved_search_that_is_cut_off_goes_on_to_the_same_trials(steps):
    store, other = opened(HALVED), opened(HALVED)
    list(go(store, HALVED, trials=15))

    with pytest.raises(PowerCut):
        list(go(other, HALVED, trials=15, evaluator=Evaluator(steps=steps)))
    list(go(other, HALVED, trials=15))

    assert [t.proposal for t in other.trials(HALVED.id)] == [
        t.proposal for t in store.trials(HALVED.id)
    ]
    assert shares(other.trials(HALVED.id)) == shares(store.trials(HALVED.id))


def test_a_halved_search_that_is_extended_is_the_longer_one_from_the_start():
    """What goes on depends on what was measured before, and not on how long the search will be."""
    store, longer, evaluator = opened(HALVED), opened(HALVED), Evaluator()
    list(go(store, HALVED, trials=6, evaluator=evaluator))
    list(go(store, HALVED, trials=12, evaluator=evaluator))
    list(go(longer, HALVED, trials=12))

    measured = sum(len(t.rungs) + 1 for t in store.trials(HALVED.id))
    assert len(evaluator.measured) == measured
    assert shares(store.trials(HALVED.id)) == shares(longer.trials(HALVED.id))


@pytest.mark.parametrize("strategy", ["random", "tpe"])
def test_a_pack_is_begun_before_any_of_it_has_ended_and_gives_the_same_every_time(strategy):
    """Every trial is recorded once, the finalists too, and none has seen another of its pack."""
    study = a_study(strategy=strategy, finals=2)
    ends = []
    for _ in range(2):
        store, evaluator = opened(study), Evaluator()
        events = list(go(store, study, evaluator=evaluator, pack=3))
        ends.append(outcomes(store, study))

    assert ends[0] == ends[1]
    assert evaluator.measured == list(range(7 + 4))
    assert {t.state for t in ends[0]} == {State.COMPLETE}
    assert [t.number for t in events if t.ended] == evaluator.measured


def test_a_pack_has_room_for_all_of_its_trials():
    """With time for three more trials, a pack of eight is one of three."""
    now = [0.0]

    class Slow(Evaluator):
        def evaluate(self, trials):
            sizes.append(len(trials))
            for trial in trials:
                now[0] += 10.0
                [*_, measured] = super().evaluate([trial])
                yield replace(measured, measurement=replace(measured.measurement, seconds=10.0))

    sizes = []
    store = opened(a_study(finals=0))
    limits = Limits(trials=50, seconds=115.0)

    list(
        go(store, a_study(finals=0), evaluator=Slow(), limits=limits, clock=lambda: now[0], pack=8)
    )

    assert sizes == [8, 3]
