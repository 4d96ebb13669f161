"""README says what is true: its commands, options, files and targets exist."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from autopeft.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = typer.main.get_command(app).commands
LINES = [line.strip() for line in README.splitlines() if line.startswith("    ")]


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("autopeft ")])
def test_a_command_line_is_understood(line):
    """The command takes every option and as many arguments as the line gives it."""
    name, *words = shlex.split(line, comments=True)[1:]

    COMMANDS[name].make_context(name, words)


@pytest.mark.parametrize("option", sorted(set(re.findall(r"`(--[a-z-]+)", README))))
def test_an_option_that_is_named_exists(option):
    """Options in running text belong to some command."""
    assert any(option in p.opts for command in COMMANDS.values() for p in command.params)


@pytest.mark.parametrize("file", sorted(set(re.findall(r"\]\(([^):]+)\)", README))))
def test_a_link_leads_to_a_file(file):
    """Links inside the repository are not broken."""
    assert (ROOT / file).is_file()


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"(?m)(?:^    |`)make ([a-z-]+)", README)))
)
def test_a_make_target_exists(target):
    """The Makefile has the targets that README names."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_command_is_named():
    """A command that README does not mention is not found by a newcomer."""
    assert [name for name in COMMANDS if name not in README] == []


def test_the_architectures_are_those_that_are_known():
    """The list in README is that of the architecture files."""
    from autopeft.architectures.reading import architectures

    known = {t for a in architectures() for t in a.model_types}
    said = README.split("Known architectures:")[1].split(".")[0].replace("\n", " ")
    assert {name.strip().lower() for name in said.split(",")} == known
