"""Which kind of task a table looks like, where nobody says it.

Only images are taken for what they look like; of other kinds no more than a hint is given.
"""

from itertools import product

from autopeft.study import TaskKind
from autopeft.tasks.columns import TEXTS
from autopeft.tasks.conventions import IMAGES, PROMPTS, TRANSLATIONS
from autopeft.tasks.images import shows_images
from autopeft.tasks.table import Table

# What nobody calls a text and its class.
_WORDS = ("tokens", "words")
_TAGS = ("tags", "ner_tags", "pos_tags", "chunk_tags", "labels", "ner", "pos")


def is_of_images(table: Table, text: str | None, pair: str | None) -> bool:
    """Tell whether the input of a task on a table is images.

    It is if the column named as text is one of images or, where none is named, if one with a
    conventional name is and no other column is called as texts are.
    """
    if pair is not None:
        return False
    if text is not None:
        return shows_images(table, text)
    names = {name.casefold(): name for name in table.names}
    others = [name for name in TEXTS if name in names and not shows_images(table, names[name])]
    return not others and any(shows_images(table, names[name]) for name in IMAGES if name in names)


def other_kinds(table: Table) -> tuple[TaskKind, ...]:
    """Return the kinds whose data a table looks like, classification and regression apart."""
    names = {name.casefold() for name in table.names}
    looks: dict[TaskKind, bool] = {
        "tokens": bool(table.lists) or any(names >= {*pair} for pair in product(_WORDS, _TAGS)),
        "causal_lm": any(names >= {*pair} for pair in PROMPTS),
        "seq2seq": any(names >= {*pair} for pair in TRANSLATIONS),
        "image": any(shows_images(table, name) for name in table.names),
    }
    return tuple(kind for kind, alike in looks.items() if alike)
