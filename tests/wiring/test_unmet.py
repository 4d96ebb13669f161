"""What does not take place in a search, though it was asked for or is usual."""

from autopeft.wiring.unmet import unmet
from tests.builders import a_study


def test_that_no_trial_stops_early_or_nothing_is_similar_is_said():
    study = a_study(strategy="autopeft")

    assert list(unmet(study, "auto", None, 30)) == [
        "no earlier study is similar: there is nothing to start from",
        "a third of a training has too few steps to tell much: no trial stops early",
    ]
    assert list(unmet(study, "none", "1", 30)) == []


def test_that_saasbo_would_only_draw_at_random_is_said():
    study = a_study(strategy="saasbo", options={"init": "8"})

    assert list(unmet(study, "none", None, 9)) == []

    [said] = unmet(study, "none", None, 8)
    assert said.startswith("the first 8 trials of saasbo are random draws, and no more are asked")
