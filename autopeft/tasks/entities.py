"""Named entities in tags of words, in the IOB schemes that people write.

``B-PER I-PER O`` is one entity of the kind PER. Of an ``I-`` without a beginning before it a new
entity begins, as CoNLL's own script and seqeval have it; ``E-`` ends one and ``S-`` is one alone.
A tag without a prefix, other than ``O``, is an entity as long as it is repeated.
"""

from collections.abc import Sequence

Entity = tuple[str, int, int]

OUTSIDE = "O"
_PREFIXES = frozenset("BIES")


def entities(tags: Sequence[str]) -> frozenset[Entity]:
    """Return the entities of a sentence: kind, first word and the word after the last.

    Example:
        >>> sorted(entities(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"]))
        [('LOC', 3, 4), ('LOC', 4, 5), ('PER', 0, 2)]
    """
    found: list[Entity] = []
    kind, began, ended = "", 0, True
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, name = _split(tag)
        if kind and (ended or prefix in {"B", "S"} or name != kind):
            found.append((kind, began, place))
            kind = ""
        if name and not kind:
            kind, began = name, place
        ended = prefix in {"E", "S"}
    return frozenset(found)


def has_entities(names: Sequence[str]) -> bool:
    """Tell whether tags mark entities: some of them begin with ``B-``, ``I-``, ``E-`` or ``S-``."""
    return any(tag[:1] in _PREFIXES and tag[1:2] == "-" for tag in names)


def _split(tag: str) -> tuple[str, str]:
    """Return prefix and kind; the kind is empty outside of entities."""
    if tag == OUTSIDE:
        return "", ""
    if tag[:1] in _PREFIXES and tag[1:2] == "-":
        return tag[0], tag[2:]
    return "I", tag
