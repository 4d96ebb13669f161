"""Whether there is time left for another trial."""

from dataclasses import replace

import pytest

from autopeft.clock import Clock
from autopeft.study import Limits
from autopeft.trial import Fidelity, Trial
from tests.builders import a_measurement, a_proposal


def a_run(seconds: float, share: float = 1.0, before: Trial | None = None) -> Trial:
    """Return a trial that was trained up to a share in so many seconds."""
    fresh = Trial(number=0, proposal=replace(a_proposal(), fidelity=Fidelity(share=share)))
    return (before.promoted(share) if before else fresh).done(a_measurement(seconds=seconds))


def a_clock(limit: float | None) -> Clock:
    return Clock(Limits(trials=9, seconds=limit), lambda: 100.0)


def test_without_a_limit_there_is_always_room():
    clock = a_clock(None)
    clock.saw(a_run(1e9))

    assert clock.has_room(10**6)


def test_the_first_trial_is_always_tried():
    assert a_clock(0.001).has_room(9)


def test_trials_are_taken_to_last_as_long_as_the_longest_of_the_latest_three():
    clock = a_clock(61.0)
    for seconds in (500.0, 10.0, 20.0, 5.0):
        clock.saw(a_run(seconds))

    assert clock.has_room(3)
    assert not clock.has_room(4)


def test_a_slow_first_run_leaves_the_search_half_of_the_time():
    """Six finals as slow as it would take all of it, and nothing would have been searched."""
    clock = a_clock(240.0)
    clock.saw(a_run(40.0))

    assert not clock.has_room(7)
    assert clock.has_room(2, later=6)
    assert not clock.has_room(3, later=6)


def test_once_the_first_run_is_long_ago_all_is_kept_that_comes_later():
    clock = a_clock(240.0)
    for seconds in (90.0, 30.0, 30.0, 30.0):
        clock.saw(a_run(seconds))

    assert clock.has_room(1, later=6)
    assert not clock.has_room(1, later=7)


def test_what_failed_tells_nothing():
    clock = a_clock(1.0)
    clock.saw(Trial(number=0, proposal=a_proposal()).started().failed("diverged"))

    assert clock.has_room(1)


@pytest.mark.parametrize(("limit", "room"), [(75.0, True), (73.0, False)])
def test_a_part_is_taken_for_what_the_whole_would_last(limit, room):
    """Half of the 8 s for a tenth are taken for scoring; the rest took 63 s and 4 s of scoring."""
    clock, short = a_clock(limit), a_run(8.0, 0.1)
    clock.saw(short)
    clock.saw(a_run(67.0, 1.0, before=short))

    assert clock.has_room(1) is room
