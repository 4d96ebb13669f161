"""What is shown while a search runs, and of its trials."""

from dataclasses import replace

import pytest

from autopeft.cli.console import SearchProgress, show_trials, trial_json
from autopeft.trial import Fidelity, Purpose, Trial
from tests.builders import TASK, a_measurement, a_proposal, a_study, a_trial

RUNGS = (0.111111, 0.333333, 1.0)
STUDY = a_study(rungs=RUNGS)


def waiting(number, **changes):
    return Trial(number=number, proposal=a_proposal(fidelity=Fidelity(share=RUNGS[0]), **changes))


def paused(number, *scores, **changes):
    """Return a trial that was measured at one rung after another."""
    trial = waiting(number, **changes)
    for rung, score in enumerate(scores):
        trial = trial.promoted(RUNGS[rung]) if rung else trial
        trial = trial.started().done(a_measurement(score, predictions=[1, 0]))
    return trial


def followed(capsys, *trials, study=STUDY, known=()):
    """Return the lines that are shown of these trials, one after another."""
    with SearchProgress(study, planned=10) as progress:
        progress.known(known)
        for trial in trials:
            progress.saw(trial)
    return capsys.readouterr().err.splitlines()


class TestProgress:
    """A line for every event where there is no terminal."""

    def test_a_trial_begins_pauses_goes_on_and_ends(self, capsys):
        first, second = paused(7, 0.81), paused(7, 0.81, 0.85)
        lines = followed(
            capsys,
            waiting(7).started(),
            waiting(7).started().running(0.5),
            first,
            first.promoted(RUNGS[1]).started(),
            first.promoted(RUNGS[1]).started().running(0.5),
            second,
            second.promoted(1.0).started(),
            paused(7, 0.81, 0.85, 0.9),
        )

        begun = ("trial   7 begins", "trial   7 goes on to 33%", "trial   7 goes on to 100%")
        assert [line for line in lines if line.startswith(begun)] == [lines[0], *lines[2:6:2]]
        assert lines[1].startswith("trial   7 paused at 11%: accuracy 0.8100  lora@")
        assert lines[3].startswith("trial   7 paused at 33%: accuracy 0.8500  lora@")
        assert lines[5].startswith("trial   7 accuracy 0.9000  lora@")
        assert len(lines) == 6

    def test_a_trial_that_is_promoted_counts_once(self, capsys):
        first = paused(7, 0.81)
        lines = followed(capsys, first, first.promoted(RUNGS[1]).started(), paused(7, 0.81, 0.85))

        assert "[1 of at most 10, best 0.8100 at 11%, " in lines[0]
        assert "[1 of at most 10, best 0.8500 at 33%, " in lines[2]

    def test_the_best_is_the_best_of_those_that_were_trained_longest(self, capsys):
        lines = followed(
            capsys,
            paused(0, 0.5, 0.6, 0.7),
            paused(1, 0.9),
            a_trial(2, 0.99, purpose=Purpose.FINAL),
        )

        assert all("best 0.7000," in line for line in lines)

    def test_what_an_earlier_run_has_measured_is_known(self, capsys):
        lines = followed(capsys, paused(2, 0.5), known=[paused(0, 0.6), paused(1, 0.7), waiting(3)])

        assert lines[0] == "2 trials are known from an earlier run"
        assert "[3 of at most 10, best 0.7000 at 11%, " in lines[1]

    def test_a_failure_says_why_and_that_nothing_was_measured(self, capsys):
        lines = followed(capsys, waiting(0).started().out_of_memory("MemoryError"))

        assert lines[0].startswith("trial   0 oom: MemoryError")
        assert "none measured yet" in lines[0]

    def test_preparing_is_told_at_every_tenth(self, capsys):
        with SearchProgress(STUDY, planned=10) as progress:
            for step in range(101):
                progress.preparing(step / 100, "supernet")
        lines = capsys.readouterr().err.splitlines()

        assert lines[:3] == [
            "preparing the supernet", "preparing the supernet: 10%", "preparing the supernet: 20%",
        ]  # fmt: skip
        assert lines[-1].startswith("the supernet is prepared after ")
        assert len(lines) <= 11
        assert progress.seconds > 0

    def test_scoring_is_told_ever_less_often(self, capsys):
        with SearchProgress(STUDY, planned=10) as progress:
            for count in range(1, 121):
                progress.scoring(count, "supernet")

        assert capsys.readouterr().err.splitlines() == [
            f"scored {count} configurations with the supernet" for count in (10, 20, 50, 100)
        ]

    @pytest.mark.parametrize("ends", [True, False], ids=["prepared", "given up"])
    def test_a_terminal_shows_bars_and_takes_them_away(self, capsys, monkeypatch, ends):
        monkeypatch.setenv("FORCE_COLOR", "1")
        first = paused(7, 0.81)
        with SearchProgress(STUDY, planned=10) as progress:
            for fraction in (0.2, 0.6, 1.0 if ends else 0.7):
                progress.preparing(fraction, "supernet")
            progress.scoring(3, "supernet")
            for trial in (waiting(7).started(), first, first.promoted(RUNGS[1]).started()):
                progress.saw(trial)
            progress.saw(paused(7, 0.81, 0.85))

            assert [task.description for task in progress._bars.tasks] == []
        shown = capsys.readouterr().err

        assert "goes on to 33%" in shown
        assert ("is prepared after" in shown) is ends


class TestTable:
    """The trials of a study."""

    def shown(self, capsys, study, *trials):
        show_trials(study, trials)
        return capsys.readouterr().out

    def test_it_has_a_column_for_every_rung_and_says_what_has_paused(self, capsys):
        shown = self.shown(capsys, STUDY, paused(0, 0.5, 0.6, 0.7), paused(1, 0.4)).splitlines()

        assert shown[1].split()[:6] == ["trial", "purpose", "at", "11%", "at", "33%"]
        assert shown[2].split()[:5] == ["0", "search", "0.5000", "0.6000", "0.7000"]
        assert shown[3].split()[:4] == ["1", "search", "0.4000", "paused"]
        assert "4.5" in shown[2]

    def test_inherited_scores_have_a_column_where_there_are_any(self, capsys):
        probe = paused(0, 0.5, inherited=0.875, label="probe")

        shown = self.shown(capsys, STUDY, probe, waiting(1))
        assert "inherited" in shown
        assert "0.8750" in shown
        assert "probe: lora@attention.query" in shown
        final = a_trial(2, 0.5, label="probe", of=0, purpose=Purpose.FINAL)
        assert "trial 0 again, seed 0: lora@" in self.shown(capsys, STUDY, final)
        assert "inherited" not in self.shown(capsys, STUDY, waiting(1))

    def test_a_perplexity_is_that_of_a_whole_training(self, capsys):
        """Of -1 nats a token it is 2.718."""
        study = replace(STUDY, task=replace(TASK, metric="log_likelihood"))

        shown = self.shown(capsys, study, paused(0, -3.0, -2.0, -1.0), paused(1, -1.0))

        assert shown.count("2.718") == 1


def test_the_json_of_a_trial_has_its_rungs_and_no_predictions():
    document = trial_json(paused(0, 0.5, 0.6))

    assert (document["state"], document["proposal"]["fidelity"]) == ("paused", {"share": RUNGS[1]})
    assert [found["score"] for found in document["rungs"]] == [0.5]
    assert document["measurement"]["share"] == RUNGS[1]
    assert "predictions" not in {**document["measurement"], **document["rungs"][0]}
    assert trial_json(waiting(1))["measurement"] is None
