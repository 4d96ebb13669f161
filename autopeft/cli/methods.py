"""The command that shows what can be searched: the methods, where they sit and what they do."""

from typing import Annotated

import typer

from autopeft.cli import options as opt
from autopeft.cli.console import note, say, show_json, show_table
from autopeft.errors import OptionError
from autopeft.search_spaces.catalog import METHODS, PLUGINS
from autopeft.search_spaces.catalog.opaque import REFUSED
from autopeft.search_spaces.method import LINEARS, NORMS, Method
from autopeft.wiring.described import method_description as description
from autopeft.wiring.described import method_document as document
from autopeft.wiring.described import source_of

NameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="One method, to be shown whole.")
]
COLUMNS = ("method", "comes from", "size", "sites", "slice", "merge", "pack", "export")


def methods(name: NameArgument = None, as_json: opt.JsonOption = False) -> None:
    """List the methods, or show one whole.

    slice: a smaller size is part of a larger one; merge: what is learned can be added to the
    backbone's weights; pack: several configurations train in one pass; export: the class of the
    peft library that expresses it.
    """
    if name is not None:
        found = _find(name)
        show_json(document(found)) if as_json else _show(found)
        return
    for problem in PLUGINS.problems:
        note(problem)
    if as_json:
        show_json([document(method) for method in METHODS.values()])
        return
    for family in dict.fromkeys(method.family for method in METHODS.values()):
        members = [method for method in METHODS.values() if method.family == family]
        show_table(family, COLUMNS, map(row, members))
        say("")
    show_table("known and not offered", ("method", "why"), REFUSED.items())


def row(method: Method) -> tuple[str, ...]:
    """Return what the table says of a method, under `COLUMNS`."""
    return (
        method.name,
        source_of(method),
        method.size,
        _places(method.places),
        _mark(method.elastic),
        _mark(method.merges),
        _mark(method.packs),
        method.peft or "-",
    )


def _find(name: str) -> Method:
    """Return a method by name.

    Raises:
        OptionError: There is none, or it is known and not offered.
    """
    if name in METHODS:
        return METHODS[name]
    if name in REFUSED:
        raise OptionError(f"{name} is not offered: {REFUSED[name]}")
    raise OptionError(f"there is no method {name!r}: autopeft methods lists them")


def _show(method: Method) -> None:
    rates = method.rates
    say(f"{method.name}: {method.summary}")
    say("")
    say(description(method))
    say("")
    facts = (
        ("paper", method.paper),
        ("family", f"{method.family}, {source_of(method)}"),
        ("size", method.size),
        ("sites", ", ".join(method.places)),
        ("learning rate", f"{rates.default:g}, searched from {rates.low:g} to {rates.high:g}"),
        ("scale", "none" if method.scale is None else f"{method.scale:g}"),
        ("fresh", "leaves the output as it was" if method.identity else "changes the output"),
        ("slice", "a smaller size is part of a larger one" if method.elastic else "no"),
        ("merge", method.merge if method.merges else f"no: {method.merge}"),
        ("pack", "yes" if method.packs else f"no: {method.pack}"),
        ("export", method.peft or "no class of the peft library expresses it"),
    )
    width = max(len(what) for what, _ in facts)
    for what, value in facts:
        say(f"{what:<{width}}  {value}")


def _places(places: tuple[str, ...]) -> str:
    rest = list(places)
    said = []
    for name, several in (("every linear layer", LINEARS), ("every norm", NORMS)):
        if set(several) <= set(rest):
            said.append(name)
            rest = [place for place in rest if place not in several]
    return ", ".join((*said, *rest))


def _mark(holds: bool) -> str:
    return "yes" if holds else "no"
