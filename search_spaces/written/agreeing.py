"""What the entries of a space have to agree on among themselves, whatever the backbone."""

from collections.abc import Iterator

from autopeft.errors import SpaceError
from autopeft.search_spaces.written.laying import SpaceText
from autopeft.search_spaces.written.meaning import meaningless
from autopeft.search_spaces.written.records import OneOf


def must_agree(space: SpaceText) -> None:
    """Refuse entries that contradict each other, or mean nothing on any backbone.

    Raises:
        SpaceError: Two do, and both lines are named; or one means nothing.
    """
    for fault in (*_twice(space), *_layers(space), *_picked(space), *meaningless(space)):
        raise SpaceError(fault)


def _twice(space: SpaceText) -> Iterator[str]:
    slots: dict[str, str] = {}
    names: dict[str, str] = {}
    for group in space.groups:
        if group.name in names:
            yield (
                f"{group.where}: the name {group.name!r} is that of the group at "
                f"{names[group.name]} already; give it another"
            )
        names[group.name] = group.where
        for slot in dict.fromkeys(s for alternative in group.slots for s in alternative):
            if slot in slots:
                yield (
                    f"{group.where}: {slot!r} is in the group at {slots[slot]} already, which ties "
                    "it otherwise; leave it in one"
                )
            slots[slot] = group.where


def _layers(space: SpaceText) -> Iterator[str]:
    tied = [group for group in space.groups if group.tie == "layer_groups"]
    if tied and not space.layer_groups:
        yield (
            f"{tied[0].where}: 'tie: layer_groups' needs layer groups: add such as "
            "'layer_groups: {count: 4, patterns: [spindle]}'"
        )
    if space.layer_groups and not tied:
        yield (
            f"{space.layer_groups.where}: no group is tied to these layer groups: write "
            "'tie: layer_groups' in one, or leave them out"
        )
    for group in tied:
        if group.depths or group.last:
            yield (
                f"{group.where}: {'depth' if group.depths else 'last'!r} and 'tie: layer_groups' "
                "both say in which blocks the group is; leave one of them"
            )
    for group in space.groups:
        if group.depths and group.last:
            yield (
                f"{group.where}: 'depth' and 'last' both say in which blocks the group is; leave "
                "one of them"
            )
    if space.allocation and not space.filled:
        yield (
            f"{space.where}: 'allocation' shares out a budget, but no group has 'sizes: budget'; "
            "write it in one, or leave 'allocation' out"
        )


def _picked(space: SpaceText) -> Iterator[str]:
    groups = {group.name: group for group in space.groups}
    rules: dict[str, OneOf] = {}
    for rule in space.one_of:
        if len(set(rule.groups)) < 2:
            yield f"{rule.where}: 'one_of' needs the names of two groups or more"
        for name in rule.groups:
            if name not in groups:
                known = ", ".join(groups)
                yield f"{rule.where}: there is no group {name!r}: there are {known}"
            elif groups[name].follows:
                yield (
                    f"{rule.where}: the group {name!r} at {groups[name].where} follows others and "
                    "cannot be chosen; leave it out"
                )
            elif name in rules:
                yield (
                    f"{rule.where}: the group {name!r} is in 'one_of' at {rules[name].where} "
                    "already; leave it in one"
                )
            rules[name] = rule
