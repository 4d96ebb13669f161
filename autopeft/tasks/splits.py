"""Which row belongs to which part of the data."""

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from autopeft.errors import DataError

PartName = Literal["train", "validation", "test"]
PARTS: tuple[PartName, ...] = ("train", "validation", "test")
MINIMUM_ROWS = 10
_TRAIN_SHARE = 3  # parts in five, or in four if only one part is cut off
_BINS = 10
_WORDS: dict[str, PartName] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}


def part_named(word: str) -> PartName | None:
    """Return the part that a cell of a split column names, in any case, or None.

    Example:
        >>> part_named("Dev"), part_named("fold 1")
        ('validation', None)
    """
    return _WORDS.get(word.casefold())


def assign_parts(
    given: Sequence[PartName], texts: Sequence[Hashable], strata: Sequence[int], *, seed: int
) -> tuple[PartName, ...]:
    """Return the part of each row, after cutting off train what was not given.

    From train alone, 20% go to validation and 20% to test; where one of them is given, the other
    gets 25%. Every stratum is shared out like this, to within one row as far as its repeated
    texts allow: rows of equal text always go to the same part, those of a text in several strata
    with its rarest one. The seed decides the rest. Rows of parts that were given stay there.
    """
    names: list[PartName] = ["train", *_missing(given)]
    assigned = list(given)
    rng = np.random.default_rng(seed)
    for groups in _groups(given, texts, strata):
        shuffled = [groups[place] for place in rng.permutation(len(groups))]
        # The largest first, so that single rows can still even out what the large ones upset.
        shuffled.sort(key=len, reverse=True)
        for rows, part in zip(shuffled, _share_out(shuffled, len(names)), strict=True):
            for row in rows:
                assigned[row] = names[part]
    return tuple(assigned)


def check_texts(
    given: Sequence[PartName], texts: Sequence[Hashable], owners: Sequence[str]
) -> None:
    """Refuse data that cannot be cut into the missing parts.

    ``owners`` names, for the message, what each row needs a text for in every part: its class.

    Raises:
        DataError: Train has too few rows, or an owner has fewer distinct texts than parts.
    """
    source = [row for row, part in enumerate(given) if part == "train"]
    if len(source) < MINIMUM_ROWS:
        raise DataError(
            f"the data has {len(source)} rows to train on, too few to learn from: "
            f"give at least {MINIMUM_ROWS}"
        )
    missing = _missing(given)
    distinct = Counter(owner for owner, _ in {(owners[row], texts[row]) for row in source})
    few = [owner for owner in distinct if distinct[owner] <= len(missing)]
    if missing and few:
        raise DataError(
            f"{few[0]} has too few distinct texts ({distinct[few[0]]}) to be cut into train and "
            f"{' and '.join(missing)}: add texts until there are {len(missing) + 1}, remove the "
            "rows, or give a file for each part"
        )


def quantile_bins(
    values: NDArray[np.int64] | NDArray[np.float64], texts: Sequence[Hashable]
) -> tuple[int, ...]:
    """Return strata for labels that are numbers: up to ten bins with as many texts in each.

    Rows of equal text are in the bin of their mean. There are five texts or more for each bin.
    """
    names = {text: name for name, text in enumerate(dict.fromkeys(texts))}
    groups = np.array([names[text] for text in texts])
    means = np.bincount(groups, weights=values) / np.bincount(groups)
    bins = min(_BINS, max(1, len(means) // 5))
    edges = np.quantile(means, np.arange(1, bins) / bins)
    return tuple(np.searchsorted(np.unique(edges), means)[groups].tolist())


def _missing(given: Sequence[PartName]) -> list[PartName]:
    return [part for part in PARTS[1:] if part not in given]


def _groups(
    given: Sequence[PartName], texts: Sequence[Hashable], strata: Sequence[int]
) -> list[list[list[int]]]:
    """Return train's rows as strata of groups of equal text, in an order the data alone decides."""
    frequency = Counter(strata)
    rows_of: dict[Hashable, list[int]] = {}
    for row, text in enumerate(texts):
        if given[row] == "train":
            rows_of.setdefault(text, []).append(row)
    groups_of: dict[int, list[list[int]]] = {}
    for rows in rows_of.values():
        rarest = min((strata[row] for row in rows), key=lambda name: (frequency[name], name))
        groups_of.setdefault(rarest, []).append(rows)
    return [groups_of[name] for name in sorted(groups_of)]


def _share_out(groups: Sequence[Sequence[int]], parts: int) -> list[int]:
    """Return a part for each group, the first one being train, such that no part stays empty.

    Groups too few for all parts stay in train.
    """
    if len(groups) < parts:
        return [0] * len(groups)
    rows = sum(map(len, groups))
    cut = max(1, round(rows / (_TRAIN_SHARE + parts - 1)))
    wanted = [rows - cut * (parts - 1)] + [cut] * (parts - 1)
    chosen: list[int] = []
    empty = set(range(parts))
    for left, group in zip(range(len(groups), 0, -1), groups, strict=True):
        open_parts = sorted(empty) if left <= len(empty) else range(parts)
        part = max(open_parts, key=wanted.__getitem__)
        wanted[part] -= len(group)
        empty.discard(part)
        chosen.append(part)
    return chosen
