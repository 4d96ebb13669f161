"""Options that belong together, spelled once and taken by several commands."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from autopeft.cli.app import app
from autopeft.cli.records import (
    RecipeOptions,
    SearchOptions,
    SourceOptions,
    TaskOptions,
    request_of,
    unfolded,
)
from autopeft.errors import OptionError

COMMANDS = typer.main.get_command(app).commands
SOURCE = SourceOptions(model="somewhere", data="data.csv")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two options."""

    one: Annotated[int | None, typer.Option("--one")] = None
    other: Annotated[str | None, typer.Option("--other")] = None


def test_a_command_gets_its_options_as_the_record_that_it_asks_for():
    got = []
    small = typer.Typer()

    @small.command()
    @unfolded
    def command(name: str, pair: Pair, loud: bool = False) -> None:
        got.append((name, pair, loud))

    done = CliRunner().invoke(small, ["me", "--other", "x", "--loud"], catch_exceptions=False)

    assert (done.exit_code, got) == (0, [("me", Pair(other="x"), True)])


def test_what_a_search_takes_an_estimate_takes_too():
    options = [[p.opts for p in COMMANDS[name].params] for name in ("search", "estimate")]

    assert [option for option in options[0] if option in options[1]] == options[1]
    assert ["--batch-size"] in options[0]


def test_a_search_that_is_detached_takes_what_submit_takes():
    options = [[p.opts for p in COMMANDS[name].params] for name in ("search", "submit")]

    assert [option for option in options[0] if option != ["--detach"]] == options[1]
    assert {"--metadata", "--priority", "--once", "--follow", "--url"} <= {o[0] for o in options[1]}


def request(**options):
    task = {k: options.pop(k) for k in ("max_length", "loss") if k in options}
    return request_of(SOURCE, TaskOptions(**task), RecipeOptions(**options), SearchOptions())


def test_what_is_not_said_is_as_usual():
    usual = request()

    assert (usual.batch_size, usual.max_length, usual.epochs) == (32, 128, 3)
    assert (usual.rank_scaling, usual.gate_mean, usual.loss) == ("constant", "mask", "completion")


def test_what_is_said_is_taken():
    asked = request(batch_size=4, max_length=64, rank_scaling="inverse_sqrt", gate_mean="all")

    assert (asked.batch_size, asked.max_length) == (4, 64)
    assert (asked.rank_scaling, asked.gate_mean) == ("inverse_sqrt", "all")


def test_settings_stand_in_for_options(monkeypatch):
    monkeypatch.setenv("AUTOPEFT_BATCH_SIZE", "16")
    monkeypatch.setenv("AUTOPEFT_MAX_LENGTH", "256")

    assert (request().batch_size, request().max_length) == (16, 256)
    assert request(batch_size=8).batch_size == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "--batch-size must be at least 1, not 0"),
        ({"max_length": 7}, "--max-length must be at least 8, not 7"),
        ({"epochs": 0}, "--epochs must be at least 1, not 0"),
    ],
)
def test_a_number_that_is_too_small_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        request(**options)
