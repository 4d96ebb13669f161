"""Search spaces written as YAML: the published ones beside this file, and users' own."""

from collections.abc import Iterable
from fractions import Fraction
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from autopeft.errors import SpaceError
from autopeft.search_spaces.allocation import ALLOCATIONS, PATTERNS
from autopeft.search_spaces.plugins import FoundSpaces, found_spaces
from autopeft.search_spaces.written.agreeing import must_agree
from autopeft.search_spaces.written.laying import SpaceText
from autopeft.search_spaces.written.lines import Value, read_lines
from autopeft.search_spaces.written.named import names
from autopeft.search_spaces.written.records import TIES, Group, LayerGroups, OneOf

_KEYS = {"name", "summary", "paper", "differs", "groups", "switches", "layer_groups"}
_KEYS |= {"allocation", "one_of", "start_from"}
_GROUP_KEYS = {"name", "slots", "sizes", "tie", "depth", "last", "optional", "follows"}
_MOST_HALVINGS = 32  # no width is that large
_MOST = 1_000_000  # nor is any size
_SIZES = (
    "a list of whole numbers such as [0, 4, 8] with one above 0, {halvings_of_width: 10}, or budget"
)


def known_spaces() -> tuple[SpaceText, ...]:
    """Read the spaces that come with autopeft, by name, then those of plug-ins."""
    return (*_published(), *brought_spaces().spaces)


def brought_spaces() -> FoundSpaces[SpaceText]:
    """Read the spaces that other installed packages bring along."""
    return found_spaces(parse_space, [space.name for space in _published()])


@cache
def _published() -> tuple[SpaceText, ...]:
    folder = resources.files("autopeft.search_spaces").joinpath("published")
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".yaml")), key=lambda f: f.name)
    return tuple(parse_space(file.read_text("utf-8"), file.name) for file in files)


def read_space(name_or_file: str) -> SpaceText:
    """Find a space by name, or read it from a YAML file.

    Raises:
        SpaceError: There is no such space or file, or the file is malformed.
    """
    known = {space.name: space for space in known_spaces()}
    if name_or_file in known:
        return known[name_or_file]
    path = Path(name_or_file)
    if path.suffix in {".yaml", ".yml"}:
        try:
            return parse_space(path.read_text("utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise SpaceError(f"cannot read the space file {name_or_file!r}: {error}") from None
    raise SpaceError(
        f"there is no search space {name_or_file!r}: there are {', '.join(known)}, "
        "or give a file that ends in .yaml"
    )


def parse_space(text: str, file: str) -> SpaceText:
    """Read a space from YAML.

    Raises:
        SpaceError: The text is no YAML, a key is missing, unknown or of the wrong kind, or two
            entries contradict each other; the line is named.
    """
    whole = read_lines(text, file)
    document = whole.mapping("a space", _KEYS)
    if "groups" not in document:
        raise whole.wrong("a space must have 'groups', a list of at least one group")
    such_as = "[{slots: [lora@attention.query], sizes: [0, 4, 8]}]"
    groups = document["groups"].items("'groups'", such_as)
    space = SpaceText(
        name=document["name"].text("'name'") if "name" in document else file,
        **{key: document[key].text(f"{key!r}") if key in document else ""
           for key in ("summary", "paper", "differs")},
        where=whole.where,
        groups=tuple(_group(group, f"group {n}") for n, group in enumerate(groups, 1)),
        switches="switches" in document and document["switches"].flag("'switches'"),
        layer_groups=_layer_groups(document.get("layer_groups")),
        allocation=_words(document.get("allocation"), "'allocation'", ALLOCATIONS),
        one_of=_one_of(document.get("one_of")),
        start_from=_words(document.get("start_from"), "'start_from'", names()),
    )  # fmt: skip
    must_agree(space)
    return space


def _group(value: Value, name: str) -> Group:
    entry = value.mapping("a group", _GROUP_KEYS)
    if "slots" not in entry:
        raise value.wrong("a group must have 'slots', a list such as [lora@attention.query]")
    follows = entry["follows"].texts("'follows'", '["lora@*"]') if "follows" in entry else ()
    for key in ("sizes", "tie", "depth", "last"):
        if follows and key in entry:
            raise entry[key].wrong(
                f"{key!r} contradicts 'follows' in line {entry['follows'].line}: what follows is "
                "on exactly where its leader is; leave one of them"
            )
    if not follows and "sizes" not in entry:
        raise value.wrong(f"a group must have 'sizes', {_SIZES}")
    sizes, halvings, filled = _sizes(entry["sizes"]) if "sizes" in entry else (None, 0, False)
    return Group(
        name=entry["name"].text("'name'") if "name" in entry else name,
        where=value.where,
        slots=entry["slots"].alternatives(),
        sizes=sizes,
        halvings=halvings,
        filled=filled,
        tie=entry["tie"].one_of("'tie'", TIES) if "tie" in entry else "none",  # type: ignore[arg-type]
        depths=_shares(entry.get("depth"), "'depth'", "a depth"),
        last=_shares(entry.get("last"), "'last'", "an entry of 'last'"),
        optional="optional" in entry and entry["optional"].flag("'optional'"),
        follows=follows,
    )


def _sizes(value: Value) -> tuple[tuple[int, ...] | None, int, bool]:
    if value.data == "budget":
        return None, 0, True
    if isinstance(value.data, dict) and set(value.data) == {"halvings_of_width"}:
        halvings = value.data["halvings_of_width"].number() or 0
        if 0 < halvings <= _MOST_HALVINGS:
            return None, halvings, False
        raise value.wrong(
            f"'halvings_of_width' must be a whole number above 0 and at most {_MOST_HALVINGS}"
        )
    numbers = [v.number() for v in value.data] if isinstance(value.data, list) else []
    sizes = [number for number in numbers if number is not None]
    if len(sizes) != len(numbers) or not any(sizes):
        raise value.wrong(f"'sizes' must be {_SIZES}, not {value.plain()!r}")
    if max(sizes) > _MOST:
        raise value.wrong(f"'sizes' must be at most {_MOST:,}, and {max(sizes)} is above")
    return tuple(sorted(set(sizes))), 0, False


def _shares(value: Value | None, key: str, what: str) -> tuple[Fraction, ...]:
    shares = value.items(key, "[1/4, 1/2, 3/4, 1]") if value else ()
    return tuple(sorted({share.share(what) for share in shares}))


def _words(value: Value | None, what: str, allowed: Iterable[str]) -> tuple[Any, ...]:
    if value is None:
        return ()
    words = list(allowed)
    return tuple(dict.fromkeys(v.one_of(what, words) for v in value.items(what, f"[{words[0]}]")))


def _layer_groups(value: Value | None) -> LayerGroups | None:
    if value is None:
        return None
    entry = value.mapping("'layer_groups'", {"count", "patterns"})
    count = entry["count"].number() if "count" in entry else None
    if not count or count < 2:
        raise value.wrong("'layer_groups' must have 'count', a whole number above 1")
    patterns = _words(entry.get("patterns"), "'patterns'", PATTERNS) or tuple(PATTERNS)
    return LayerGroups(count=count, patterns=patterns, where=value.where)


def _one_of(value: Value | None) -> tuple[OneOf, ...]:
    if value is None:
        return ()
    rules = []
    for one in value.items("'one_of'", "[{groups: [lora, adapter], tie: blocks}]"):
        entry = one.mapping("an entry of 'one_of'", {"groups", "tie"})
        if "groups" not in entry:
            raise one.wrong("an entry of 'one_of' must have 'groups', the names of two or more")
        groups = entry["groups"].texts("'groups' of 'one_of'", "[lora, adapter]")
        tie = entry["tie"].one_of("'tie' of 'one_of'", ("none", "blocks")) if "tie" in entry else ""
        rules.append(
            OneOf(groups=groups, tie="none" if tie == "none" else "blocks", where=one.where)
        )
    return tuple(rules)
