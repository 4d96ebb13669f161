"""Search spaces written as YAML: the published ones beside this file, and users' own."""

from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from autopeft.backbone import Backbone
from autopeft.errors import SpaceError
from autopeft.search_spaces.baselines import BASELINES, columns
from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.configuration import Slot
from autopeft.search_spaces.space import Gene, SearchSpace

_KEYS = {"name", "summary", "paper", "differs", "groups", "switches"}
_GROUP_KEYS = {"slots", "sizes", "tie"}
_TIES = ("none", "blocks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Slots that take the same sizes. ``tie`` is ``blocks`` for one size shared by all blocks.

    ``sizes`` are numbers, or ``halvings of width``: the width divided by 1, 2, 4 and so on.
    """

    slots: tuple[str, ...]
    sizes: tuple[int, ...] | None
    halvings: int
    tie: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceText:
    """A search space as written, before it is laid over a backbone."""

    name: str
    summary: str
    paper: str
    differs: str
    groups: tuple[Group, ...]
    switches: bool

    def on(self, backbone: Backbone) -> SearchSpace:
        """Lay the space over a backbone.

        Raises:
            SpaceError: A group names no slot that the backbone has, or two groups name the same.
        """
        slots = self._slots(backbone)
        genes: list[Gene] = []
        taken: dict[int, str] = {}
        for group in self.groups:
            for column in _columns(group, slots):
                if column in taken:
                    raise SpaceError(
                        f"space {self.name!r}: the slot {slots[column].name!r} is in two groups; "
                        "leave it in one"
                    )
                taken[column] = self.name
                genes.extend(_genes(group, column, slots[column], backbone))
        if self.switches:
            genes.extend(
                Gene(name=f"block {block}", choices=(0, 1), switches=block)
                for block in range(backbone.blocks)
            )
        return SearchSpace(
            name=self.name,
            summary=self.summary,
            blocks=backbone.blocks,
            slots=slots,
            genes=tuple(genes),
        )

    def _slots(self, backbone: Backbone) -> tuple[Slot, ...]:
        """Take what the groups name, and what the baselines need that the backbone has."""
        slots = slots_of(backbone)
        wanted: set[int] = set()
        for group in self.groups:
            for pattern in group.slots:
                try:
                    wanted.update(columns(pattern, slots))
                except SpaceError as error:
                    raise SpaceError(f"space {self.name!r}: {error}") from None
        for baseline in BASELINES:
            with suppress(SpaceError):
                wanted.update(c for name in baseline.slots for c in columns(name, slots))
        return tuple(slot for column, slot in enumerate(slots) if column in wanted)


def known_spaces() -> tuple[SpaceText, ...]:
    """Read the spaces that come with autopeft, by name."""
    folder = resources.files("autopeft.search_spaces")
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


def parse_space(text: str, where: str) -> SpaceText:
    """Read a space from YAML.

    Raises:
        SpaceError: The text is no YAML, or a key is missing, unknown or of the wrong kind.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpaceError(f"{where} is no YAML: {' '.join(str(error).split())}") from None
    document = _mapping(document, where, _KEYS)
    groups = document.get("groups")
    if not isinstance(groups, list) or not groups:
        raise SpaceError(f"{where}: 'groups' must be a list of at least one group")
    switches = document.get("switches", False)
    if not isinstance(switches, bool):
        raise SpaceError(f"{where}: 'switches' must be true or false, not {switches!r}")
    return SpaceText(
        name=str(document.get("name", where)),
        summary=str(document.get("summary", "")),
        paper=str(document.get("paper", "")),
        differs=str(document.get("differs", "")),
        groups=tuple(_group(group, f"{where}, group {i}") for i, group in enumerate(groups, 1)),
        switches=switches,
    )


def _group(document: Any, where: str) -> Group:
    document = _mapping(document, where, _GROUP_KEYS)
    slots, tie = document.get("slots"), document.get("tie", "none")
    if not isinstance(slots, list) or not slots or not all(isinstance(s, str) for s in slots):
        raise SpaceError(f"{where}: 'slots' must be a list such as [lora@attention.query]")
    if tie not in _TIES:
        raise SpaceError(f"{where}: 'tie' must be one of {', '.join(_TIES)}, not {tie!r}")
    sizes = document.get("sizes")
    if isinstance(sizes, dict) and set(sizes) == {"halvings_of_width"}:
        halvings = sizes["halvings_of_width"]
        if not isinstance(halvings, int) or isinstance(halvings, bool) or halvings < 1:
            raise SpaceError(f"{where}: 'halvings_of_width' must be a whole number above 0")
        return Group(slots=tuple(slots), sizes=None, halvings=halvings, tie=tie)
    if (
        not isinstance(sizes, list)
        or not all(isinstance(s, int) and not isinstance(s, bool) and s >= 0 for s in sizes)
        or not any(sizes)
    ):
        raise SpaceError(
            f"{where}: 'sizes' must be a list of whole numbers such as [0, 4, 8] with one above 0, "
            f"or {{halvings_of_width: 10}}, not {sizes!r}"
        )
    return Group(slots=tuple(slots), sizes=tuple(sorted(set(sizes))), halvings=0, tie=tie)


def _mapping(document: Any, where: str, allowed: set[str]) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise SpaceError(f"{where} must be a mapping with the keys {', '.join(sorted(allowed))}")
    if unknown := sorted(str(key) for key in document if key not in allowed):
        raise SpaceError(
            f"{where}: unknown key {unknown[0]!r}; allowed are {', '.join(sorted(allowed))}"
        )
    return document


def _columns(group: Group, slots: tuple[Slot, ...]) -> list[int]:
    return list(dict.fromkeys(c for pattern in group.slots for c in columns(pattern, slots)))


def _genes(group: Group, column: int, slot: Slot, backbone: Backbone) -> list[Gene]:
    sizes = group.sizes
    if sizes is None:
        halved = {backbone.width // 2**k for k in range(group.halvings)}
        sizes = tuple(sorted(halved | {0}))
    if group.tie == "blocks":
        cells = tuple((block, column) for block in range(*slot.blocks))
        return [Gene(name=slot.name, choices=sizes, cells=cells)]
    return [
        Gene(name=f"{slot.name}/{block}", choices=sizes, cells=((block, column),))
        for block in range(*slot.blocks)
    ]
