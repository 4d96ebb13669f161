"""Laying a written space over a backbone: patterns of slots become genes over cells."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import ceil

from autopeft.backbone import Backbone
from autopeft.errors import SpaceError
from autopeft.search_spaces.allocation import Allocation, Pattern, groups_of_rows
from autopeft.search_spaces.baselines import BASELINES, columns
from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.configuration import Slot
from autopeft.search_spaces.genes import Follower, Gene, Role
from autopeft.search_spaces.space import SearchSpace
from autopeft.search_spaces.written.named import named_configuration
from autopeft.search_spaces.written.possible import must_be_possible
from autopeft.search_spaces.written.records import Group, LayerGroups, OneOf

Cells = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceText:
    """A search space as written, before it is laid over a backbone."""

    name: str
    summary: str
    paper: str
    differs: str
    where: str
    groups: tuple[Group, ...]
    switches: bool = False
    layer_groups: LayerGroups | None = None
    allocation: tuple[Allocation, ...] = ()
    one_of: tuple[OneOf, ...] = ()
    start_from: tuple[str, ...] = ()

    @property
    def filled(self) -> bool:
        """Whether sizes follow from the budget."""
        return any(group.filled for group in self.groups)

    def on(self, backbone: Backbone, ceiling: int | None = None) -> SearchSpace:
        """Lay the space over a backbone; a space whose sizes follow from the budget needs one.

        Raises:
            SpaceError: A group names no slot that the backbone has, two groups name the same, or
                there is no ceiling where sizes follow from it; or no configuration can hold what
                is written (see ``must_be_possible``).
        """
        return _lay(self, backbone, ceiling)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Laid:
    """A group with the columns that it means on the backbone."""

    group: Group
    columns: tuple[int, ...]


def _lay(text: SpaceText, backbone: Backbone, ceiling: int | None) -> SearchSpace:
    if text.filled and ceiling is None:
        raise SpaceError(f"{text.where}: the sizes follow from the budget: name a budget")
    slots = _slots(text, backbone)
    laid = [_Laid(group=group, columns=_meant(text, group, slots)) for group in text.groups]
    laid = [one for one in laid if one.columns]
    _must_be_apart(text, laid, slots)
    sized = [one for one in laid if not one.group.follows]
    patterns = _patterns(text, backbone)
    genes = [gene for one in sized for gene in _genes(one, slots, backbone, text)]
    controls = [gene for one in sized for gene in _depths(one, slots, backbone)]
    controls += [gene for rule in text.one_of for gene in _picks(rule, sized, slots)]
    controls += _switches(genes, backbone.blocks) if text.switches else []
    owners = {column: one.group for one in laid for column in one.columns}
    must_be_possible(text.name, owners, slots, (*genes, *controls))
    if len(patterns) > 1 and text.layer_groups:
        controls.append(Gene(name="layer groups", choices=_numbers(patterns), role="pattern"))
    if len(text.allocation) > 1:
        controls.append(
            Gene(name="allocation", choices=_numbers(text.allocation), role="allocation")
        )
    return SearchSpace(
        name=text.name,
        summary=text.summary,
        blocks=backbone.blocks,
        slots=slots,
        genes=(*genes, *controls),
        followers=tuple(f for one in laid for f in _followers(one, sized, slots)),
        patterns=tuple(patterns),
        allocations=text.allocation,
        ceiling=ceiling if text.filled else None,
        start_from=text.start_from,
    )


def pattern_names(text: SpaceText, backbone: Backbone) -> dict[Pattern, tuple[int, ...]]:
    """Name the group of every row under each pattern; of equal ones the first is kept."""
    if text.layer_groups is None:
        return {}
    found: dict[Pattern, tuple[int, ...]] = {}
    for pattern in text.layer_groups.patterns:
        rows = groups_of_rows(pattern, backbone, _layer_groups(text, backbone))
        if rows not in found.values():
            found[pattern] = rows
    return found


def _layer_groups(text: SpaceText, backbone: Backbone) -> int:
    """Count the layer groups: no more than the smallest stack has blocks."""
    if text.layer_groups is None:
        return 0
    return min(text.layer_groups.count, *(stack.blocks for stack in backbone.stacks))


def _patterns(text: SpaceText, backbone: Backbone) -> list[tuple[int, ...]]:
    if text.layer_groups:
        return list(pattern_names(text, backbone).values())
    if text.allocation:  # without groups, an allocation goes from block to block
        return [tuple(row for stack in backbone.stacks for row in range(stack.blocks))]
    return []


def _slots(text: SpaceText, backbone: Backbone) -> tuple[Slot, ...]:
    """Take what the groups name, and what baselines and starts need that the backbone has."""
    slots = slots_of(backbone)
    wanted = {column for group in text.groups for column in _meant(text, group, slots)}
    if not wanted:
        raise SpaceError(f"space {text.name!r}: the backbone has none of its slots")
    for baseline in BASELINES:
        with suppress(SpaceError):
            wanted.update(baseline.columns(slots))
    for name in text.start_from:
        with suppress(SpaceError):
            wanted.update(named_configuration(name).columns(slots))
    return tuple(slot for column, slot in enumerate(slots) if column in wanted)


def _meant(text: SpaceText, group: Group, slots: tuple[Slot, ...]) -> tuple[int, ...]:
    """Find the columns of the first alternative that the backbone has."""
    errors = []
    for patterns in group.slots:
        found: dict[int, None] = {}
        missing = None
        for pattern in patterns:
            try:
                found.update(dict.fromkeys(columns(pattern, slots)))
            except SpaceError as error:
                missing = missing or error
        if missing is None or (group.optional and found):
            return tuple(found)
        errors.append(missing)
    if group.optional:
        return ()
    raise SpaceError(
        f"space {text.name!r} ({group.where}): {errors[-1]}; take another space, or mark the group "
        "'optional: true'"
    )


def _must_be_apart(text: SpaceText, laid: Sequence[_Laid], slots: tuple[Slot, ...]) -> None:
    taken: dict[int, Group] = {}
    for one in laid:
        for column in one.columns:
            if other := taken.get(column):
                raise SpaceError(
                    f"space {text.name!r}: the slot {slots[column].name!r} is in two groups "
                    f"({other.where} and {one.group.where}); leave it in one"
                )
            taken[column] = one.group


def _genes(
    laid: _Laid, slots: tuple[Slot, ...], backbone: Backbone, text: SpaceText
) -> Iterator[Gene]:
    """Tie the cells of a group together as it says."""
    group, tie = laid.group, laid.group.tie
    cells = _cells(laid.columns, slots)
    bundles: dict[str, list[tuple[int, int]]] = {}
    for block, column in cells:
        name = {
            "none": f"{slots[column].name}/{block}",
            "blocks": slots[column].name,
            "slots": f"{group.name}/{block}",
        }.get(tie, group.name)
        bundles.setdefault(name, []).append((block, column))
    parts = range(_layer_groups(text, backbone)) if tie == "layer_groups" else [-1]
    for name, bundle in bundles.items():
        choices = _choices(group, [slots[column] for _, column in bundle], backbone)
        for part in parts:
            yield Gene(
                name=name if part < 0 else f"{name}/group {part + 1}",
                choices=choices,
                cells=tuple(bundle),
                part=None if part < 0 else part,
                filled=group.filled,
            )


def _choices(group: Group, slots: Sequence[Slot], backbone: Backbone) -> tuple[int, ...]:
    """List the sizes; those above the largest that all slots can take count as that one."""
    if group.filled:
        return (0, 1)
    sizes = group.sizes
    if sizes is None:
        sizes = (0, *(backbone.width // 2**k for k in range(group.halvings)))
    most = min((slot.most for slot in slots if slot.most is not None), default=max(sizes))
    return tuple(sorted({min(size, most) for size in sizes}))


def _cells(found: Sequence[int], slots: tuple[Slot, ...]) -> Cells:
    return tuple((block, column) for column in found for block in range(*slots[column].blocks))


def _depths(laid: _Laid, slots: tuple[Slot, ...], backbone: Backbone) -> Iterator[Gene]:
    """Make a choice in every stack up to which row, or from which on, the group is."""
    group = laid.group
    role: Role = "depth" if group.depths else "last"
    for stack in backbone.stacks if group.depths or group.last else ():
        rows = range(stack.first, stack.first + stack.blocks)
        cells = tuple(cell for cell in _cells(laid.columns, slots) if cell[0] in rows)
        ends = {stack.first + ceil(stack.blocks * share) for share in group.depths}
        ends |= {ceil(stack.blocks * s) - stack.blocks - stack.first for s in group.last}
        if cells:
            name = f"{role} of {group.name}" + (f" in {stack.name}" if stack.name else "")
            yield Gene(name=name, choices=tuple(sorted(ends)), cells=cells, role=role)


def _picks(rule: OneOf, laid: Sequence[_Laid], slots: tuple[Slot, ...]) -> Iterator[Gene]:
    """Make a choice between groups, of which the backbone has at least two."""
    keeps = tuple(tuple(sorted(o.columns)) for o in laid if o.group.name in rule.groups)
    if len(keeps) < 2:
        return
    cells = _cells([column for kept in keeps for column in kept], slots)
    name, choices = f"one of {', '.join(rule.groups)}", _numbers(keeps)
    if rule.tie == "blocks":
        yield Gene(name=name, choices=choices, cells=cells, role="pick", keeps=keeps)
        return
    for row in sorted({block for block, _ in cells}):
        inside = tuple(cell for cell in cells if cell[0] == row)
        yield Gene(name=f"{name}/{row}", choices=choices, cells=inside, role="pick", keeps=keeps)


def _switches(genes: Sequence[Gene], blocks: int) -> list[Gene]:
    cells = sorted({cell for gene in genes for cell in gene.cells})
    return [
        Gene(
            name=f"block {block}",
            choices=(0, 1),
            cells=tuple(cell for cell in cells if cell[0] == block),
            role="switch",
        )
        for block in range(blocks)
    ]


def _followers(laid: _Laid, sized: Sequence[_Laid], slots: tuple[Slot, ...]) -> Iterator[Follower]:
    """Find for every slot of a following group what it follows: slots at its own site."""
    group = laid.group
    if not group.follows:
        return
    named = {c for pattern in group.follows for c in _found(pattern, slots)}
    leading = named & {column for one in sized for column in one.columns}
    found = False
    for column in laid.columns:
        if own := tuple(sorted(c for c in leading if slots[c].site == slots[column].site)):
            found = True
            yield Follower(column=column, leaders=own)
    if not found and not group.optional:
        raise SpaceError(
            f"{group.where}: nothing that {', '.join(group.follows)} names is at a site of "
            f"{', '.join(slots[c].name for c in laid.columns)}: there is nothing to follow"
        )


def _found(pattern: str, slots: tuple[Slot, ...]) -> list[int]:
    with suppress(SpaceError):
        return columns(pattern, slots)
    return []


def _numbers(items: Sequence[object]) -> tuple[int, ...]:
    return tuple(range(len(items)))
