"""What lies within a place: the layers of a block or a sub-layer, the slices of a fused matrix."""

from dataclasses import replace

from autopeft.backbone import Backbone, Site
from autopeft.search_spaces.method import LINEARS, NORMS

_LAYERS = frozenset((*LINEARS, *NORMS)) - {"attention.qkv", "final.norm"}


def parts(place: str) -> frozenset[str]:
    """Name the layers whose weights a method at a place may change.

    Example:
        >>> sorted(parts("attention.qkv"))
        ['attention.key', 'attention.query', 'attention.value']
    """
    if place == "block":
        return _LAYERS
    if place == "attention.qkv":
        return frozenset({"attention.query", "attention.key", "attention.value"})
    if place in {"attention", "cross", "ffn"}:
        return frozenset(p for p in _LAYERS - set(NORMS) if p.startswith(f"{place}."))
    return frozenset({place})


def layers_within(backbone: Backbone, site: Site) -> tuple[Site, ...]:
    """List the layers within a block (linear layers and norms) or a sub-layer (linear layers).

    A fused matrix is listed once and whole. What only some of the site's blocks have is left out,
    so that all of them cost the same.
    """
    by_path: dict[str, list[Site]] = {}
    for layer in backbone.sites:
        if _is_within(layer, site):
            by_path.setdefault(layer.path, []).append(layer)
    return tuple(map(_whole, by_path.values()))


def _is_within(layer: Site, site: Site) -> bool:
    return (
        layer.stack == site.stack
        and "{block}" in layer.path
        and layer.blocks[0] <= site.blocks[0]
        and layer.blocks[1] >= site.blocks[1]
        and (
            layer.kind in {"linear", "norm"}
            if site.kind == "block"
            else layer.kind == "linear" and layer.place.startswith(f"{site.place}.")
        )
    )


def _whole(sharing: list[Site]) -> Site:
    """Return the one site of those in a matrix that is all of it, or make it of its slices."""
    whole = next((layer for layer in sharing if layer.start is None), None)
    return whole or replace(sharing[0], start=None, outputs=sum(s.outputs for s in sharing))
