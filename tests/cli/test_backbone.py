"""The command that shows a model's sites."""

import json

import pytest
from transformers import AutoConfig
from typer.testing import CliRunner

from autopeft.architectures.reading import read_architecture
from autopeft.cli.app import app
from autopeft.errors import BackboneError
from tests.models import config_of


def run(*words):
    result = CliRunner().invoke(app, ["backbone", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def known(tmp_path):
    config_of("gpt2").save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def unknown(tmp_path):
    AutoConfig.for_model("mpnet", hidden_size=24, num_hidden_layers=1).save_pretrained(tmp_path)
    return tmp_path


def test_stacks_sites_and_paths_are_shown(known, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    lines = run(known).splitlines()

    assert "its sites are known from gpt2.yaml" in lines[0]
    key = next(line.split() for line in lines if line.startswith("attention.key"))
    assert key == ["attention.key", "linear", "32", "32", "from", "32", "yes", "0-1",
                   "h.{block}.attn.c_attn"]  # fmt: skip


def test_json_holds_the_backbone_and_its_source(known):
    document = json.loads(run(known, "--json"))

    assert document["source"] == "from gpt2.yaml"
    assert document["sites"][1]["place"] == "attention.query"


def test_a_model_without_a_file_says_so(unknown):
    assert "its sites are known by its structure" in run(unknown)


def test_what_is_known_can_be_written_as_a_file(unknown):
    architecture = read_architecture("mpnet.yaml", run(unknown, "--yaml"))

    assert architecture.model_types == ("mpnet",)
    assert architecture.stacks[0].blocks == "encoder.layer"


def test_a_model_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BackboneError, match=r"has no config\.json"):
        run(tmp_path)
