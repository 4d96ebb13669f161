"""The command that shows how can be searched."""

from autopeft.cli import options as opt
from autopeft.cli.console import show_json, show_table
from autopeft.wiring.described import strategy_document
from autopeft.wiring.strategies import STRATEGIES

_NEEDS = {
    "nothing": "",
    "inheritance": "a supernet, trained first",
    "structures": "gates, trained first",
}


def strategies(as_json: opt.JsonOption = False) -> None:
    """List the strategies, with the options that --option takes."""
    documents = [strategy_document(name) for name in STRATEGIES]
    if as_json:
        show_json(documents)
        return
    show_table(
        "strategies",
        ("strategy", "needs", "options", "what it does"),
        [(d["name"], _NEEDS[d["needs"]], _options(d["options"]), d["summary"]) for d in documents],
    )


def _options(options: dict[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())
