"""The command that imports published results."""

import json

import pytest
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.errors import DataError
from tests.wiring.published import LLAMA, REAL, a_document, write


@pytest.fixture
def run(tmp_path):
    """Run the command with the shape of the model and a store of its own."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA), "utf-8")

    def run(*arguments: str):
        options = ["--model", str(tmp_path / "config.json"), "--store", str(tmp_path / "s.db")]
        return CliRunner().invoke(app, ["import-peft", *arguments, *options])

    return run


def test_what_was_imported_and_left_out_is_shown(run, tmp_path):
    full = write(tmp_path, a_document("full-finetuning/llama-3.2-3B-lr_0.00001"))
    lora = write(tmp_path, a_document())

    shown = run(str(lora), str(full))

    assert shown.exit_code == 0, shown.output
    assert "lora/llama-3.2-3B-rank32" in shown.stdout
    assert "results imported: 1\nbegin a search with --warm-start" in shown.stdout
    assert f"left out {full.name}: it trains all weights of the model" in shown.stderr


def test_as_json_it_tells_the_same(run):
    run(str(REAL))

    document = json.loads(run(str(REAL), "--json").stdout)

    assert len(document["study"]) == 12
    assert (document["added"], document["known"], document["skipped"]) == (0, 1, [])


def test_what_cannot_be_imported_leaves_no_store_behind(run, tmp_path):
    full = write(tmp_path, a_document("full-finetuning/llama-3.2-3B-lr_0.00001"))

    shown = run(str(full))

    assert isinstance(shown.exception, DataError)
    assert not (tmp_path / "s.db").exists()
