"""What patterns of slots can mean on some backbone, and groups that mean nothing on any."""

from collections.abc import Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import combinations

from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.written.laying import SpaceText
from autopeft.search_spaces.written.records import Group

_SLOTS = tuple(f"{method.name}@{place}" for method in METHODS.values() for place in method.places)
_HEADS = frozenset(slot.partition("@")[2].partition(".")[0] for slot in _SLOTS)
_GLOB = frozenset("*?[")


def meanings(pattern: str) -> frozenset[tuple[str, str]]:
    """Find what a pattern can mean: the stack, empty for any, and the slot without it.

    Example:
        >>> sorted(meanings("lora@encoder.attention.q*"))
        [('encoder', 'lora@attention.qkv'), ('encoder', 'lora@attention.query')]
    """
    found = {("", slot) for slot in _SLOTS if fnmatchcase(slot, pattern)}
    method, _, site = pattern.partition("@")
    stack, _, place = site.partition(".")
    if place and stack not in _HEADS:
        found |= {(stack, slot) for slot in _SLOTS if fnmatchcase(slot, f"{method}@{place}")}
    return frozenset(found)


def meaningless(space: SpaceText) -> Iterator[str]:
    """Name what no backbone can make sense of; what depends on one is left to laying."""
    yield from (fault for group in space.groups for fault in _unknown(group))
    yield from _overlapping(space)
    for group in space.groups:
        yield from _too_large_for_switches(group)
        yield from _nowhere(group)
        yield from _alone(group, space)


def _unknown(group: Group) -> Iterator[str]:
    patterns = dict.fromkeys(p for alternative in group.slots for p in alternative)
    for pattern in (*patterns, *group.follows):
        if not meanings(pattern) and (instead := _instead(pattern)):
            yield f"{group.where}: there is no slot {pattern!r}: {instead}"


def _instead(pattern: str) -> str:
    """Say what may be meant; empty where ``*`` stands for a stack, which depends on the model."""
    method, at, site = pattern.partition("@")
    if not any(fnmatchcase(name, method) for name in METHODS):
        return (
            f"there is no method {method!r}; {_close(method, METHODS)}'autopeft methods' lists them"
        )
    if not at:
        return f"write where it sits too, such as {_first(method)}"
    if _GLOB.intersection(site):
        return ""
    places = [slot.partition("@")[2] for slot in _SLOTS if fnmatchcase(slot, f"{method}@*")]
    places = list(dict.fromkeys(places))
    return (
        f"no model has such a site; {_close(site, places)}the sites of {method!r} are "
        f"{', '.join(places)}"
    )


def _close(word: str, words: object) -> str:
    close = get_close_matches(word, list(words), 1)  # type: ignore[call-overload]
    return f"did you mean {close[0]!r}? " if close else ""


def _first(method: str) -> str:
    return next(slot for slot in _SLOTS if fnmatchcase(slot, f"{method}@*"))


def _overlapping(space: SpaceText) -> Iterator[str]:
    """Name two groups with a slot in common on every backbone that has what they name."""
    certain = [group for group in space.groups if len(group.slots) == 1 and not group.optional]
    for first, second in combinations(certain, 2):
        for one, other in ((a, b) for a in first.slots[0] for b in second.slots[0]):
            if slot := _shared(one, other):
                yield (
                    f"{second.where}: the slot {slot!r} is in two groups, as {other!r} here and "
                    f"{one!r} in the one at {first.where} both name it; leave it in one"
                )


def _shared(one: str, other: str) -> str:
    theirs = meanings(other)
    for stack, slot in sorted(meanings(one)):
        for another, same in theirs:
            if slot == same and (stack == another or not stack or not another):
                return slot
    return ""


def _too_large_for_switches(group: Group) -> Iterator[str]:
    above = [size for size in group.sizes or () if size]
    for pattern in (p for alternative in group.slots for p in alternative):
        if above and min(above) > 1 and (found := meanings(pattern)) and _switches(found):
            yield (
                f"{group.where}: its sizes above 0 begin at {min(above)}, and {pattern} takes 0 "
                "to 1 here, as a switch: write [0, 1] or [1]"
            )


def _switches(found: frozenset[tuple[str, str]]) -> bool:
    return all(METHODS[slot.partition("@")[0]].size == "switch" for _, slot in found)


def _nowhere(group: Group) -> Iterator[str]:
    for key, shares in (("depth", group.depths), ("last", group.last)):
        if shares and not any(shares):
            yield (
                f"{group.where}: {key!r} is a depth of no blocks, so the group is nowhere: write "
                f"such as {key}: [1/2, 1], or leave the group out"
            )


def _alone(group: Group, space: SpaceText) -> Iterator[str]:
    """Name a group of methods that act on others, where nothing of those is in the space."""
    if group.follows:
        return
    own = {slot for one in group.slots for p in one for _, slot in meanings(p)}
    needed = set().union(*(_needed(slot) for slot in own)) if own else set()
    if not needed or not all(METHODS[slot.partition("@")[0]].needs for slot in own):
        return
    there = {slot for g in space.groups for one in g.slots for p in one for _, slot in meanings(p)}
    if there.isdisjoint(needed):
        yield (
            f"{group.where}: {', '.join(group.slots[0])} never trains anything: all that it names "
            f"acts on other methods, which no group names; add such as {min(needed)}"
        )


def _needed(slot: str) -> set[str]:
    method, _, place = slot.partition("@")
    return {need for need in METHODS[method].needs if need.partition("@")[2] == place}
