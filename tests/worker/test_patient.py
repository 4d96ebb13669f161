"""A store that is waited for where that can do no harm."""

import pytest

from autopeft.errors import StoreError
from autopeft.storage.memory import MemoryStore
from autopeft.trial import State
from autopeft.worker.patient import PatientStore
from autopeft.worker.stops import ShutdownError
from tests.builders import a_measurement, a_proposal, a_study

STUDY = a_study()


class Failing:
    """Wraps a store whose calls fail a number of times."""

    def __init__(self, inner, times):
        self._inner = inner
        self.left = times

    def __getattr__(self, name):
        act = getattr(self._inner, name)

        def call(*arguments, **named):
            if self.left:
                self.left -= 1
                raise StoreError("the store cannot be used")
            return act(*arguments, **named)

        return call


@pytest.fixture
def store():
    made = MemoryStore()
    made.add_study(STUDY)
    return made


def patient(store, times, *, look=lambda: None, patience=10.0, **others):
    usual = {"again": (0.0,)} | others
    return PatientStore(Failing(store, times), look, patience=patience, **usual)


def a_running(store):
    return store.start(STUDY.id, store.add_trial(STUDY.id, a_proposal()))


def test_the_end_of_a_trial_is_written_when_the_store_is_back(store):
    ended = a_running(store).done(a_measurement())

    patient(store, 3).finish(STUDY.id, ended)

    assert store.trials(STUDY.id)[0].state is State.COMPLETE


def test_how_long_it_was_waited_for_is_told(store):
    """Once, when it is over; nothing where there was nothing to wait for."""
    told = []

    patient(store, 2, again=(0.001,), waited=told.append).finish(
        STUDY.id, a_running(store).done(a_measurement())
    )
    patient(store, 0, waited=told.append).finish(STUDY.id, a_running(store).done(a_measurement()))

    assert len(told) == 1
    assert told[0] >= 0.002


def test_patience_ends(store):
    ended = a_running(store).done(a_measurement())

    with pytest.raises(StoreError, match="cannot be used"):
        patient(store, 10**6, patience=0.01).finish(STUDY.id, ended)


def test_it_is_not_waited_for_by_whoever_is_to_stop(store):
    def look():
        raise ShutdownError("the worker is shutting down")

    waiting = PatientStore(Failing(store, 9), look, again=(0.1,))
    with pytest.raises(ShutdownError, match="shutting down"):
        waiting.finish(STUDY.id, a_running(store).done(a_measurement()))


def test_a_new_trial_is_not_tried_twice(store):
    """It might be there although the answer was lost: then there would be two of it."""
    with pytest.raises(StoreError, match="cannot be used"):
        patient(store, 1).add_trial(STUDY.id, a_proposal())


def test_a_lease_survives_signs_of_life_that_fail():
    class Lease:
        def renew(self):
            raise StoreError("the store cannot be used")

    class Leasing:
        def lease(self, study_id):
            from contextlib import nullcontext

            return nullcontext(Lease())

    with PatientStore(Leasing(), lambda: None, patience=60.0).lease(STUDY.id) as lease:
        lease.renew()
        lease.renew()
    with (
        PatientStore(Leasing(), lambda: None, patience=-1.0).lease(STUDY.id) as lease,
        pytest.raises(StoreError, match="cannot be used"),
    ):
        lease.renew()


def test_all_else_is_the_stores_own(store):
    kept = patient(store, 0)
    kept.add_study(STUDY)
    trial = kept.start(STUDY.id, kept.add_trial(STUDY.id, a_proposal()))
    kept.put_back(STUDY.id, trial)

    assert kept.study(STUDY.id) == STUDY
    assert kept.studies() == (STUDY,)
    assert [t.state for t in kept.trials(STUDY.id)] == [State.WAITING]
    assert kept.answer(STUDY.id) is None
