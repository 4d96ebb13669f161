"""The command that shows where methods can sit in a model."""

from typing import Annotated, Any

import typer

from autopeft.backbone import Backbone, Site, Stack
from autopeft.cli import options as opt
from autopeft.cli.console import say, show_json, show_table

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A directory (config.json is enough), a hub id, or package:NAME.",
    ),
]
YamlOption = Annotated[
    bool, typer.Option("--yaml", help="Write it as an architecture file, to correct and to keep.")
]


def backbone(
    model: ModelArgument, yaml: YamlOption = False, as_json: opt.JsonOption = False
) -> None:
    """Show the stacks and sites of a model, and how they are known; no weights are loaded."""
    from autopeft.architectures.writing import write_architecture
    from autopeft.training.shape import look

    found, architecture = look(model)
    if yaml:
        say(write_architecture(architecture).rstrip())
    elif as_json:
        show_json(_document(found, architecture.source))
    else:
        say(
            f"{model}: {found.architecture}, {found.parameters:,} parameters without a task head; "
            f"its sites are known {architecture.source}"
        )
        show_table("", _STACK, [_stack_row(stack) for stack in found.stacks])
        show_table("", _SITE, [_site_row(site) for site in found.sites])


_STACK = ("stack", "rows", "width", "heads", "norm")
_SITE = ("site", "kind", "in", "out", "bias", "rows", "path")


def _stack_row(stack: Stack) -> tuple[str, ...]:
    rows = _rows((stack.first, stack.first + stack.blocks))
    return stack.name or "blocks", rows, str(stack.width), str(stack.heads), stack.norm


def _site_row(site: Site) -> tuple[str, ...]:
    outputs = str(site.outputs) if site.start is None else f"{site.outputs} from {site.start}"
    bias = "yes" if site.bias else ""
    widths = (str(site.inputs), outputs)
    return site.name, site.kind, *widths, bias, _rows(site.blocks), site.path


def _rows(blocks: tuple[int, int]) -> str:
    first, last = blocks[0], blocks[1] - 1
    return str(first) if first == last else f"{first}-{last}"


def _document(found: Backbone, source: str) -> dict[str, Any]:
    from autopeft.records import to_json

    return {"source": source, **to_json(found)}
