"""Which columns hold the text, its pair, the label and the split."""

from collections.abc import Collection, Iterable, Sequence

from autopeft.errors import DataError
from autopeft.study import Columns
from autopeft.tasks.splits import part_named
from autopeft.tasks.table import Cell, Table, number

TEXTS: tuple[str, ...] = (
    *("text", "sentence", "review", "content", "body", "document", "comment", "tweet", "message"),
    *("utterance", "question", "premise", "sentence1", "title"),
)
PAIRS = (
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "answer"),
    ("question", "context"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "passage"),
    ("query", "document"),
)
LABELS: tuple[str, ...] = (
    *("label", "labels", "target", "class", "category", "sentiment", "score", "rating"),
    *("stars", "similarity_score", "gold_label", "y"),
)
SPLITS = ("split", "subset", "partition")
_LONG = 20  # characters on average, from which a column looks like text
_FEW = 20  # distinct values, up to which a column looks like a label
_MEND = "name the columns with --text, --label and, for two texts a row, --text-pair"


def find_columns(
    table: Table,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    split: str | None = None,
) -> Columns:
    """Return the columns that were named, and find those that were not.

    Conventional names come first, in any case, then the only column that looks like the part.
    A pair is looked for where no text is named and no column is called ``text``. A column with a
    conventional name is the split only if it holds a word for a part somewhere.

    Raises:
        DataError: A named column does not exist, one column has two uses, or there is no single
            candidate.
    """
    named = [name for name in (text, pair, label, split) if name is not None]
    for name in named:
        table.cells(name)
    if twice := [name for name in named if named.count(name) > 1]:
        raise DataError(f"column {twice[0]!r} of {table.path} cannot have two uses: {_MEND}")
    free = [name for name in table.columns if name not in named]
    split = split or find_split(table, free)
    label = label or _conventional(LABELS, _without(free, split))
    if text is None and pair is None:
        text = _conventional(TEXTS[:1], _without(free, split, label))
    if text is None and pair is None:
        text, pair = _conventional_pair(_without(free, split, label))
    text = text or _conventional(_texts_for(pair), _without(free, split, label))
    text = text or _only(table, "text", _long(table, _without(free, split, label, pair)))
    label = label or _only(table, "label", _few(table, _without(free, split, text, pair)))
    return Columns(text=text, label=label, pair=pair, split=split)


def find_split(table: Table, free: Collection[str]) -> str | None:
    """Return the column with a conventional name that holds a word for a part, if there is one."""
    plain = [name for name in free if name in table.columns]
    return _conventional(SPLITS, [name for name in plain if _names_parts(table, name)])


def _without(names: Iterable[str], *taken: str | None) -> list[str]:
    return [name for name in names if name not in taken]


def _conventional(conventions: Iterable[str], names: Collection[str]) -> str | None:
    spelled = {name.casefold(): name for name in reversed(list(names))}
    return next((spelled[name] for name in conventions if name in spelled), None)


def _conventional_pair(names: Collection[str]) -> tuple[str | None, str | None]:
    spelled = {name.casefold(): name for name in reversed(list(names))}
    for first, second in PAIRS:
        if first in spelled and second in spelled:
            return spelled[first], spelled[second]
    return None, None


def _texts_for(pair: str | None) -> Sequence[str]:
    """Return the names to look for first: that of the pair's partner."""
    partners = [first for first, second in PAIRS if pair and second == pair.casefold()]
    return (*partners, *TEXTS)


def _only(table: Table, use: str, candidates: Sequence[str]) -> str:
    if len(candidates) == 1:
        return candidates[0]
    there = ", ".join(map(repr, table.names))
    raise DataError(f"cannot tell which column of {table.path} is the {use} ({there}): {_MEND}")


def _present(cells: Iterable[Cell]) -> list[str]:
    return [cell for cell in cells if cell is not None]


def _names_parts(table: Table, name: str) -> bool:
    return any(part_named(cell) for cell in set(_present(table.columns[name])))


def _long(table: Table, names: Iterable[str]) -> list[str]:
    return [name for name in names if _is_long(_present(table.columns[name]))]


def _is_long(cells: Sequence[str]) -> bool:
    words = [cell for cell in cells if number(cell) is None]
    return sum(map(len, words)) >= _LONG * max(1, len(cells))


def _few(table: Table, names: Iterable[str]) -> list[str]:
    return [name for name in names if _is_few(_present(table.columns[name]))]


def _is_few(cells: Sequence[str]) -> bool:
    return 2 <= len(set(cells)) <= min(_FEW, len(cells) // 2)
