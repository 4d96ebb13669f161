"""What a strategy needs is prepared when it first asks, and who watches hears of it."""

from autopeft.wiring.watched import WatchedInheritance, WatchedStructures


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
    inner, heard = Inner(), []
    watched = WatchedInheritance(inner, heard.append)
    assert (inner.prepared, watched.problem) == (0, "none yet")

    assert list(watched.scores(["ab", "c"])) == [2, 1]
    assert list(watched.scores(["abc"])) == [3]

    assert (inner.prepared, heard) == (1, [0.5, 1.0])
    assert watched.seconds >= 0


def test_structures_are_prepared_by_who_needs_them():
    inner, heard = Inner(), []
    watched = WatchedStructures(inner, heard.append)

    assert list(watched.prepare()) == heard == [0.5, 1.0]
    assert (watched.chances(), watched.found()) == (inner.chances(), inner.found())
    assert watched.problem == "none yet"
