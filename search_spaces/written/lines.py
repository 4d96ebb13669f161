"""YAML with line numbers: every value knows where it stands, so that errors can say so."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from typing import Any

import yaml

from autopeft.errors import SpaceError

_MOST = 200_000
_DEEPEST = 20


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a YAML file: ``data`` is a scalar, a list of values, or a mapping to values."""

    data: Any
    file: str
    line: int

    @property
    def where(self) -> str:
        """Where it stands, as errors begin."""
        return f"{self.file}, line {self.line}"

    def wrong(self, what: str) -> SpaceError:
        """Return the error that says what is wrong here."""
        return SpaceError(f"{self.where}: {what}")

    def mapping(self, what: str, allowed: Iterable[str]) -> dict[str, "Value"]:
        """Return a mapping whose keys are all allowed.

        Raises:
            SpaceError: It is none, or has a key that does not exist.
        """
        keys = ", ".join(sorted(allowed))
        if not isinstance(self.data, dict):
            raise self.wrong(f"{what} must be a mapping with the keys {keys}")
        for key, value in self.data.items():
            if key not in allowed:
                raise value.wrong(f"unknown key {key!r} of {what}; allowed are {keys}")
        return self.data

    def items(self, what: str, such_as: str) -> list["Value"]:
        """Return the values of a list that is not empty.

        Raises:
            SpaceError: It is no list, or an empty one.
        """
        if not isinstance(self.data, list) or not self.data:
            raise self.wrong(f"{what} must be a list such as {such_as}")
        return self.data

    def texts(self, what: str, such_as: str) -> tuple[str, ...]:
        """Return a list of texts.

        Raises:
            SpaceError: It is no list, an empty one, or holds something else.
        """
        values = self.items(what, such_as)
        if wrong := next((v for v in values if not isinstance(v.data, str)), None):
            raise wrong.wrong(f"{what} must be a list such as {such_as}")
        return tuple(value.data for value in values)

    def alternatives(self) -> tuple[tuple[str, ...], ...]:
        """Return a list of patterns of slots, or several lists of which the first is preferred.

        Raises:
            SpaceError: It is neither.
        """
        such_as = "[lora@attention.query]"
        if isinstance(self.data, dict) and set(self.data) == {"first_of"}:
            lists = self.data["first_of"].items("'first_of'", f"[{such_as}, ['lora@*']]")
            return tuple(one.texts("an alternative in 'first_of'", such_as) for one in lists)
        return (self.texts("'slots'", f"{such_as} or {{first_of: [[...], [...]]}}"),)

    def text(self, what: str) -> str:
        """Return a text.

        Raises:
            SpaceError: It is a list or a mapping.
        """
        if isinstance(self.data, (list, dict)):
            raise self.wrong(f"{what} must be a text")
        return "" if self.data is None else str(self.data)

    def flag(self, what: str) -> bool:
        """Return a truth value.

        Raises:
            SpaceError: It is something else.
        """
        if not isinstance(self.data, bool):
            raise self.wrong(f"{what} must be true or false, not {self.plain()!r}")
        return self.data

    def one_of(self, what: str, allowed: Iterable[str]) -> str:
        """Return a word out of some.

        Raises:
            SpaceError: It is none of them.
        """
        words = list(allowed)
        if self.data not in words:
            raise self.wrong(f"{what} must be one of {', '.join(words)}, not {self.plain()!r}")
        word: str = self.data
        return word

    def number(self) -> int | None:
        """Return a whole number that is not negative, or None where it is something else."""
        good = isinstance(self.data, int) and not isinstance(self.data, bool) and self.data >= 0
        return self.data if good else None

    def share(self, what: str) -> Fraction:
        """Return a share of a depth such as 0.25 or 7/24.

        Raises:
            SpaceError: It is no number from 0 to 1.
        """
        try:
            share = Fraction(str(self.data))
        except (ValueError, ZeroDivisionError):
            share = Fraction(-1)
        if isinstance(self.data, bool) or not 0 <= share <= 1:
            raise self.wrong(f"{what} must be a share such as 0.25 or 7/24, not {self.plain()!r}")
        return share

    def plain(self) -> Any:
        """Return the value as Python has it, without lines."""
        if isinstance(self.data, list):
            return [value.plain() for value in self.data]
        if isinstance(self.data, dict):
            return {key: value.plain() for key, value in self.data.items()}
        return self.data


def read_lines(text: str, file: str) -> Value:
    """Read YAML.

    Raises:
        SpaceError: The text is no YAML, nests too deeply, or says the same key twice.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        return Value(None, file, 1) if node is None else _value(loader, node, file, 0, count(1))
    except (yaml.YAMLError, ValueError) as error:
        said = " ".join(str(error).split()).replace('"<unicode string>"', file)
        raise SpaceError(f"{file} is no YAML: {said}") from None


def _value(
    loader: yaml.SafeLoader, node: yaml.Node, file: str, depth: int, seen: Iterator[int]
) -> Value:
    line = node.start_mark.line + 1
    if next(seen) > _MOST:  # a few lines of aliases of aliases may stand for billions
        raise SpaceError(f"{file}, line {line}: this comes to more than {_MOST:,} values")
    if depth > _DEEPEST:
        raise SpaceError(f"{file}, line {line}: this nests more than {_DEEPEST} deep")
    if isinstance(node, yaml.SequenceNode):
        return Value([_value(loader, n, file, depth + 1, seen) for n in node.value], file, line)
    if not isinstance(node, yaml.MappingNode):
        return Value(loader.construct_object(node), file, line)
    found: dict[str, Value] = {}
    for key, value in node.value:
        name, here = str(key.value), key.start_mark.line + 1
        if name in found:
            raise SpaceError(
                f"{file}, line {here}: the key {name!r} is there already, in line "
                f"{found[name].line}; leave one of them"
            )
        read = _value(loader, value, file, depth + 1, seen)
        found[name] = Value(read.data, file, here)
    return Value(found, file, line)
