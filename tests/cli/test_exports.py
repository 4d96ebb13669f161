"""The command that lets plans leave in forms that others read."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import autopeft
from autopeft.cli.app import app
from autopeft.errors import OptionError, PlanError, StoreError
from autopeft.files import write_json
from autopeft.wiring.sockets import store_of
from tests.contracts.store import a_study
from tests.production.plans import LORA, moved, plan_on, trained
from tests.test_report import ANSWER, STUDY, TRIALS, a_plan


def run(*words, code=0):
    done = CliRunner().invoke(
        app, list(map(str, words)), env={"COLUMNS": "200"}, catch_exceptions=False
    )
    assert done.exit_code == code, done.output
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A plan, and weights that were trained from it."""
    folder = tmp_path_factory.mktemp("plan")
    plan = plan_on(folder / "model", LORA)
    write_json(folder / "plan.json", plan.to_json())
    autopeft.save(moved(trained(plan, "bert")), folder / "trained")
    return folder


def test_an_adapter_of_peft_is_written_from_the_weights_beside_the_plan(folder, tmp_path):
    shown = run("export", folder, "--format", "peft", "--out", tmp_path)

    assert (tmp_path / "adapter_config.json").is_file()
    assert (tmp_path / "adapter_model.safetensors").is_file()
    assert "what    peft LORA" in shown
    assert "100% of the highest at the same place" in shown
    assert "head.safetensors (the plan's own: no class of transformers has it)" in shown


def test_an_adapter_that_was_written_is_verified(folder, tmp_path):
    run("export", folder, "--format", "peft", "--out", tmp_path)

    assert "NO" not in run("verify", folder, tmp_path)


def test_merged_weights_are_written(folder, tmp_path):
    written = json.loads(
        run("export", folder / "plan.json", "--weights", folder / "trained", "--format", "merged",
            "--out", tmp_path, "--json")
    )  # fmt: skip

    assert written["what"] == "BertModel"
    assert written["drift"]["largest"] < 1e-4
    assert (tmp_path / "config.json").is_file()


def test_a_conversion_says_its_rank_and_its_loss(folder, tmp_path):
    shown = run(
        "export", folder, "--format", "peft", "--convert", "lora", "--rank", 1, "--out", tmp_path
    )

    assert "what    peft LORA, rank 1" in shown
    assert "drift   0 at most" not in shown


def test_a_script_is_written_with_its_plan(folder, tmp_path):
    written = json.loads(run("export", folder, "--format", "script", "--out", tmp_path, "--json"))

    assert written["trains"] == "peft"
    compile((tmp_path / "train.py").read_text("utf-8"), "train.py", "exec")
    assert len((tmp_path / "train.py").read_text("utf-8").splitlines()) < 120
    assert autopeft.read_plan(tmp_path) == autopeft.read_plan(folder)


def test_a_card_takes_the_scores_that_training_left(folder, tmp_path):
    weights = tmp_path / "trained"
    weights.mkdir()
    test = {"mean": 0.5, "low": 0.4, "high": 0.6}
    outcome = {"metric": "accuracy", "test": test, "test_examples": 10}
    write_json(weights / "outcome.json", outcome)

    run("export", folder, "--format", "card", "--weights", weights, "--out", tmp_path / "card",
        "--licence", "mit")  # fmt: skip

    text = (tmp_path / "card" / "README.md").read_text("utf-8")
    assert "| test (10 examples) | accuracy | 0.5000 |" in text
    assert "license: mit" in text


def test_a_card_of_a_study_shows_the_front_of_its_trials(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    store = f"sqlite:///{tmp_path / 'studies.db'}"
    opened = store_of(store)
    opened.add_study(STUDY)
    for trial in TRIALS:
        opened.start(STUDY.id, opened.add_trial(STUDY.id, trial.proposal))
        if trial.ended:
            opened.finish(STUDY.id, replace(trial, attempts=1))
    opened.save_answer(STUDY.id, ANSWER, a_plan())
    card = ("export", STUDY.id, "--store", store, "--format", "card")

    shown = run(*card, "--out", tmp_path / "card")

    text = (tmp_path / "card" / "README.md").read_text("utf-8")
    assert f"plot    {tmp_path / 'card' / 'front.png'}" in shown
    assert "](front.png)" in text
    assert (tmp_path / "card" / "front.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("autopeft.report.png.available", lambda: False)
    run(*card, "--out", tmp_path / "other")
    assert "](front.svg)" in (tmp_path / "other" / "README.md").read_text("utf-8")
    assert "<svg" in (tmp_path / "other" / "front.svg").read_text("utf-8")


def test_a_plan_without_a_digest_is_written_with_one(folder, tmp_path):
    document = json.loads((folder / "plan.json").read_text("utf-8"))
    known = document.pop("digest")
    old = write_json(tmp_path / "old.json", document)

    run("export", old, "--out", tmp_path / "new")

    assert json.loads((tmp_path / "new" / "plan.json").read_text("utf-8"))["digest"] == known


def test_what_needs_weights_says_where_they_come_from(folder, tmp_path):
    plan = write_json(tmp_path / "plan.json", autopeft.read_plan(folder).to_json())

    with pytest.raises(
        PlanError, match=r"no trained weights in .*trained: train the plan first .au"
    ):
        run("export", plan, "--format", "peft", "--out", tmp_path / "peft")
    assert not (tmp_path / "peft").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--convert", "lora"), "--convert and --rank go with --format peft"),
        (("--format", "peft", "--rank", "2"), "--rank goes with --convert lora: an exact adapter"),
        (("--licence", "mit"), "--licence and --data-licence go with --format card"),
    ],
)
def test_options_that_do_not_go_together_are_refused(folder, words, message):
    with pytest.raises(OptionError, match=message):
        run("export", folder, *words)


def test_a_store_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"there is no store at .* yet"):
        run("export", "latest", "--format", "card", "--store", f"sqlite:///{tmp_path}/none.db")


def test_a_study_is_written_for_optuna(tmp_path):
    store_of(f"sqlite:///{tmp_path / 'studies.db'}").add_study(a_study())
    options = ("--format", "optuna", "--store", f"sqlite:///{tmp_path / 'studies.db'}")

    shown = json.loads(run("export", a_study().id, *options, "--out", tmp_path / "o", "--json"))

    assert shown["out"] == str(tmp_path / "o" / "optuna.db")
    assert (tmp_path / "o" / "optuna.db").is_file()


def test_a_plan_has_no_trials_for_optuna(folder):
    with pytest.raises(OptionError, match=r"--format optuna is for the trials of a study: na"):
        run("export", folder, "--format", "optuna")
