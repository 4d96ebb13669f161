"""What every store promises, and small records to try it with.

A new store subclasses ``StoreContract`` and gives a fixture ``store`` that is empty and takes its
clock and its process from the fixture ``surroundings``.
"""

import math
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from autopeft.answer import Answer, Finalist, Interval
from autopeft.backbone import Backbone, Site, Stack
from autopeft.budget import Budget
from autopeft.errors import StudyError
from autopeft.evidence import Expected, Provenance
from autopeft.plan import VERSION, Plan
from autopeft.ports import Store
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.search_spaces.space import Gene, SearchSpace
from autopeft.storage.processes import Process, process_of, this_process
from autopeft.study import Columns, DataFiles, Study, Task, Where
from autopeft.trial import Fidelity, Measurement, Proposal, Purpose, Recipe, Trial

SLOT = Slot(method="lora", site="attention.query", blocks=(0, 2), unit=8, most=4)
QUERY = Site(
    place="attention.query", kind="linear", path="layer.{block}.q", blocks=(0, 2), inputs=4,
    outputs=4, bias=True,
)  # fmt: skip
BACKBONE = Backbone(
    name="tiny", architecture="bert", parameters=10_000, sites=(QUERY,), digest="d" * 64,
    stacks=(Stack(name="", first=0, blocks=2, width=4, heads=1, norm="post"),),
)  # fmt: skip
TASK = Task(
    kind="classification", metric="accuracy", columns=Columns(text="text", label="label"),
    labels=("no", "yes"), head="mean", max_length=16, digest="e" * 64, split_seed=0,
    examples=(80, 10, 10),
)  # fmt: skip
GENES = tuple(
    Gene(name=f"block {block}", choices=(0, 1, 2), cells=((block, 0),)) for block in (0, 1)
)
SPACE = SearchSpace(name="lora", summary="ranks", blocks=2, slots=(SLOT,), genes=GENES)
WHERE = Where(model="/models/tiny", data=DataFiles(train="/data/reviews.csv"))
ELSEWHERE = Where(model="/mnt/tiny", data=DataFiles(train="a.csv", validation="b.csv"))


def a_study(seed: int = 0, where: Where = WHERE) -> Study:
    """Return a study; another seed makes another one."""
    return Study(
        task=TASK, backbone=BACKBONE, space=SPACE, budget=Budget.parse("1%"), strategy="random",
        seed=seed, recipe=Recipe(epochs=1), finals=2, where=where,
    )  # fmt: skip


def a_proposal(seed: int = 0) -> Proposal:
    """Return a proposal; another seed makes another one."""
    recipe = Recipe(learning_rates={"lora": 1e-3}, scales={"lora": 2.0}, epochs=1)
    return Proposal(configuration=Configuration(((1,), (2,))), recipe=recipe, seed=seed)


def a_measurement(score: float = 0.91, predictions: bytes = b"\x00\xff\x01") -> Measurement:
    """Return a measurement."""
    return Measurement(
        score=score, loss=0.1 + 0.2, parameters=24, head_parameters=10, steps=5, seconds=1.5,
        predictions=predictions,
    )  # fmt: skip


def an_answer(score: float = 0.91) -> Answer:
    """Return an answer that had nothing to be compared with."""
    interval = Interval(mean=score, low=0.88, high=0.94)
    finalist = Finalist(trial=0, name="lora", parameters=24, seeds=2, score=interval)
    return Answer(
        metric="accuracy", validation_examples=10, trials=3, searched=finalist, baseline=None,
        difference=None, verdict="not compared", chosen=0,
    )  # fmt: skip


def a_plan(score: float = 0.91) -> Plan:
    """Return the plan that belongs to ``an_answer``."""
    study = a_study()
    expected = Expected(
        metric="accuracy", trial_score=score, seeds=2,
        interval=Interval(mean=score, low=0.88, high=0.94),
    )  # fmt: skip
    provenance = Provenance(
        study=study.id, trial=0, strategy="random", space="lora", budget="1%", ceiling=100,
        trials=3, verdict="not compared", versions={"torch": "2.13"}, created="2025-01-01",
    )  # fmt: skip
    return Plan(
        version=VERSION, backbone=BACKBONE, task=TASK, where=WHERE, slots=(SLOT,),
        configuration=Configuration(((1,), (2,))), seed=0, parameters=24,
        recipe=Recipe(learning_rates={"lora": 1e-3}, scales={"lora": 2.0}), head_parameters=10,
        expected=expected, provenance=provenance,
    )  # fmt: skip


class Surroundings:
    """The clock and the process that a store under test sees, for a test to change."""

    def __init__(self) -> None:
        self.seconds = 1_700_000_000.0
        self.process = this_process()

    def clock(self) -> float:
        """Return seconds since the epoch."""
        return self.seconds

    def this_process(self) -> Process:
        """Return the process that the store believes to run in."""
        return self.process


class StoreContract:
    """What every store promises. A new store subclasses this and gives ``store``."""

    @pytest.fixture
    def surroundings(self) -> Surroundings:
        return Surroundings()

    @pytest.fixture
    def study(self, store: Store) -> Study:
        study = a_study()
        store.add_study(study)
        return study

    @pytest.fixture
    def neighbour(self) -> Iterator[Process]:
        """A living process of this machine that is not ours."""
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            yield process_of(child.pid)
            child.kill()

    # Studies

    def test_a_study_is_read_back_equal(self, store, study):
        """Also where its model and data are, which its id says nothing of."""
        assert store.study(study.id) == study
        assert store.studies() == (study,)

    def test_a_study_that_is_known_only_gets_its_new_place(self, store, study):
        """Model and data may have moved; trials stay."""
        trial = store.add_trial(study.id, a_proposal())

        store.add_study(a_study(where=ELSEWHERE))

        assert store.studies() == (a_study(where=ELSEWHERE),)
        assert store.trials(study.id) == (trial,)

    def test_what_does_not_decide_the_result_stays_as_it_was_first_written(self, store, study):
        """A budget of 100 is 1% of this backbone, so that it is the same study."""
        store.add_study(replace(a_study(where=ELSEWHERE), budget=Budget.parse("100")))

        assert store.study(study.id) == a_study(where=ELSEWHERE)

    def test_the_study_used_last_is_listed_first(self, store):
        """Adding a study again is using it; the clock need not move for that."""
        first, second, third = (a_study(seed) for seed in (1, 2, 3))
        for study in (first, second, third, first):
            store.add_study(study)

        assert store.studies() == (first, third, second)
        assert store.study("latest") == first

    def test_a_clock_that_is_set_back_does_not_change_the_order(self, store, surroundings):
        """The last one used is the last one, whatever the clock says."""
        store.add_study(a_study(1))
        surroundings.seconds -= 3600
        store.add_study(a_study(2))

        assert store.study("latest") == a_study(2)

    def test_a_study_is_found_by_the_start_of_its_id(self, store, study):
        """Four digits are enough while only one study fits."""
        store.add_study(a_study(1))

        assert store.study(study.id[:4]) == study

    def test_an_unknown_study_is_refused_with_the_ones_that_are_near(self, store, study):
        """The user sees what there is."""
        with pytest.raises(StudyError, match=f"no study 'zzzz'.*the latest are {study.id}"):
            store.study("zzzz")

    def test_an_empty_store_has_no_latest_study(self, store):
        """And no study of any other name."""
        assert store.studies() == ()
        with pytest.raises(StudyError, match="no study 'latest': the store is empty, run a search"):
            store.study("latest")

    @pytest.mark.parametrize(
        "use",
        [
            lambda store: store.add_trial("0" * 12, a_proposal()),
            lambda store: store.start("0" * 12, Trial(number=0, proposal=a_proposal())),
            lambda store: store.finish(
                "0" * 12, Trial(number=0, proposal=a_proposal()).failed("it broke")
            ),
            lambda store: store.trials("0" * 12),
            lambda store: store.answer("0" * 12),
            lambda store: store.save_answer("0" * 12, an_answer(), a_plan()),
            lambda store: store.lease("0" * 12).__enter__(),
        ],
        ids=["add_trial", "start", "finish", "trials", "answer", "save_answer", "lease"],
    )
    def test_nothing_can_be_done_with_a_study_that_was_never_added(self, store, study, use):
        """An empty list would hide a mistyped id."""
        with pytest.raises(StudyError, match="no study '000000000000' in this store: add it first"):
            use(store)

    # Trials

    def test_trials_are_numbered_from_zero_in_every_study(self, store, study):
        """Numbers of one study say nothing of another."""
        other = a_study(1)
        store.add_study(other)

        numbers = [store.add_trial(s.id, a_proposal()).number for s in (study, study, other, study)]

        assert numbers == [0, 1, 0, 2]

    def test_a_new_trial_waits(self, store, study):
        """It is read back as it was given out, with all that a proposal can say."""
        proposal = replace(a_proposal(), purpose=Purpose.FINAL, label="plain LoRA", of=3)

        trial = store.add_trial(study.id, proposal)

        assert trial == Trial(number=0, proposal=proposal)
        assert store.trials(study.id) == (trial,)

    def test_threads_never_share_a_number(self, store, study):
        """Eight trials from four threads have eight numbers."""
        with ThreadPoolExecutor(4) as pool:
            added = list(
                pool.map(lambda seed: store.add_trial(study.id, a_proposal(seed)), range(8))
            )

        assert sorted(trial.number for trial in added) == list(range(8))
        assert store.trials(study.id) == tuple(sorted(added, key=lambda trial: trial.number))

    def test_every_start_counts_as_an_attempt(self, store, study):
        """A trial that kills its process is told from one that was never tried."""
        trial = store.add_trial(study.id, a_proposal())

        once = store.start(study.id, trial)
        twice = store.start(study.id, once.running(0.5))

        assert (once.attempts, twice.attempts) == (1, 2)
        assert store.trials(study.id) == (trial.started().started(),)

    def test_a_paused_trial_can_be_promoted_and_keeps_what_it_measured(self, store, study):
        short = replace(a_proposal(), fidelity=Fidelity(share=0.25))
        paused = store.start(study.id, store.add_trial(study.id, short)).done(a_measurement(0.5))
        store.finish(study.id, paused)
        assert store.trials(study.id) == (paused,)

        promoted = store.promote(study.id, paused, 1.0)

        assert store.trials(study.id) == (promoted,)
        assert promoted == paused.promoted(1.0)
        done = store.start(study.id, promoted).done(a_measurement(0.9))
        store.finish(study.id, done)
        assert store.trials(study.id) == (done,)
        assert [found.score for found in done.rungs] == [0.5]

    def test_a_promoted_trial_that_is_put_back_still_waits_for_the_larger_share(self, store, study):
        short = replace(a_proposal(), fidelity=Fidelity(share=0.25))
        paused = store.start(study.id, store.add_trial(study.id, short)).done(a_measurement(0.5))
        store.finish(study.id, paused)
        promoted = store.promote(study.id, paused, 1.0)

        store.put_back(study.id, store.start(study.id, promoted))

        assert store.trials(study.id) == (promoted,)

    @pytest.mark.parametrize(
        "end",
        [
            lambda trial: trial.done(a_measurement()),
            lambda trial: trial.done(a_measurement(score=math.inf, predictions=b"")),
            lambda trial: trial.failed("bad file name \udcff, zero byte \x00, and ä"),
            lambda trial: trial.out_of_memory("1 GiB was wanted"),
        ],
        ids=["complete", "without predictions", "failed", "out of memory"],
    )
    def test_what_is_finished_is_read_back_equal(self, store, study, end):
        """Well or badly, with any text in the failure."""
        trial = end(store.start(study.id, store.add_trial(study.id, a_proposal())))
        store.finish(study.id, trial)

        assert store.trials(study.id) == (trial,)

    def test_trials_can_be_listed_without_their_predictions(self, store, study):
        """All else of them is there, and what is kept stays whole."""
        trial = store.start(study.id, store.add_trial(study.id, a_proposal()))
        store.finish(study.id, trial.done(a_measurement()))
        waiting = store.add_trial(study.id, a_proposal(1))

        bare = trial.done(a_measurement(predictions=b""))
        assert store.trials(study.id, predictions=False) == (bare, waiting)
        assert store.trials(study.id) == (trial.done(a_measurement()), waiting)

    def test_a_training_that_diverged_keeps_its_nan(self, store, study):
        """And may be finished again, though nan differs from itself."""
        started = store.start(study.id, store.add_trial(study.id, a_proposal()))
        for _ in range(2):
            store.finish(study.id, started.done(a_measurement(score=float("nan"))))

        (known,) = store.trials(study.id)
        assert math.isnan(known.score)
        assert known.state == "complete"

    def test_finishing_twice_with_an_equal_trial_changes_nothing(self, store, study):
        """So that a runner may repeat what it is not sure to have said."""
        started = store.start(study.id, store.add_trial(study.id, a_proposal()))
        for _ in range(2):
            store.finish(study.id, started.done(a_measurement()))

        assert store.trials(study.id) == (started.done(a_measurement()),)

    def test_a_result_is_never_replaced_by_another_one(self, store, study):
        """The first stays; a second runner is told."""
        started = store.start(study.id, store.add_trial(study.id, a_proposal()))
        store.finish(study.id, started.done(a_measurement(0.9)))

        with pytest.raises(StudyError, match=r"trial 0 of study .* has already ended \(complete\)"):
            store.finish(study.id, started.done(a_measurement(0.1)))
        assert store.trials(study.id)[0].score == 0.9

    def test_a_trial_that_was_never_added_can_be_neither_started_nor_finished(self, store, study):
        """The number is named."""
        unknown = Trial(number=7, proposal=a_proposal())

        with pytest.raises(StudyError, match="has no trial 7: add it first"):
            store.start(study.id, unknown)
        with pytest.raises(StudyError, match="has no trial 7: add it first"):
            store.finish(study.id, unknown.failed("it broke"))

    # Answers

    def test_a_study_has_no_answer_until_one_is_saved(self, store, study):
        """Answer and plan are then read back equal."""
        assert store.answer(study.id) is None

        store.save_answer(study.id, an_answer(), a_plan())

        assert store.answer(study.id) == (an_answer(), a_plan())

    def test_a_later_answer_replaces_an_earlier_one(self, store, study):
        """More trials may change what a study has found."""
        for score in (0.90, 0.92):
            store.save_answer(study.id, an_answer(score), a_plan(score))

        assert store.answer(study.id) == (an_answer(0.92), a_plan(0.92))

    # Leases

    def test_a_study_is_run_by_one_process_at_a_time(self, store, study, surroundings, neighbour):
        """The other one reads who runs it and what can be done."""
        ours, surroundings.process = surroundings.process, neighbour
        with store.lease(study.id):
            surroundings.process = ours
            surroundings.seconds += 5
            expected = (
                rf"study {study.id} is being run by process {neighbour.pid} on host "
                rf"{neighbour.host} \(last sign of life 5 s ago\): wait for it, stop it, or use"
            )
            with pytest.raises(StudyError, match=expected), store.lease(study.id):
                pytest.fail("two processes hold the study")

    def test_studies_are_held_apart(self, store, study, surroundings, neighbour):
        """A second process may run another study of the same store."""
        store.add_study(a_study(1))
        with store.lease(study.id):
            surroundings.process = neighbour
            with store.lease(a_study(1).id) as lease:
                lease.renew()

    def test_a_study_is_free_after_the_block(self, store, study, surroundings, neighbour):
        """Also when the block is left by an exception."""
        with pytest.raises(KeyboardInterrupt), store.lease(study.id):
            raise KeyboardInterrupt

        surroundings.process = neighbour
        with store.lease(study.id) as lease:
            lease.renew()

    def test_a_dead_holder_is_followed_at_once(self, store, study, surroundings):
        """No waiting after a crash on the same machine."""
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            ours, surroundings.process = surroundings.process, process_of(child.pid)
            abandoned = store.lease(study.id)
            abandoned.__enter__()
            child.kill()

        surroundings.process = ours
        with store.lease(study.id) as lease:
            lease.renew()

    def test_a_holder_whose_number_went_to_another_process_is_dead(
        self, store, study, surroundings, neighbour
    ):
        """The same process id with another start time is another process."""
        ours, surroundings.process = surroundings.process, replace(neighbour, started=1)
        abandoned = store.lease(study.id)
        abandoned.__enter__()

        surroundings.process = ours
        with store.lease(study.id) as lease:
            lease.renew()

    def test_an_abandoned_lease_of_the_same_process_is_taken_over(self, store, study, surroundings):
        """As in a notebook where a search was stopped half-way; the old one learns of it."""
        with store.lease(study.id) as old, store.lease(study.id) as new:
            surroundings.seconds += 11
            new.renew()
            with pytest.raises(StudyError, match="was taken over by another process"):
                old.renew()

    @pytest.mark.parametrize("where", [{"host": "elsewhere"}, {"namespace": "pid:[7]"}])
    def test_a_holder_that_cannot_be_asked_is_lost_after_two_minutes(
        self, store, study, surroundings, where
    ):
        """On another machine, or in another container of the same name."""
        ours = surroundings.process
        surroundings.process = replace(ours, **where)
        abandoned = store.lease(study.id)
        abandoned.__enter__()
        surroundings.process = ours

        surroundings.seconds += 119
        with pytest.raises(StudyError, match="last sign of life 119 s ago"):
            store.lease(study.id).__enter__()
        surroundings.seconds += 2
        with store.lease(study.id) as lease:
            lease.renew()

    def test_a_living_process_of_this_machine_keeps_its_study_however_silent(
        self, store, study, surroundings, neighbour
    ):
        """Reading a large model is silent, and a second runner would measure everything twice."""
        ours = surroundings.process
        surroundings.process = neighbour
        with store.lease(study.id):
            surroundings.process = ours
            surroundings.seconds += 9_999
            with pytest.raises(StudyError, match=f"being run by process {neighbour.pid}"):
                store.lease(study.id).__enter__()

    def test_a_trial_that_is_put_back_was_never_started(self, store, study):
        """It waits again, and the attempt does not count."""
        waiting = store.add_trial(study.id, a_proposal())
        store.put_back(study.id, store.start(study.id, waiting))

        assert store.trials(study.id) == (waiting,)

    def test_a_trial_that_has_ended_is_not_put_back(self, store, study):
        """What was measured stays."""
        started = store.start(study.id, store.add_trial(study.id, a_proposal()))
        ended = started.failed("ValueError")
        store.finish(study.id, ended)
        store.put_back(study.id, started)

        assert store.trials(study.id) == (ended,)

    def test_signs_of_life_keep_a_study(self, store, study, surroundings):
        """They are written every ten seconds at most; nine seconds after one there is no other."""
        ours = surroundings.process
        surroundings.process = replace(ours, host="elsewhere")
        with store.lease(study.id) as lease:
            surroundings.process = ours
            for wait, silence in ((100, 0), (9, 9), (1, 0), (100, 0)):
                surroundings.seconds += wait
                lease.renew()
                with pytest.raises(StudyError, match=f"last sign of life {silence} s ago"):
                    store.lease(study.id).__enter__()

    def test_leaving_a_lease_that_was_taken_over_does_not_free_the_study(
        self, store, study, surroundings, neighbour
    ):
        """It is the new holder's by then."""
        ours = surroundings.process
        old = store.lease(study.id)
        old.__enter__()
        surroundings.process = replace(neighbour, host="elsewhere")
        surroundings.seconds += 121
        with store.lease(study.id):
            old.__exit__(None, None, None)
            surroundings.process = ours
            with pytest.raises(StudyError, match=f"being run by process {neighbour.pid}"):
                store.lease(study.id).__enter__()
