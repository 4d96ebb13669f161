"""The stages in which a space is refined, after S4 (Chen et al. 2023, arXiv 2301.01821).

A stage asks one question and has an option for each answer; an option narrows genes down to some of
their choices. In a space with layer groups the questions are S4's: how the blocks are grouped, how
the budget is shared out, which groups are tuned, and which methods each of them has. Of any other
space they are of the same kind: which of rival groups, which methods, how deep, which thirds of
the blocks, which sizes, and which slots.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from autopeft.search_spaces.genes import Gene
from autopeft.search_spaces.space import SearchSpace

Allowed = tuple[tuple[int, ...], ...]
"""For each gene of a space the choices that are left, ascending and never none."""
Needs = tuple[frozenset[int], ...]
"""Sets of genes of which one has to be on."""

_MOST_LEVELS = 4
_MOST_TOGETHER = 4  # of more genes there are too many subsets: they are asked for one by one
_THIRDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One answer: the choices that it leaves, and sets of genes of which one has to be on."""

    name: str
    only: Mapping[int, frozenset[int]]
    needs: Needs = ()

    def narrow(self, space: SearchSpace, allowed: Allowed) -> Allowed | None:
        """Narrow down what is left; None where this contradicts what was decided before."""
        narrowed = tuple(
            tuple(c for c in left if g not in self.only or c in self.only[g])
            for g, left in enumerate(allowed)
        )
        if not all(narrowed):
            return None
        for needed in self.needs:
            if not any(space.genes[g].choices[c] > 0 for g in needed for c in narrowed[g]):
                return None
        return narrowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One question with its answers."""

    name: str
    options: tuple[Option, ...]


def everything(space: SearchSpace) -> Allowed:
    """Return what is allowed before anything is decided."""
    return tuple(tuple(range(len(gene.choices))) for gene in space.genes)


def restricted(space: SearchSpace, allowed: Allowed) -> SearchSpace:
    """Return the part of a space that is left; genomes of it are shorter numbers, not of it."""
    genes, patterns, allocations = [], space.patterns, space.allocations
    for gene, left in zip(space.genes, allowed, strict=True):
        choices = tuple(gene.choices[c] for c in left)
        keeps = tuple(gene.keeps[c] for c in left) if gene.keeps else ()
        genes.append(replace(gene, choices=choices, keeps=keeps))
        if gene.role == "pattern":
            patterns = tuple(space.patterns[c] for c in left)
        if gene.role == "allocation":
            allocations = tuple(space.allocations[c] for c in left)
    return replace(space, genes=tuple(genes), patterns=patterns, allocations=allocations)


def stages_of(space: SearchSpace) -> Iterator[Stage]:
    """Yield the stages of a space, in order; some may turn out to leave nothing to decide."""
    yield from _framing(space)
    yield from _picks(space)
    yield from _groups(space)
    plain = [g for g, gene in enumerate(space.genes) if gene.part is None]
    yield from _methods(space, plain)
    yield from _depths(space)
    yield from _thirds(space, plain)
    yield from _sizes(space)
    yield from _slots(space, plain)


def _framing(space: SearchSpace) -> Iterator[Stage]:
    for role, name in (("pattern", "layer grouping"), ("allocation", "allocation")):
        for g, gene in enumerate(space.genes):
            if gene.role == role:
                yield Stage(
                    name=name,
                    options=tuple(
                        Option(name=_framed(space, gene, c), only={g: frozenset({c})})
                        for c in range(len(gene.choices))
                    ),
                )


def _framed(space: SearchSpace, gene: Gene, choice: int) -> str:
    if gene.role == "allocation":
        name: str = space.allocations[choice]
        return name
    pattern = space.patterns[choice]
    return "-".join(str(pattern.count(group)) for group in range(max(pattern) + 1))


def _picks(space: SearchSpace) -> Iterator[Stage]:
    """Ask once for all rows which of the rival groups is there."""
    rules: dict[str, list[int]] = {}
    for g, gene in enumerate(space.genes):
        if gene.role == "pick":
            rules.setdefault(gene.name.partition("/")[0], []).append(g)
    for name, genes in rules.items():
        keeps = space.genes[genes[0]].keeps
        yield Stage(
            name=name,
            options=tuple(
                Option(
                    name=", ".join(space.slots[column].name for column in kept),
                    only={g: frozenset({c}) for g in genes},
                )
                for c, kept in enumerate(keeps)
            ),
        )


def _groups(space: SearchSpace) -> Iterator[Stage]:
    """Ask which layer groups are tuned, then for the methods of each."""
    parts: dict[int, list[int]] = {}
    for g, gene in enumerate(space.genes):
        if gene.part is not None:
            parts.setdefault(gene.part, []).append(g)
    if not parts:
        return
    yield _runs("tuned groups", [parts[part] for part in sorted(parts)], "group")
    for part, genes in sorted(parts.items()):
        yield from _subsets(f"group {part + 1}", space, genes)


def _runs(name: str, parts: Sequence[Sequence[int]], what: str) -> Stage:
    """Ask which parts that follow each other are tuned; the longest run comes first."""
    spans = [(a, b) for a in range(len(parts)) for b in range(a + 1, len(parts) + 1)]
    spans.sort(key=lambda span: (span[0] - span[1], span[0]))
    options = []
    for first, end in spans:
        outside = [g for i, part in enumerate(parts) if not first <= i < end for g in part]
        label = f"{what} {first + 1}" if end - first == 1 else f"{what}s {first + 1}-{end}"
        needs = tuple(frozenset(part) for part in parts[first:end] if part)
        options.append(Option(name=label, only=_off(outside), needs=needs))
    return Stage(name=name, options=tuple(options))


def _subsets(name: str, space: SearchSpace, genes: Sequence[int]) -> Iterator[Stage]:
    """Ask which of several genes are on: for every set of few, one by one where they are many."""
    if len(genes) > _MOST_TOGETHER:
        for g in genes:
            yield _with_or_without(space.genes[g].name, space, [g])
        return
    options = []
    for size in range(1, len(genes) + 1):
        for on in combinations(genes, size):
            label = ", ".join(space.genes[g].name.partition("/")[0] for g in on)
            only = _off([g for g in genes if g not in on])
            only |= {g: _on(space.genes[g]) for g in on}
            options.append(Option(name=label, only=only))
    yield Stage(name=name, options=tuple(options))


def _methods(space: SearchSpace, genes: Sequence[int]) -> Iterator[Stage]:
    methods = {g: _of_cells(space, g, lambda slot: slot.method) for g in genes}
    names = [m for m in space.free_methods if {m} in methods.values()]
    for name in names if len(space.free_methods) > 1 else ():
        yield _with_or_without(name, space, [g for g in genes if methods[g] == {name}])


def _slots(space: SearchSpace, genes: Sequence[int]) -> Iterator[Stage]:
    slots = {g: _of_cells(space, g, lambda slot: slot.name) for g in genes}
    of_method: dict[str, set[str]] = {}
    for slot in space.slots:
        if {slot.name} in slots.values():
            of_method.setdefault(slot.method, set()).add(slot.name)
    for slot in space.slots:
        if slot.name in of_method.get(slot.method, ()) and len(of_method[slot.method]) > 1:
            yield _with_or_without(slot.name, space, [g for g in genes if slots[g] == {slot.name}])


def _depths(space: SearchSpace) -> Iterator[Stage]:
    for g, gene in enumerate(space.genes):
        if gene.role in {"depth", "last"}:
            yield Stage(
                name=gene.name,
                options=tuple(
                    Option(name=str(abs(gene.choices[c])), only={g: frozenset({c})})
                    for c in _levels(range(len(gene.choices)))
                ),
            )


def _thirds(space: SearchSpace, genes: Sequence[int]) -> Iterator[Stage]:
    """Ask which thirds of the blocks are tuned, where genes decide about single blocks."""
    stack = min(space.blocks, _THIRDS)
    third = [row * stack // space.blocks for row in range(space.blocks)]
    parts: list[list[int]] = [[] for _ in range(stack)]
    for g in genes:
        gene = space.genes[g]
        where = {third[row] for row, _ in gene.cells}
        if gene.role in {"size", "switch"} and len(where) == 1 and gene.choices[0] == 0:
            parts[where.pop()].append(g)
    for role in ("switch", "size"):  # switches decide more than the sizes that they switch
        own = [[g for g in part if space.genes[g].role == role] for part in parts]
        if len(own) > 1 and all(own):
            yield _runs("tuned blocks", own, "third" if stack == _THIRDS else "half")
            return


def _sizes(space: SearchSpace) -> Iterator[Stage]:
    """Ask for each method which size it has where it is."""
    for method in space.free_methods:
        own = [
            g
            for g in range(len(space.genes))
            if space.genes[g].role == "size"
            and not space.genes[g].filled
            and _of_cells(space, g, lambda slot: slot.method) == {method}
        ]
        sizes = sorted({size for g in own for size in space.genes[g].choices if size})
        yield Stage(
            name=f"size of {method}",
            options=tuple(
                Option(name=str(size), only={g: _near(space.genes[g], size) for g in own})
                for size in _levels(sizes)
            ),
        )


def _with_or_without(name: str, space: SearchSpace, genes: Sequence[int]) -> Stage:
    own = [g for g in genes if space.genes[g].role == "size"]
    options: tuple[Option, ...] = (Option(name="with", only={}, needs=(frozenset(own),)),)
    if all(space.genes[g].choices[0] == 0 for g in own):
        options = (*options, Option(name="without", only=_off(own)))
    return Stage(name=name, options=options)


def _off(genes: Iterable[int]) -> dict[int, frozenset[int]]:
    return dict.fromkeys(genes, frozenset({0}))


def _on(gene: Gene) -> frozenset[int]:
    return frozenset(c for c, value in enumerate(gene.choices) if value)


def _near(gene: Gene, size: int) -> frozenset[int]:
    """Find the choice nearest to a size on the logarithmic scale, and absence where there is it."""
    sizes = [c for c, value in enumerate(gene.choices) if value]
    nearest = min(sizes, key=lambda c: abs(np.log(gene.choices[c] / size)))
    return frozenset({nearest} | {c for c, value in enumerate(gene.choices) if not value})


def _levels(values: Iterable[int]) -> list[int]:
    """Thin out what are too many, keeping both ends."""
    ordered = list(values)
    if len(ordered) <= _MOST_LEVELS:
        return ordered
    places = np.linspace(0, len(ordered) - 1, _MOST_LEVELS).round().astype(int)
    return [ordered[place] for place in places]


def _of_cells(space: SearchSpace, gene: int, what: Callable[..., str]) -> set[str]:
    return {what(space.slots[column]) for _, column in space.genes[gene].cells}
