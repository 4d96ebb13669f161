"""What a strategy needs is prepared when it first asks, and who watches hears of it."""

import pytest

from autopeft.wiring.watched import Watch, WatchedInheritance, WatchedStructures


class Inner:
    problem = "none yet"

    def __init__(self):
        self.prepared = 0

    def prepare(self):
        self.prepared += 1
        yield 0.5
        yield 1.0

    def scores(self, configurations):
        assert self.prepared
        yield from map(len, configurations)

    def chances(self):
        return ((0.25, 0.75),)

    def found(self):
        return ("a structure",)


def test_scores_are_prepared_for_once_when_they_are_first_asked_for():
    inner, heard, scored = Inner(), [], []
    watched = WatchedInheritance(inner, Watch(heard.append, scored.append))
    assert (inner.prepared, watched.problem) == (0, "none yet")

    assert list(watched.scores(["ab", "c"])) == [2, 1]
    assert list(watched.scores(["abc"])) == [3]

    assert (inner.prepared, heard, scored) == (1, [0.5, 1.0], [1, 2, 3])
    assert watched.seconds >= 0


def test_structures_are_prepared_by_who_needs_them():
    inner, heard = Inner(), []
    watched = WatchedStructures(inner, Watch(heard.append))

    assert list(watched.prepare()) == heard == [0.5, 1.0]
    assert (watched.chances(), watched.found()) == (inner.chances(), inner.found())
    assert watched.problem == "none yet"


class Ticking:
    """Takes a second of its own clock for every event."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def events(self, count):
        for number in range(count):
            self.now += 1.0
            yield number


def test_only_the_seconds_of_what_is_followed_count():
    clock = Ticking()
    watch = Watch(clock=clock)
    for _ in watch.over(clock.events(3)):
        clock.now += 10.0  # what is done with an event

    assert watch.seconds == 3.0


def test_seconds_of_a_run_that_was_killed_count_in_the_next(tmp_path):
    """At most the last five of them are lost, since they are written now and then."""
    file, clock = tmp_path / "seconds" / "study.txt", Ticking()
    killed = Watch(file=file, clock=clock)
    events = killed.over(clock.events(100))
    for _ in range(7):
        next(events)

    after = Watch(file=file, clock=clock)
    assert after.seconds == 5.0
    list(after.over(clock.events(2)))

    assert Watch(file=file).seconds == 7.0


def test_what_is_stopped_in_an_orderly_way_loses_no_second(tmp_path):
    file, clock = tmp_path / "study.txt", Ticking()
    events = Watch(file=file, clock=clock).over(clock.events(100))
    next(events)
    events.close()

    assert Watch(file=file).seconds == 1.0


def test_who_hears_of_the_progress_may_end_it_and_the_work_is_closed_at_once():
    """Such as a worker that is to stop: a training ends there, and keeps its state."""
    ended = []

    class Long(Inner):
        def prepare(self):
            try:
                yield 0.5
            except GeneratorExit:
                ended.append("in order")
                raise

    def told(fraction):
        raise InterruptedError(str(fraction))

    watched = WatchedInheritance(Long(), Watch(told))
    with pytest.raises(InterruptedError) as held:  # with all frames that it came through
        list(watched.scores(["ab"]))

    assert ended == ["in order"]
    assert str(held.value) == "0.5"


@pytest.mark.parametrize("text", ["", "many", "nan", "-3", "\udcff"])
def test_a_file_that_is_no_number_of_seconds_is_none(tmp_path, text):
    file = tmp_path / "study.txt"
    file.write_text(text, "utf-8", "surrogateescape")

    assert Watch(file=file).seconds == 0.0


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "file").touch()
    clock = Ticking()
    watch = Watch(file=tmp_path / "file" / "study.txt", clock=clock)

    assert list(watch.over(clock.events(9))) == list(range(9))
    assert watch.seconds == 9.0


def test_a_sign_of_life_is_given_after_every_bit_of_work_within_the_block():
    clock, signs = Ticking(), []
    watch = Watch(clock=clock)
    with watch.signing(lambda: signs.append(clock.now)):
        list(watch.over(clock.events(3)))
    list(watch.over(clock.events(3)))

    assert signs == [1.0, 2.0, 3.0]
