"""The doctor tells what a search would find, and ends with 2 where something is broken."""

import json

import pytest
from typer.testing import CliRunner

from autopeft.cli.app import app
from tests.kinds import tagged, write_json

PAIRS = [{"prompt": f"say {n}", "completion": str(n)} for n in range(40)]


def looked(*words):
    """Return the exit code, and all rows by what was looked at."""
    result = CliRunner().invoke(app, ["doctor", "--json", *map(str, words)])
    return result.exit_code, {row["what"]: row for row in json.loads(result.stdout)}


def doctor(*words):
    """Return the exit code, and how it is with the data."""
    code, rows = looked(*words)
    return code, rows["data"]["state"], rows["data"]["detail"]


@pytest.fixture(autouse=True)
def _nothing_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_it_tells_what_runs_here_and_writes_nothing(tmp_path):
    code, rows = looked()

    assert code == 0
    assert rows["precision"]["detail"].startswith(("trains in bf16", "trains in fp32"))
    assert "lora_linear" in rows["operators on the processor"]["detail"]
    assert rows["store"]["state"] == "absent"
    assert list(tmp_path.iterdir()) == []


def test_people_get_a_table():
    result = CliRunner().invoke(app, ["doctor"])

    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == ["what", "state", "detail"]


def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path, monkeypatch):
    (tmp_path / "taken").touch()
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path / "taken" / "cache"))
    code, rows = looked()

    assert (code, rows["cache"]["state"]) == (2, "problem")
    assert "give another one with AUTOPEFT_CACHE" in rows["cache"]["detail"]


def test_a_store_that_cannot_be_read_is_a_problem(tmp_path):
    (tmp_path / "store.db").write_text("no database, and long enough to be looked at" * 9)
    code, rows = looked("--store", f"sqlite:///{tmp_path / 'store.db'}")

    assert (code, rows["store"]["state"]) == (2, "problem")


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
