"""Races: when a score was reached, by how much sooner, and never a better figure than is known."""

import json
from dataclasses import asdict

import pytest

# imported by name, like the scripts do: see conftest.py
from races import Point, Ratio, Run, draw, middle, ratio, standard_error, stepped, tables  # isort: skip


def a_run(contestant: str, *scores: tuple[float, float], seed: int = 0, end: float = 100) -> Run:
    points = tuple(Point(seconds=s, cpu=2 * s, score=score) for s, score in scores)
    return Run(
        contestant=contestant, task="reviews", seed=seed, points=points, stopped=1,
        seconds=end, cpu=2 * end, test=0.5, again=0.5,
    )  # fmt: skip


def test_a_score_is_reached_when_it_is_first_met_and_not_when_it_is_last():
    run = a_run("tpe", (10, 0.7), (20, 0.8), (30, 0.75), (40, 0.8))

    assert run.best == 0.8
    assert run.reached(0.8) == 20
    assert run.reached(0.71) == 20
    assert run.reached(0.81) is None
    assert run.reached(0.8, "cpu") == 40


def test_a_ratio_is_the_others_time_by_ours():
    ours, other = a_run("autopeft", (10, 0.8)), a_run("tpe", (20, 0.7), (50, 0.8))

    assert ratio(ours, other, 0.8) == Ratio(value=5.0)
    assert ratio(ours, other, 0.7) == Ratio(value=2.0)


def test_where_one_never_got_there_only_a_bound_is_said():
    """A search of 100 seconds that did not reach a score would have needed longer."""
    better, worse = a_run("a", (10, 0.9)), a_run("b", (20, 0.8))

    assert ratio(better, worse, 0.9) == Ratio(value=10.0, bound="at least")
    assert ratio(worse, better, 0.9) == Ratio(value=0.1, bound="at most")
    assert ratio(better, worse, 0.95) is None


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ([Ratio(value=2.0), Ratio(value=9.0), Ratio(value=4.0)], Ratio(value=4.0)),
        ([Ratio(value=2.0), Ratio(value=4.0)], Ratio(value=3.0)),
        (  # what we never reached is the worst of all, however long we tried
            [Ratio(value=7.0, bound="at most"), Ratio(value=2.0), Ratio(value=4.0)],
            Ratio(value=2.0),
        ),
        (
            [Ratio(value=7.0, bound="at most"), Ratio(value=2.0)],
            Ratio(value=7.0, bound="at most"),
        ),
        (
            [Ratio(value=3.0), Ratio(value=5.0, bound="at least"), Ratio(value=9.0)],
            Ratio(value=5.0, bound="at least"),
        ),
    ],
)
def test_the_median_is_never_better_than_what_is_known(ratios, expected):
    assert middle(ratios) == expected


def test_the_tables_compare_seed_by_seed_at_both_bests():
    """The threshold is the best of either; a seed that only one has run is left out."""
    runs = [
        a_run("autopeft", (10, 0.80), (40, 0.90)),
        a_run("tpe", (60, 0.80)),
        a_run("autopeft", (20, 0.80), seed=1),
        a_run("tpe", (40, 0.80), seed=1),
        a_run("tpe", (40, 0.80), seed=2),
    ]
    text = tables(runs, "autopeft", 1_000)

    assert "| reviews | tpe | 3 | 0.8000 (0.8000 to 0.8000) | 40 s (40 to 60) |" in text
    assert "| reviews | tpe | other | 0 | 4.0 | 6.0, 2.0 | 4.0 |" in text
    assert "| reviews | tpe | ours | 0 | at least 2.2 | at least 2.5, 2.0 |" in text
    assert "| reviews | autopeft | o" not in text


def test_a_standard_error_is_that_of_a_share():
    """Half of a hundred right: √(0.25 / 100)."""
    assert standard_error(0.5, 100) == pytest.approx(0.05)


def test_the_line_of_the_figure_rises_with_the_best_and_ends_with_the_search():
    run = a_run("tpe", (10, 0.7), (20, 0.6), (30, 0.8))

    assert stepped(run) == ([10, 30, 100], [0.7, 0.8, 0.8])
    assert stepped(a_run("tpe")) == ([], [])


def test_a_run_is_read_back_equal():
    run = a_run("tpe", (10, 0.7))

    assert Run.from_json(json.loads(json.dumps(asdict(run)))) == run


def test_the_figure_is_drawn_and_says_who_is_who(tmp_path):
    """Also a search that brought nothing to its end, and a folder that is not there yet."""
    file = tmp_path / "figures" / "against.svg"
    draw([a_run("autopeft", (10, 0.7)), a_run("plain", (10, 0.7), (20, 0.8)), a_run("tpe")], file)

    text = file.read_text("utf-8")
    assert "autopeft" in text
    assert "plain" in text
    assert "tpe" not in text
