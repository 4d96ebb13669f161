"""The command `autopeft strategies`."""

import json

import pytest
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.wiring.strategies import STRATEGIES, options_of


def run(*words):
    return CliRunner().invoke(app, ["strategies", *words], catch_exceptions=False).stdout


def test_every_strategy_is_listed():
    first = [line.split()[0] for line in run().splitlines() if line.strip()]

    assert set(STRATEGIES) <= set(first)


@pytest.mark.parametrize("document", json.loads(run("--json")), ids=lambda found: found["name"])
def test_the_defaults_that_are_shown_are_options_that_can_be_given(document):
    texts = [f"{name}={value}" for name, value in document["options"].items()]

    assert options_of(document["name"], texts) == document["options"]
