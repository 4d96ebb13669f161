"""The pages of the site say what is true, and the generated ones are what the code says now."""

import html
import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import markdown
import pytest
import typer.main
import yaml

from autopeft.cli.app import app

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {file.name: file.read_text("utf-8") for file in sorted(DOCS.glob("*.md"))}
PROGRAM = typer.main.get_command(app)
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))
SHOWN = [
    (page, file)
    for page, text in PAGES.items()
    for file in dict.fromkeys(re.findall(r'"(examples/[^"]+)"', text))
]
"""The pages that show files of this repository, and the files."""


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


def words_of(page):
    """Return what readers of a built page see."""
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def built(text):
    """Build a page with the extensions of the site."""
    given = [e if isinstance(e, dict) else {e: {}} for e in SITE["markdown_extensions"]]
    options = {name: values for extension in given for name, values in extension.items()}
    return markdown.markdown(text, extensions=list(options), extension_configs=options)


@pytest.mark.parametrize(("page", "file"), SHOWN)
def test_a_page_shows_the_file_that_it_names(page, file, monkeypatch):
    """A formatter once took the marks for Python, and readers saw those instead."""
    monkeypatch.chdir(ROOT)

    assert (ROOT / file).read_text("utf-8").strip() in words_of(built(PAGES[page]))


def test_the_page_of_plug_ins_shows_its_package():
    names = {Path(file).name for page, file in SHOWN if page == "plug-ins.md"}

    assert {"pyproject.toml", "record.py", "gain.py", "gains.yaml"} <= names


def test_the_formatter_leaves_pages_alone():
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--diff", DOCS / "plug-ins.md"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", tmp_path],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "methods" / "index.html").is_file()
    page = words_of((tmp_path / "plug-ins" / "index.html").read_text("utf-8"))
    for _, file in SHOWN:
        assert (ROOT / file).read_text("utf-8").strip() in page
