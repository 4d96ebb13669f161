"""The commands that only look, and what all commands say of themselves."""

import json

import pytest
import typer.main
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.trial import Fidelity, Purpose
from autopeft.wiring.sockets import store_of
from tests.builders import a_measurement, a_proposal, a_study

COMMANDS = typer.main.get_command(app)


def every(group, name=""):
    for word, command in group.commands.items():
        yield f"{name} {word}".strip()
        if hasattr(command, "commands"):
            yield from every(command, f"{name} {word}".strip())


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


class TestPareto:
    """The front of a study, from the store."""

    STUDY = a_study(rungs=(0.1, 1.0))

    @pytest.fixture
    def store(self):
        """Fill a store with two baselines and two searched trials, one of which has paused."""
        store = store_of("sqlite:///store.db")
        store.add_study(self.STUDY)
        for purpose, early, score, parameters in (
            (Purpose.BASELINE, 0.5, 0.6, 300),
            (Purpose.SEARCH, 0.55, 0.8, 200),
            (Purpose.SEARCH, 0.99, None, 10),
        ):
            proposal = a_proposal(purpose=purpose, fidelity=Fidelity(share=0.1))
            trial = store.start(self.STUDY.id, store.add_trial(self.STUDY.id, proposal))
            trial = trial.done(a_measurement(early, parameters))
            store.finish(self.STUDY.id, trial)
            if score is not None:
                further = store.start(self.STUDY.id, store.promote(self.STUDY.id, trial, 1.0))
                store.finish(self.STUDY.id, further.done(a_measurement(score, parameters)))

    def run(self, *words):
        command = [*words, "--store", "sqlite:///store.db"]
        return CliRunner().invoke(app, command, catch_exceptions=False).stdout

    @pytest.mark.usefixtures("store")
    def test_it_shows_who_is_on_it_and_what_it_covers(self):
        shown = self.run("pareto", "latest").splitlines()

        assert shown[0].strip() == f"The front of study {self.STUDY.id}"
        assert shown[1].split() == ["trial", "purpose", "score", "params", "configuration"]
        assert shown[2].split()[:4] == ["1", "search", "0.8000", "200"]
        assert shown[3] == "hypervolume 0.163636"

    @pytest.mark.usefixtures("store")
    def test_as_json_it_has_the_hypervolume_after_each_trial(self):
        """From a score of 0.5 and 440 parameters; what has paused adds nothing."""
        found = json.loads(self.run("pareto", "latest", "--json"))

        assert found["objectives"] == ["score", "params"]
        assert found["reference"] == pytest.approx({"score": 0.5, "params": 440})
        assert found["hypervolumes"] == pytest.approx(
            [gain * fewer / 440 for gain, fewer in ((0.1, 140), (0.3, 240), (0.3, 240))]
        )
        assert found["hypervolume"] == found["hypervolumes"][-1]
        assert [(t["trial"], t["score"], t["params"]) for t in found["front"]] == [(1, 0.8, 200)]

    def test_a_study_without_a_whole_training_says_so(self):
        store_of("sqlite:///store.db").add_study(self.STUDY)

        assert "has trained no trial to the end yet" in self.run("pareto", "latest")
        assert json.loads(self.run("pareto", "latest", "--json"))["front"] == []

    @pytest.mark.usefixtures("store")
    def test_trials_and_show_tell_what_has_paused(self):
        trials = json.loads(self.run("trials", "latest", "--json"))

        assert [trial["state"] for trial in trials] == ["complete", "complete", "paused"]
        assert [len(trial["rungs"]) for trial in trials] == [1, 1, 0]
        assert "at 10%" in self.run("trials", "latest")
        assert "has measured 3 trials, 1 of them paused," in self.run("show", "latest")

    @pytest.mark.usefixtures("store")
    def test_the_best_of_a_study_was_trained_to_the_end(self):
        assert json.loads(self.run("studies", "--json"))[0]["best"] == 0.8


@pytest.mark.parametrize("command", list(every(COMMANDS)))
def test_help_speaks_to_users_alone(command):
    """Sections for readers of the code have no place in it."""
    shown = CliRunner().invoke(app, [*command.split(), "--help"], catch_exceptions=False).stdout

    assert "Usage" in shown
    assert not [section for section in ("Raises:", "Args:", "Returns:") if section in shown]
