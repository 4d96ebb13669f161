"""The commands that only look, and what all commands say of themselves."""

import json

import pytest
import typer.main
from typer.testing import CliRunner

from autopeft.cli.app import app
from tests.kinds import tagged, write_json

COMMANDS = typer.main.get_command(app)


PAIRS = [{"prompt": f"say {n}", "completion": str(n)} for n in range(40)]


def every(group, name=""):
    for word, command in group.commands.items():
        yield f"{name} {word}".strip()
        if hasattr(command, "commands"):
            yield from every(command, f"{name} {word}".strip())


def doctor(*words):
    """Return the exit code, and how it is with the data."""
    result = CliRunner().invoke(app, ["doctor", "--json", *map(str, words)])
    rows = {row["what"]: row for row in json.loads(result.stdout)}
    return result.exit_code, rows["data"]["state"], rows["data"]["detail"]


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "rows"), [("tokens", tagged(40)), ("causal_lm", PAIRS), ("seq2seq", PAIRS)]
)
def test_the_doctor_reads_data_of_the_kind_that_is_said(tmp_path, kind, rows):
    file = write_json(tmp_path / "a.jsonl", rows).train

    code, state, detail = doctor("--data", file, "--task", kind)

    assert (code, state) == (0, "ok")
    assert detail.startswith(f"{file}: {kind}, 2")


def test_the_doctor_takes_columns_and_files_as_a_search_does(tmp_path):
    rows = [{"a": f"text {n}", "b": str(n % 2), "c": f"and {n}"} for n in range(50)]
    file = write_json(tmp_path / "train.jsonl", rows[:40]).train
    test = write_json(tmp_path / "test.jsonl", rows[40:]).train
    words = ["--data", file, "--test", test, "--text", "a", "--text-pair", "c", "--label", "b"]

    assert doctor(*words) == (0, "ok", f"{file}: classification, 30 / 10 / 10 examples")


def test_the_doctor_names_a_metric_that_does_not_fit(tmp_path):
    file = write_json(tmp_path / "a.jsonl", PAIRS).train
    code, state, detail = doctor("--data", file, "--task", "seq2seq", "--metric", "spearman")

    assert (code, state) == (2, "problem")
    assert "metric 'spearman' does not fit seq2seq" in detail


def test_the_doctor_says_which_task_the_data_looks_like(tmp_path):
    file = write_json(tmp_path / "a.jsonl", tagged(40)).train
    code, state, detail = doctor("--data", file)

    assert (code, state) == (2, "problem")
    assert "or say --task tokens" in detail


@pytest.mark.parametrize("command", list(every(COMMANDS)))
def test_help_speaks_to_users_alone(command):
    """Sections for readers of the code have no place in it."""
    shown = CliRunner().invoke(app, [*command.split(), "--help"], catch_exceptions=False).stdout

    assert "Usage" in shown
    assert not [section for section in ("Raises:", "Args:", "Returns:") if section in shown]
