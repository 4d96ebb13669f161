"""An architecture as the text of its file."""

from autopeft.architectures.reading import Architecture, SitePlace, StackPlace

_USUAL_HEADS = "num_attention_heads"


def write_architecture(architecture: Architecture) -> str:
    """Return what ``read_architecture`` reads as the same architecture."""
    lines = [f"model_types: [{', '.join(architecture.model_types)}]"]
    if architecture.needs:
        needs = ", ".join(f"{name}: {value}" for name, value in architecture.needs.items())
        lines.append(f"needs: {{{needs}}}")
    lines.append("stacks:")
    for stack in architecture.stacks:
        lines += _stack(stack)
    return "\n".join(lines) + "\n"


def _stack(stack: StackPlace) -> list[str]:
    heads = "" if stack.heads == _USUAL_HEADS else stack.heads
    settings = {
        "path": stack.blocks,
        "norm": stack.norm,
        "norm_if": stack.norm_if,
        "config": stack.config,
        "heads": heads,
    }
    return [
        f"  {stack.name or 'blocks'}:",
        *(f"    {name}: {value}" for name, value in settings.items() if value),
        "    sites:",
        *(f"      {f'{place.name}:':<17} {{{_site(place, stack)}}}" for place in stack.places),
    ]


def _site(place: SitePlace, stack: StackPlace) -> str:
    paths = [_path(path, stack) for path in place.paths]
    settings = {
        "kind": place.kind,
        "path": paths[0] if len(paths) == 1 else f"[{', '.join(paths)}]",
        "part": place.part,
        "from": place.first,
        "optional": "true" if place.optional else "",
    }
    return ", ".join(f"{name}: {value}" for name, value in settings.items() if value)


def _path(path: str, stack: StackPlace) -> str:
    inside = f"{stack.blocks}.{{block}}."
    return path.removeprefix(inside) if path.startswith(inside) else f"/{path}"
