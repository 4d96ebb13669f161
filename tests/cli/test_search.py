"""What a search, its estimate and the training of its plan tell on the way."""

import json
import re

import pytest
from transformers import AutoModel
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.errors import OptionError
from tests.kinds import continued, save_causal, write_json
from tests.models import config_of, opinions, save_tiny, save_weights, tokenizer_of, write_rows


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with data, from which commands are run."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "data.csv", opinions(40))
    return tmp_path


def run(*words):
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def searched(command, *more):
    usual = ("--model", "./model", "--data", "data.csv", "--space", "lora", "--budget", "20%",
             "--strategy", "random", "--epochs", "1", "--precision", "fp32")  # fmt: skip
    return run(command, *usual, *more)


STORE = ("--store", "sqlite:///store.db", "--out", "out", "--threads", "1")


def test_a_model_that_no_file_describes_is_searched_with_a_note(here):
    """MPNet's sites are found by its structure, which the report says as well."""
    save_weights(AutoModel.from_config(config_of("mpnet")), here / "model")
    tokenizer_of("mpnet").save_pretrained(here / "model")
    note = (
        "no architecture file names mpnet: its sites were found by its structure; see them with: "
        "autopeft backbone ./model"
    )

    assert note in searched("estimate").stderr
    assert note in searched("search", "--trials", "1", "--finals", "0", *STORE).stderr
    named = ("--configuration", "lora-r8-qv", "--model", "./model", "--data", "data.csv")
    assert note in run("train", *named, "--epochs", "1", "--threads", "1", "--out", "named").stderr
    report = (here / "out" / "report.md").read_text()
    assert (
        "where its sites are was found by its structure: `autopeft backbone ./model` shows them"
        in report
    )


def test_a_model_that_a_file_describes_needs_no_note(here):
    save_tiny(here / "model")

    assert searched("estimate").stderr == ""


def test_what_a_tiny_model_takes_is_told_with_digits_that_say_something(here):
    save_tiny(here / "model")

    told = " ".join(searched("estimate", "--trials", "1", "--finals", "0").stdout.split())

    trial = re.search(r"a trial about (\S+) (s|min), \d+ steps?", told)
    assert trial is not None, told
    assert float(trial[1]) > 0
    assert "for 1 training, finals included" in told


def test_that_prompts_shorten_texts_is_said(here):
    save_tiny(here / "model")
    space = "name: ours\ngroups: [{slots: ['prompt_tuning@*'], sizes: [0, 1, 10]}]"
    (here / "space.yaml").write_text(space)

    assert (
        "texts are cut to 30 tokens instead of 128, so that the prompts before them have "
        "positions too"
    ) in searched("estimate", "--space", "space.yaml").stderr


def test_a_language_model_is_told_with_its_perplexity(here):
    """On every line of progress, in both tables, in the report, and after training the plan."""
    save_causal(here / "model")
    write_json(here / "data.jsonl", continued(60))
    words = ("--data", "data.jsonl", "--task", "causal_lm", "--trials", "1", "--finals", "0")

    done = searched("search", *words, *STORE)
    trained = run("train", "out/plan.json", "--threads", "1")

    lines = [line for line in done.stderr.splitlines() if "log_likelihood -" in line]
    assert lines
    assert all(", perplexity " in line for line in lines)
    assert "perplexity" in done.stdout.splitlines()[1]
    report = (here / "out" / "report.md").read_text()
    assert report.count("| log_likelihood | perplexity |") == 2
    assert trained.stdout.count(", perplexity ") == 2


def test_how_it_is_trained_is_chosen_and_planned(here):
    save_tiny(here / "model")
    chosen = ("--batch-size", "8", "--max-length", "9", "--rank-scaling", "inverse")

    searched("search", "--trials", "1", "--finals", "0", *chosen, "--gate-mean", "all", *STORE)

    plan = json.loads((here / "out" / "plan.json").read_text())
    assert (plan["recipe"]["batch_size"], plan["task"]["max_length"]) == (8, 9)
    assert (plan["recipe"]["rank_scaling"], plan["recipe"]["gate_mean"]) == ("inverse", "all")
    assert plan["scaffold_parameters"] == 0


@pytest.mark.parametrize("option", ["--batch-size", "--max-length"])
def test_a_plan_has_its_own_recipe(here, option):
    (here / "plan.json").write_text("{}")

    with pytest.raises(OptionError, match="columns, task and recipe are the plan's own"):
        run("train", "plan.json", option, "16")


def test_a_published_configuration_is_trained_as_it_is_told(here):
    save_tiny(here / "model")

    run("train", "--configuration", "lora-r8-qv", "--model", "./model", "--data", "data.csv",
        "--epochs", "1", "--threads", "1", "--out", "out", "--batch-size", "8", "--max-length",
        "9", "--rank-scaling", "inverse_sqrt")  # fmt: skip

    plan = json.loads((here / "out" / "plan.json").read_text())
    assert (plan["recipe"]["batch_size"], plan["task"]["max_length"]) == (8, 9)
    assert plan["recipe"]["rank_scaling"] == "inverse_sqrt"


def test_that_no_trial_stops_early_or_nothing_is_similar_is_said(here):
    """Of 24 examples in one epoch a third of a training is less than a step."""
    save_tiny(here / "model")
    words = ("--trials", "1", "--finals", "0", "--strategy", "autopeft", "--warm-start", "auto")

    said = searched("search", *words, *STORE).stderr

    assert "no trial stops early" in said
    assert "no earlier study is similar" in said
