"""Which columns hold what, for the kinds of task whose input is no labelled text."""

from collections.abc import Sequence

from autopeft.errors import DataError, OptionError
from autopeft.study import Columns, TaskKind
from autopeft.tasks.columns import LABELS, TEXTS, find_split
from autopeft.tasks.images import IMAGE
from autopeft.tasks.table import Table

WORDS = ("tokens", "words", "text", "sentence")
TAGS = ("ner_tags", "tags", "pos_tags", "chunk_tags", "labels", "label", "ner", "pos")
PROMPTS = (
    ("prompt", "completion"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("prompt", "response"),
    ("input", "output"),
    ("question", "answer"),
)
TRANSLATIONS = (
    ("source", "target"),
    ("input", "output"),
    ("text", "target"),
    ("text", "summary"),
    ("document", "summary"),
    ("article", "highlights"),
    ("dialogue", "summary"),
    *PROMPTS,
)
IMAGES = (IMAGE, "img", "picture", "photo", "file", "file_name", "filename", "path")
_MEND = "name the columns with --text and --label"


def conventional_columns(
    kind: TaskKind,
    table: Table,
    *,
    text: str | None = None,
    label: str | None = None,
    pair: str | None = None,
    split: str | None = None,
) -> Columns:
    """Return the columns that were named, and find by convention those that were not.

    Raises:
        DataError: A named column does not exist, one column has two uses, or none goes by a
            conventional name.
        OptionError: A second text is named, which these kinds do not have.
    """
    if pair is not None:
        raise OptionError(
            f"--text-pair does not fit --task {kind}, which takes one input a row: leave it out"
        )
    named = [name for name in (text, label, split) if name is not None]
    for name in named:
        table.check(name)
    if twice := [name for name in named if named.count(name) > 1]:
        raise DataError(f"column {twice[0]!r} of {table.path} cannot have two uses: {_MEND}")
    split = split or find_split(table, [name for name in table.names if name not in named])
    free = [name for name in table.names if name not in {*named, split}]
    if kind == "causal_lm":
        text, label = _language(table, free, text, label)
    elif kind == "seq2seq":
        text, label = _two(table, free, TRANSLATIONS, (text, "text"), (label, "target text"))
    elif kind == "tokens":
        uses = (text, "words"), (label, "tags")
        text, label = _two(table, free, [(w, t) for w in WORDS for t in TAGS], *uses)
    else:
        uses = (text, "image"), (label, "label")
        text, label = _two(table, free, [(i, name) for i in IMAGES for name in LABELS], *uses)
    return Columns(text=text, label=label, split=split)


def _language(
    table: Table, free: Sequence[str], text: str | None, label: str | None
) -> tuple[str, str | None]:
    """Find a prompt and its completion or, where there are none, a text alone."""
    if text is not None and label is None:
        return text, None
    known = _spelled(free)
    if text is None and label is None:
        for prompt, completion in PROMPTS:
            if prompt in known and completion in known:
                return known[prompt], known[completion]
        if texts := [known[name] for name in TEXTS if name in known]:
            return texts[0], None
        if len(free) == 1:
            return free[0], None
        raise _cannot_tell(table, "text")
    return _two(table, free, PROMPTS, (text, "prompt"), (label, "completion"))


def _two(
    table: Table,
    free: Sequence[str],
    conventions: Sequence[tuple[str, str]],
    text: tuple[str | None, str],
    label: tuple[str | None, str],
) -> tuple[str, str]:
    """Return both columns; each comes with its use, for the message.

    What is not named is found by the first convention that fits beside what is, those with the
    named text first; of two columns it is the other one.
    """
    known, named = _spelled(free), (text[0] or "").casefold()
    for first, second in sorted(conventions, key=lambda names: names[0] != named):
        one, other = text[0] or known.get(first), label[0] or known.get(second)
        if one and other and one != other:
            return one, other
    if len(free) == 1 and (text[0] or label[0]):
        return text[0] or free[0], label[0] or free[0]
    begins = text[0] or any(first in known for first, _ in conventions)
    raise _cannot_tell(table, label[1] if begins and not label[0] else text[1])


def _spelled(names: Sequence[str]) -> dict[str, str]:
    return {name.casefold(): name for name in reversed(names)}


def _cannot_tell(table: Table, use: str) -> DataError:
    there = ", ".join(map(repr, table.names))
    return DataError(f"cannot tell which column of {table.path} is the {use} ({there}): {_MEND}")
