"""The methods: where each can sit, what it costs there, and how it is trained by default.

Costs follow from the backbone's shape alone. ``autopeft/methods`` holds the modules; a property
test holds their number of trained elements against the counts given here. Other packages add
methods through the entry points of ``plugins``.
"""

from autopeft.backbone import Backbone
from autopeft.search_spaces.catalog import (
    additive,
    hybrid,
    opaque,
    prompts,
    reparameterised,
    selective,
)
from autopeft.search_spaces.configuration import Slot
from autopeft.search_spaces.method import Method
from autopeft.search_spaces.plugins import found_methods

_OWN: dict[str, Method] = {
    method.name: method
    for method in (
        *selective.METHODS,
        *reparameterised.METHODS,
        *additive.METHODS,
        *prompts.METHODS,
        *opaque.METHODS,
        *hybrid.METHODS,
    )
}
PLUGINS = found_methods(_OWN)
"""What other installed packages offer, and what of it cannot be used."""

METHODS: dict[str, Method] = _OWN | PLUGINS.methods
"""By name, in the order in which they are put into a block: what comes later lies further out."""


def slots_of(backbone: Backbone) -> tuple[Slot, ...]:
    """List every method at every site that the backbone has: the columns of its configurations."""
    return tuple(
        Slot(
            method=method.name,
            site=site.name,
            stack=site.stack,
            blocks=site.blocks,
            unit=cost.unit,
            fixed=cost.fixed,
            square=cost.square,
            once=cost.once,
            most=cost.most,
        )
        for method in METHODS.values()
        for site in backbone.sites
        if site.place in method.places
        if (cost := method.cost(backbone, site)) is not None
    )
