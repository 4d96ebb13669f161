"""The commands around search spaces, and a published configuration trained without a study."""

import json

import pytest
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.errors import BackboneError, BudgetError, OptionError, SpaceError
from autopeft.plan import Plan
from autopeft.search_spaces.written.named import names
from autopeft.search_spaces.written.reading import known_spaces
from tests.models import opinions, save_tiny, write_rows


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("model"), "bert"))


def run(*words):
    """Run the program in this process; what the user may mend is raised."""
    done = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"}, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_list_names_every_space_with_its_paper():
    documents = json.loads(run("spaces", "--json"))

    assert [document["name"] for document in documents] == [s.name for s in known_spaces()]
    assert all(document["paper"] and document["differs"] for document in documents)
    assert "noah" in run("spaces")


@pytest.mark.parametrize("name", [space.name for space in known_spaces()])
def test_every_space_is_shown_on_a_model(model, name):
    document = json.loads(
        run("spaces", "show", name, "--model", model, "--budget", "20%", "--json")
    )

    assert document["name"] == name
    assert document["configurations"] >= 1
    assert 0 < document["smallest"] <= document["largest"]
    assert {row["slot"] for row in document["slots"]}


def test_what_is_shown_names_sizes_choices_and_what_differs(model):
    text = run("spaces", "show", "noah", "--model", model, "--budget", "20%")

    assert "deep_prompt@attention" in text
    assert "1 5 10" in text
    assert "depth of prompts" in text
    assert "one in a block for lora" in text
    assert "configurations" in text
    assert "fused matrix" in text


def test_where_sizes_follow_from_the_budget_it_is_shown_as_what_limits_them(model, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("groups: [{slots: ['lora@*'], sizes: budget}]")
    words = ("spaces", "show", str(file), "--model", model, "--budget", "5%")

    document = json.loads(run(*words, "--json"))
    assert document["largest_is"] == "at least"
    assert document["largest"] <= document["ceiling"]
    assert "up to the budget, from which sizes follow; found was one of" in run(*words)
    assert json.loads(run(*words[:2], "lora", *words[3:], "--json"))["largest_is"] == "exact"


def test_where_slots_clash_the_largest_that_was_found_is_shown(model, tmp_path):
    sites = "'full@*', 'bitfit@*', 'ln_fit@*', 'layer_norm@*'"
    file = tmp_path / "own.yaml"
    file.write_text(f"groups: [{{slots: [{sites}], sizes: [0, 1]}}]")

    assert "at least " in run("spaces", "show", str(file), "--model", model)


def test_that_nothing_fits_is_said(model):
    text = run("spaces", "show", "shears", "--model", model, "--budget", "100")

    assert "nothing of it fits into 100 parameters: raise the budget" in text


def test_layer_groups_followers_and_switches_are_shown(model):
    assert "one in a layer group" in run(
        "spaces", "show", "s4", "--model", model, "--budget", "20%"
    )
    assert "follows prefix@attention" in run("spaces", "show", "unipelt", "--model", model)
    assert "2 switches" in run("spaces", "show", "autopeft", "--model", model)


def test_a_file_is_checked(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("name: ours\ngroups: [{slots: ['lora@*'], sizes: [0, 1]}]")
    bad.write_text("name: ours\ngroups: [{slots: ['lora@*'], sizes: 4}]")

    assert "ours: 1 groups, nothing wrong" in run("spaces", "check", str(good))
    assert json.loads(run("spaces", "check", str(good), "--json"))["groups"] == 1
    with pytest.raises(SpaceError, match=r"bad\.yaml, line 2: 'sizes' must be .*, not 4"):
        run("spaces", "check", str(bad))


def test_a_model_that_is_not_there_is_refused():
    with pytest.raises(BackboneError):
        run("spaces", "show", "lora", "--model", "/nowhere")


def test_published_configurations_are_listed():
    documents = json.loads(run("spaces", "published", "--json"))

    assert tuple(document["name"] for document in documents) == names()
    assert "s4-t5-base" in run("spaces", "published")


@pytest.fixture
def data(tmp_path):
    return write_rows(tmp_path / "data.csv", opinions()).train


def train(model, data, out, *more):
    return run("train", "--model", model, "--data", data, "--epochs", "1", "--threads", "1",
               "--out", str(out), "--json", *more)  # fmt: skip


def test_a_published_configuration_is_trained_without_a_study(model, data, tmp_path):
    out = tmp_path / "out"
    words = ("--configuration", "s4-t5-base", "--budget", "20%")
    outcome = json.loads(train(model, data, out, *words))

    document = json.loads((out / "plan.json").read_text())
    assert document["provenance"]["strategy"] == "named configuration"
    assert document["provenance"]["space"] == "s4-t5-base"
    assert document["expected"] is None
    assert outcome["promised"] is None
    assert outcome["parameters"] == document["parameters"] <= document["provenance"]["ceiling"]
    assert outcome["head_parameters"] == document["head_parameters"]
    assert (out / "adapter.safetensors").is_file()


def test_its_plan_is_read_and_trained_again_with_the_same_score(model, data, tmp_path):
    first = json.loads(train(model, data, tmp_path / "a", "--configuration", "lora-r8-qv"))
    plan = tmp_path / "a" / "plan.json"
    again = json.loads(run("train", str(plan), "--threads", "1", "--json"))

    assert Plan.from_json(json.loads(plan.read_text())).expected is None
    assert again["validation"] == first["validation"]
    assert again["test"] == first["test"]


def test_what_is_over_a_named_budget_is_refused(model, data, tmp_path):
    with pytest.raises(BudgetError, match=r"'lora-r8-qv' trains 2,048 parameters"):
        train(model, data, tmp_path, "--configuration", "lora-r8-qv", "--budget", "100")


def test_sizes_that_follow_from_the_budget_need_one_that_is_named(
    model, data, tmp_path, monkeypatch
):
    """The usual 1% is nobody's word; one in the settings counts."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpaceError, match=r"'s4-t5-base' follow from the budget: name one"):
        train(model, data, tmp_path / "out", "--configuration", "s4-t5-base")

    (tmp_path / "autopeft.toml").write_text('budget = "20%"')
    train(model, data, tmp_path / "out", "--configuration", "s4-t5-base")

    document = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert document["provenance"]["budget"] == "20%"


def test_an_unknown_configuration_is_refused(model, data, tmp_path):
    with pytest.raises(SpaceError, match=r"there is no named configuration 's5': there are bitfit"):
        train(model, data, tmp_path, "--configuration", "s5")


@pytest.mark.parametrize("words", [[], ["plan.json", "--configuration", "bitfit"]])
def test_a_plan_or_a_configuration_is_trained_and_not_both(words):
    with pytest.raises(OptionError, match=r"name either a plan\.json or a --configuration"):
        run("train", *words)


def test_options_that_a_plan_answers_by_itself_are_refused():
    with pytest.raises(OptionError, match=r"budget, columns, task and recipe are the plan's own"):
        run("train", "plan.json", "--budget", "1%")
