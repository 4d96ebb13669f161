"""The pages of the site say what is true, and the generated ones are what the code says now."""

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
import yaml

from autopeft.cli.app import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {file.name: file.read_text("utf-8") for file in sorted(DOCS.glob("*.md"))}
PROGRAM = typer.main.get_command(app)
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))


def command_lines():
    """Yield what stands in a block of code and begins with the program's name."""
    for page, text in PAGES.items():
        fenced = False
        for line in text.splitlines():
            fenced ^= line.startswith("```")
            if (fenced or line.startswith("    ")) and line.strip().startswith("autopeft "):
                yield page, line.strip()


def commands(group):
    """Yield a group's commands, and those of the groups inside it."""
    for command in group.commands.values():
        yield command
        if hasattr(command, "commands"):
            yield from commands(command)


def generated():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.pages()


def nav(entries=None):
    for entry in SITE["nav"] if entries is None else entries:
        for target in entry.values():
            yield from [target] if isinstance(target, str) else nav(target)


@pytest.mark.parametrize(("page", "line"), list(command_lines()))
def test_a_command_line_is_understood(page, line):
    """The command takes every option and as many arguments as the line gives it."""
    words = shlex.split(re.split(r" [>|] ", line)[0], comments=True)[1:]
    command, name = PROGRAM, "autopeft"
    while hasattr(command, "commands") and words and words[0] in command.commands:
        name, *words = words
        command = command.commands[name]

    assert command is not PROGRAM, f"{page}: there is no command {words[0]!r}"
    command.make_context(name, words)


@pytest.mark.parametrize(
    "option", sorted({o for text in PAGES.values() for o in re.findall(r"`(--[a-z-]+)", text)})
)
def test_an_option_that_is_named_exists(option):
    assert any(option in p.opts for command in commands(PROGRAM) for p in command.params)


@pytest.mark.parametrize(
    ("page", "target"),
    [
        (page, target)
        for page, text in PAGES.items()
        for target in sorted(set(re.findall(r"\]\(([^):#]+)\)", text)))
    ],
)
def test_a_link_leads_to_a_page(page, target):
    assert (DOCS / target).is_file(), page


def test_every_page_is_in_the_navigation_and_every_entry_has_a_page():
    assert sorted(nav()) == sorted(PAGES)


@pytest.mark.parametrize("page", generated())
def test_a_generated_page_is_what_the_code_says_now(page):
    """`make docs` writes them anew."""
    assert PAGES[page] == generated()[page], f"docs/{page} is stale: run make docs"


@pytest.mark.parametrize(
    "file", sorted({f for t in PAGES.values() for f in re.findall(r'--8<-- "([^"]+)"', t)})
)
def test_a_file_that_a_page_shows_is_there(file):
    assert (ROOT / file).is_file()


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "methods" / "index.html").is_file()
