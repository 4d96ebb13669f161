"""Models of two towers, one for texts and one for images, of which a task uses one."""

from dataclasses import replace

from autopeft.backbone import Backbone
from autopeft.study import TaskKind

_TOWERS = {"text", "vision"}


def tower_of(backbone: Backbone, kind: TaskKind) -> Backbone:
    """Keep the tower that sees the data of a kind of task; all of a model that has none.

    What sat in the other tower would be paid for and learn nothing. ``parameters`` stays the count
    of the whole model, as the share of a budget is understood everywhere else.
    """
    if {stack.name for stack in backbone.stacks} != _TOWERS:
        return backbone
    used = "vision" if kind == "image" else "text"
    stack = next(stack for stack in backbone.stacks if stack.name == used)
    sites = (
        replace(site, blocks=(site.blocks[0] - stack.first, site.blocks[1] - stack.first))
        for site in backbone.sites
        if site.stack == used
    )
    return replace(backbone, stacks=(replace(stack, first=0),), sites=tuple(sites))
