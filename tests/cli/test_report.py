"""The command that writes reports."""

import importlib.util
import json

import pytest
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.errors import AutopeftError
from autopeft.report import content_of
from autopeft.report.markdown import markdown
from autopeft.wiring.sockets import store_of
from tests.builders import a_study
from tests.test_report import ANSWER, STUDY, TRIALS, a_plan


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


@pytest.fixture
def store(_nothing_set):
    """Fill a store with a study that has an answer."""
    store = store_of("sqlite:///store.db")
    store.add_study(STUDY)
    for trial in TRIALS:
        store.start(STUDY.id, store.add_trial(STUDY.id, trial.proposal))
        if trial.ended:
            store.finish(STUDY.id, trial.__class__(**{
                name: getattr(trial, name) for name in trial.__slots__ if name != "attempts"
            }, attempts=1))  # fmt: skip
    store.save_answer(STUDY.id, ANSWER, a_plan())
    return store


def run(*words):
    result = CliRunner().invoke(app, [*words, "--store", "sqlite:///store.db"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.usefixtures("store")
def test_a_page_is_written_where_it_is_wanted(tmp_path):
    result = run("report", STUDY.id, "-o", "there/report.html")

    page = (tmp_path / "there" / "report.html").read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert result.stdout == f"{ANSWER.sentence()}\n\nreport  there/report.html\n"


@pytest.mark.usefixtures("store")
def test_without_a_name_it_lies_beside_the_plan(tmp_path):
    run("report", "latest")

    assert (tmp_path / "autopeft-runs" / STUDY.id / "report.html").is_file()


def test_show_says_what_the_page_says(store, tmp_path):
    """One of the sections is about what mattered, which report.md of a search has not."""
    run("report", STUDY.id, "-o", "report.md")
    text = (tmp_path / "report.md").read_text("utf-8")
    trials = store.trials(STUDY.id)

    assert run("show", STUDY.id).stdout == text
    assert "## What mattered\n\n3 trials have" not in text  # only two have a score
    assert "## What mattered\n\n2 trials have a score at 100% of a training" in text
    without = markdown(content_of(STUDY, trials, ANSWER, a_plan()))
    assert set(without.splitlines()) <= set(text.splitlines())


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_pictures_are_files_too(tmp_path):
    result = run("report", STUDY.id, "-o", "report.html", "--plots", "plots", "--json")
    document = json.loads(result.stdout)
    kinds = {".svg", ".png"} if importlib.util.find_spec("matplotlib") else {".svg"}
    files = sorted(file.name for file in (tmp_path / "plots").iterdir())

    assert files == sorted(
        f"{name}{kind}" for name in ("front", "hypervolume", "configuration", "course")
        for kind in kinds
    )  # fmt: skip
    assert (document["study"], document["report"]) == (STUDY.id, "report.html")
    assert len(document["plots"]) == len(files)


@pytest.mark.usefixtures("store")
def test_a_form_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(AutopeftError, match=r"cannot tell how to write report.pdf: name a file"):
        run("report", STUDY.id, "-o", "report.pdf")
    assert not (tmp_path / "report.pdf").exists()


@pytest.mark.parametrize("words", [(), ("--ablate",)])
def test_a_study_without_an_answer_is_refused_and_nothing_is_written(store, tmp_path, words):
    other = a_study(seed=9)
    store.add_study(other)

    with pytest.raises(AutopeftError, match=f"study {other.id} has no answer yet: run its search"):
        run("report", other.id, "-o", "new/report.html", *words)
    assert not (tmp_path / "new").exists()


@pytest.mark.usefixtures("store")
def test_an_ablation_without_the_model_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(AutopeftError, match="there is no model directory '/models/tiny'"):
        run("report", STUDY.id, "-o", "new/report.html", "--ablate")
    assert not (tmp_path / "new").exists()
    assert len(store_of("sqlite:///store.db").studies()) == 1
