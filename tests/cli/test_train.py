"""Every option of `autopeft train` does what its help says, and refuses in a sentence."""

import json
from dataclasses import replace

import pytest
from safetensors.torch import load_file
from torch.testing import assert_close
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.errors import DataError, OptionError, OutputError, PlanError
from autopeft.files import write_json
from autopeft.training.room import Room
from tests.models import opinions, save_tiny, task_of, write_rows
from tests.production.plans import LORA, plan_on

NAMED = ("train", "--configuration", "lora-r8-qv", "--epochs", "1", "--threads", "1")


def invoked(*words):
    return CliRunner().invoke(
        app, list(map(str, words)), env={"COLUMNS": "300"}, catch_exceptions=False
    )


def train(*words):
    """Train, and return the outcome with what was told meanwhile."""
    done = invoked("train", "--threads", "1", "--json", *words)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) | {"stderr": done.stderr}


def refused(*words):
    """Return what is said of options that cannot be read."""
    done = invoked(*words)
    assert done.exit_code == 2
    return " ".join(done.stderr.replace("│", " ").split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A plan of two epochs, which are eight steps, beside its model and data."""
    folder = tmp_path_factory.mktemp("train")
    data = write_rows(folder / "data.csv", opinions(60))
    plan = plan_on(folder / "model", LORA, epochs=2, batch_size=12)
    plan = replace(plan, task=task_of(data), where=replace(plan.where, data=data))
    write_json(folder / "plan.json", plan.to_json())
    return folder


@pytest.fixture(scope="module")
def plain(folder):
    """What the plan gives without any option."""
    outcome = train(folder / "plan.json", "--out", folder / "plain")
    return outcome, load_file(folder / "plain" / "adapter.safetensors")


def test_without_options_the_weights_lie_beside_the_plan(folder, plain, tmp_path):
    (tmp_path / "plan.json").write_bytes((folder / "plan.json").read_bytes())

    outcome = train(tmp_path / "plan.json")

    assert outcome["out"] == str(tmp_path / "trained")
    assert {file.name for file in (tmp_path / "trained").iterdir()} == {
        "adapter.safetensors", "outcome.json", "plan.json",
    }  # fmt: skip
    assert (outcome["steps"], outcome["seed"]) == (plain[0]["steps"], 3)
    assert outcome["validation"] == plain[0]["validation"]


def test_a_batch_in_pieces_gives_the_same_to_rounding(folder, plain, tmp_path):
    train(folder / "plan.json", "--accumulate", 3, "--out", tmp_path)

    for name, value in load_file(tmp_path / "adapter.safetensors").items():
        assert_close(value, plain[1][name], rtol=1e-4, atol=1e-6)


def test_what_was_kept_on_the_way_is_gone_when_all_is_done(folder, plain, tmp_path):
    outcome = train(folder / "plan.json", "--checkpoint-every", 1, "--out", tmp_path)

    assert outcome["validation"] == plain[0]["validation"]
    assert not (tmp_path / "checkpoint").exists()


def test_training_ends_after_an_epoch_that_is_no_better(folder, plain, tmp_path):
    """At rates that are as good as zero the second epoch of nine is the last."""
    plan = json.loads((folder / "plan.json").read_text("utf-8"))
    rates = dict.fromkeys(plan["recipe"]["learning_rates"], 1e-12)
    plan["recipe"] |= {"learning_rates": rates, "head_learning_rate": 1e-12, "epochs": 9}
    del plan["digest"]
    write_json(tmp_path / "plan.json", plan)

    outcome = train(tmp_path / "plan.json", "--early-stopping", 1)

    assert outcome["steps"] == plain[0]["steps"]


def test_logs_lie_beside_the_weights(folder, tmp_path):
    pytest.importorskip("tensorboard")

    train(folder / "plan.json", "--logs", "--out", tmp_path)

    assert list((tmp_path / "logs").glob("events.*"))


def test_another_seed_is_another_training_of_the_same_plan(folder, plain, tmp_path):
    outcome = train(folder / "plan.json", "--seed", 9, "--out", tmp_path)

    found = load_file(tmp_path / "adapter.safetensors")
    assert outcome["seed"] == 9
    assert not any(found[name].equal(plain[1][name]) for name in found if "up" in name)
    written = json.loads((tmp_path / "plan.json").read_text("utf-8"))
    assert written == json.loads((folder / "plan.json").read_text("utf-8"))


def test_memory_is_handed_to_what_measures_steps(folder, tmp_path, monkeypatch):
    """How little memory is kept to is tested with the room; here it is what was said."""
    limits = []
    init = Room.__init__

    def noted(room, limit=None, *args, **more):
        limits.append(limit)
        init(room, limit, *args, **more)

    monkeypatch.setattr(Room, "__init__", noted)

    train(folder / "plan.json", "--memory", "40GiB", "--out", tmp_path)

    assert limits == [40 * 2**30]


def test_memory_that_does_not_hold_the_model_is_refused(folder, tmp_path):
    with pytest.raises(PlanError, match=r"memory ran out .* --memory allows 19\.1 MiB"):
        train(folder / "plan.json", "--memory", "20MB", "--out", tmp_path)


def test_other_data_is_trained_on_with_parts_of_its_own(folder, tmp_path):
    parts = {
        name: write_rows(tmp_path / f"{name}.csv", opinions(count, seed=count)).train
        for name, count in (("data", 24), ("validation", 10), ("test", 14))
    }
    words = [word for name, file in parts.items() for word in (f"--{name}", file)]

    outcome = train(folder / "plan.json", *words, "--out", tmp_path / "out")

    assert (outcome["test_examples"], outcome["same_data"]) == (14, False)


def test_another_place_of_the_same_model_is_taken(folder, plain, tmp_path):
    moved = save_tiny(tmp_path / "moved")

    outcome = train(folder / "plan.json", "--model", moved, "--out", tmp_path / "out")

    assert outcome["validation"] == plain[0]["validation"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_configuration_is_trained_in_the_precision_that_is_named(precision, folder, tmp_path):
    named = ("--model", folder / "model", "--data", folder / "data.csv", "--seed", "4")

    done = invoked(*NAMED, *named, "--precision", precision, "--out", tmp_path, "--json")

    assert done.exit_code == 0, done.output
    plan = json.loads((tmp_path / "plan.json").read_text("utf-8"))
    assert (plan["recipe"]["precision"], plan["seed"]) == (precision, 4)
    assert json.loads(done.stdout)["seed"] == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--accumulate", "0"), "'--accumulate': Input should be greater than or equal to 1"),
        (("--accumulate", "two"), "'--accumulate': Input should be a valid integer"),
        (("--checkpoint-every", "0"), "'--checkpoint-every': Input should be greater than or eq"),
        (("--early-stopping", "-1"), "'--early-stopping': Input should be greater than or equal"),
        (("--precision", "fp8"), "'fp8' is not one of 'fp32', 'bf16'"),
        (("--head", "middle"), "'middle' is not one of 'mean', 'cls'"),
        (("--speed", "9"), "No such option: --speed"),
    ],
)
def test_what_no_option_can_mean_is_refused(words, said, folder):
    assert said in refused("train", folder / "plan.json", *words)


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        (("--memory", "much"), OptionError, r"cannot read .*'much'.* 8GiB"),
        (("--seed", "-1"), OptionError, r"--seed must be at least 0, not -1"),
        (("--threads", "0"), OptionError, r"--threads must be at least 1, not 0"),
        (("--validation", "v.csv"), OptionError, r"--validation and --test go with --data"),
        (("--test", "t.csv"), OptionError, r"--validation and --test go with --data"),
        (("--data", "nowhere.csv"), DataError, r"nowhere\.csv"),
        (("--precision", "bf16"), OptionError, r"task and recipe are the plan's own"),
        (("--budget", "1%"), OptionError, r"task and recipe are the plan's own"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(words, kind, said, folder, tmp_path):
    with pytest.raises(kind, match=said):
        train(folder / "plan.json", *words, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_plan_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PlanError, match=r"cannot read the plan .*none\.json"):
        train(tmp_path / "none.json")


def test_a_file_where_the_results_shall_go_is_named(folder, tmp_path):
    (tmp_path / "out").write_text("a file", encoding="utf-8")

    with pytest.raises(OutputError, match=r"out"):
        train(folder / "plan.json", "--out", tmp_path / "out")
