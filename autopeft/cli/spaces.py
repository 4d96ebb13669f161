"""The commands around search spaces: list them, lay one over a model, check a file."""

from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autopeft.cli import options as opt
from autopeft.cli.console import say, show_json, show_table
from autopeft.wiring.described import space_document

if TYPE_CHECKING:
    from autopeft.backbone import Backbone
    from autopeft.search_spaces.genes import Gene
    from autopeft.search_spaces.space import SearchSpace
    from autopeft.search_spaces.written.laying import SpaceText

app = typer.Typer(invoke_without_command=True, rich_markup_mode=None)
_MOST_DIGITS = 15


@app.callback()
def spaces(context: typer.Context, as_json: opt.JsonOption = False) -> None:
    """List the search spaces; with ``show`` or ``check``, look at one."""
    if context.invoked_subcommand is None:
        _list(as_json)


def _list(as_json: bool) -> None:
    from autopeft.search_spaces.written.reading import known_spaces

    found = known_spaces()
    if as_json:
        show_json([space_document(space) for space in found])
    else:
        show_table(
            "", ("space", "what it holds", "paper"), [(s.name, s.summary, s.paper) for s in found]
        )


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(metavar="SPACE", help="A search space or a YAML file.")],
    model: opt.ModelOption = None,
    budget: opt.BudgetOption = None,
    as_json: opt.JsonOption = False,
) -> None:
    """Lay a space over a model: its slots, its genes, and how large it is.

    Of the model, its config.json is enough.
    """
    from autopeft.budget import Budget
    from autopeft.search_spaces.written.reading import read_space
    from autopeft.settings import settings
    from autopeft.training.shape import read_shape

    text = read_space(name)
    allowed = Budget.parse(settings(budget=budget).budget)
    backbone = read_shape(opt.model_of(model))
    ceiling = allowed.ceiling(backbone.parameters)
    space = text.on(backbone, ceiling)
    document = _document(text, space, backbone, ceiling)
    if as_json:
        show_json(document)
    else:
        _show(text, document)


@app.command("check")
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A YAML file of yours.")],
    as_json: opt.JsonOption = False,
) -> None:
    """Read a space and say what it holds, or in which line it is wrong."""
    from autopeft.search_spaces.written.reading import read_space

    text = read_space(file)
    document = space_document(text) | {"groups": len(text.groups)}
    if as_json:
        show_json(document)
    else:
        say(f"{text.name}: {len(text.groups)} groups, nothing wrong with the file itself")
        say(f"see what it holds on a model: autopeft spaces show {file} --model MODEL")


@app.command("published")
def published(as_json: opt.JsonOption = False) -> None:
    """List the published configurations, which ``train --configuration`` takes."""
    from autopeft.search_spaces.written.named import named_configurations

    found = named_configurations()
    if as_json:
        fields = ("name", "summary", "paper", "verified", "unverified", "filled")
        show_json([{field: getattr(one, field) for field in fields} for one in found])
    else:
        columns = ("configuration", "what it is", "paper", "not verified")
        show_table("", columns, [(c.name, c.summary, c.paper, c.unverified) for c in found])


def _document(
    text: "SpaceText", space: "SearchSpace", backbone: "Backbone", ceiling: int
) -> dict[str, Any]:
    smallest, largest = space.smallest(), space.largest()
    return space_document(text) | {
        "model": backbone.name,
        "backbone_parameters": backbone.parameters,
        "ceiling": ceiling,
        "configurations": space.size,
        "smallest": smallest.parameters(space.slots),
        "largest": largest.parameters(space.slots),
        "largest_is": "exact" if space.largest_is_exact else "at least",
        "sizes_follow_from_budget": text.filled,
        "slots": [row for column in range(len(space.slots)) for row in _rows(space, column)],
        "choices": [_choice(space, gene) for gene in space.genes if gene.role != "size"],
    }


def _rows(space: "SearchSpace", column: int) -> list[dict[str, Any]]:
    """Describe a column: runs of blocks that allow the same sizes in the same way."""
    slot = space.slots[column]
    allowed: dict[int, tuple[str, str]] = {}
    for gene in space.genes:
        for block, other in gene.cells if gene.role == "size" else ():
            if other == column:
                sizes = "budget" if gene.filled else " ".join(map(str, gene.choices))
                allowed[block] = (sizes, _tied(gene.name, len(gene.cells), gene.part))
    for follower in space.followers:
        if follower.column == column:
            led = ", ".join(space.slots[leader].name for leader in follower.leaders)
            allowed |= dict.fromkeys(range(*slot.blocks), ("1", f"follows {led}"))
    return [
        {
            "slot": slot.name,
            "blocks": _span([block for block, _ in run]),
            "sizes": what[0],
            "choice": what[1],
        }
        for what, run in (
            (key, list(items))
            for key, items in groupby(sorted(allowed.items()), key=lambda item: item[1])
        )
    ]


def _tied(name: str, cells: int, part: int | None) -> str:
    if part is not None:
        return "one in a layer group"
    if cells == 1:
        return "each its own"
    head, _, row = name.rpartition("/")
    return f"one in a block for {head}" if row.isdigit() and head else f"one for all of {name}"


def _choice(space: "SearchSpace", gene: "Gene") -> dict[str, Any]:
    if gene.role == "pick":
        options = [" + ".join(space.slots[column].name for column in kept) for kept in gene.keeps]
    elif gene.role == "pattern":
        options = [" ".join(map(str, _counts(rows))) for rows in space.patterns]
    elif gene.role == "allocation":
        options = list(space.allocations)
    elif gene.role == "depth":
        options = [f"blocks up to {end - 1}" for end in gene.choices]
    elif gene.role == "last":
        options = [f"blocks from {-first} on" for first in gene.choices]
    else:
        options = ["off", "on"]
    return {"name": gene.name, "role": gene.role, "options": options}


def _counts(rows: tuple[int, ...]) -> list[int]:
    """Count the blocks of every group."""
    return [rows.count(group) for group in range(max(rows) + 1)]


def _span(blocks: list[int]) -> str:
    return str(blocks[0]) if len(blocks) == 1 else f"{blocks[0]}-{blocks[-1]}"


def _show(text: "SpaceText", document: dict[str, Any]) -> None:
    parameters, ceiling = document["backbone_parameters"], document["ceiling"]
    show_table(
        f"{text.name} on {document['model']}",
        ("slot", "blocks", "sizes", "choice"),
        [tuple(row.values()) for row in document["slots"]],
    )
    if document["choices"]:
        say("")
        show_table("", ("choice", "between"), _choices(document["choices"]))
    facts = [
        ("configurations", _large(document["configurations"])),
        ("smallest", _count(document["smallest"], parameters)),
        ("largest", _largest(document)),
        ("budget", _count(ceiling, parameters)),
        ("paper", text.paper),
        ("differs", text.differs),
        ("starts from", ", ".join(text.start_from)),
    ]
    say("")
    show_table("", ("", ""), [fact for fact in facts if fact[1]])
    if document["smallest"] > ceiling:
        say(f"\nnothing of it fits into {ceiling:,} parameters: raise the budget")


def _choices(choices: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Put switches into one line: there is one for every block."""
    lines = [(c["name"], " | ".join(c["options"])) for c in choices if c["role"] != "switch"]
    switches = sum(choice["role"] == "switch" for choice in choices)
    return [*lines, *([(f"{switches} switches", "each block off | on")] if switches else [])]


def _count(count: int, parameters: int) -> str:
    return f"{count:,} parameters, {count / parameters:.4%} of the backbone"


def _largest(document: dict[str, Any]) -> str:
    """Say how large it gets; where that was not found for certain, what is known of it."""
    found, ceiling = document["largest"], document["ceiling"]
    counted = _count(found, document["backbone_parameters"])
    if document["largest_is"] == "exact":
        return counted
    if document["sizes_follow_from_budget"] and found <= ceiling:
        return f"up to the budget, from which sizes follow; found was one of {counted}"
    return f"at least {counted}"


def _large(count: int) -> str:
    """Write a count whole as long as it can be read, else as a power of ten besides."""
    whole = f"{count:,}"
    digits = len(str(count))
    return whole if digits <= _MOST_DIGITS else f"{str(count)[0]}.{str(count)[1:3]}e{digits - 1}"
