"""The command that shows how can be searched."""

from dataclasses import fields
from importlib import import_module
from typing import Any

from autopeft.cli import options as opt
from autopeft.cli.console import show_json, show_table
from autopeft.wiring.strategies import STRATEGIES

_NEEDS = {
    "nothing": "",
    "inheritance": "a supernet, trained first",
    "structures": "gates, trained first",
}


def strategies(as_json: opt.JsonOption = False) -> None:
    """List the strategies, with the options that --option takes."""
    documents = [document(name) for name in STRATEGIES]
    if as_json:
        show_json(documents)
        return
    show_table(
        "strategies",
        ("strategy", "needs", "options", "what it does"),
        [(d["name"], _NEEDS[d["needs"]], _options(d["options"]), d["summary"]) for d in documents],
    )


def document(name: str) -> dict[str, Any]:
    """Describe a strategy: what it does, what it needs, and its options with their defaults."""
    entry = STRATEGIES[name]
    module = import_module(f"autopeft.strategies.{entry.module}")
    options = getattr(module, "Options", None)
    return {
        "name": name,
        "summary": entry.summary,
        "needs": entry.needs,
        "options": {f.name: str(f.default) for f in fields(options)} if options else {},
    }


def _options(options: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())
