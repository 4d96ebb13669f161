"""Methods and spaces that other installed packages bring along.

A package announces a method with an entry point in the group ``autopeft.methods`` that loads a
`Method` or a tuple of them, and a space with one in ``autopeft.spaces`` that loads a YAML file: a
path, a resource of the package, or the text itself. A plug-in that cannot be used is left out and
named by ``autopeft doctor`` and ``autopeft methods``; the rest works on.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from typing import Any, Generic, Protocol, TypeVar

from autopeft.errors import SpaceError
from autopeft.search_spaces.method import Method


class Named(Protocol):
    """What has a name."""

    @property
    def name(self) -> str:
        """The name."""


Space = TypeVar("Space", bound=Named)
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMethods:
    """The methods of plug-ins by name, the package of each, and what could not be used."""

    methods: dict[str, Method]
    packages: dict[str, str]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSpaces(Generic[Space]):
    """The spaces of plug-ins, and what could not be used."""

    spaces: tuple[Space, ...]
    problems: tuple[str, ...]


def found_methods(known: Collection[str]) -> FoundMethods:
    """Load the methods of plug-ins; ``known`` are the names that are taken."""
    methods: dict[str, Method] = {}
    packages: dict[str, str] = {}
    problems = []
    for entry in _entries("autopeft.methods"):
        loaded, problem = _loaded(entry)
        offered = loaded if isinstance(loaded, tuple) else (loaded,)
        problem = problem or _fault(offered, {*known, *methods})
        if problem:
            problems.append(_said(entry, problem))
            continue
        methods.update((method.name, method) for method in offered)
        packages.update((method.name, _package(entry)) for method in offered)
    return FoundMethods(methods=methods, packages=packages, problems=tuple(problems))


def found_spaces(parse: Callable[[str, str], Space], known: Collection[str]) -> FoundSpaces[Space]:
    """Read the spaces of plug-ins.

    ``parse`` makes a space of a text and of where it comes from, and raises what the user may read;
    ``known`` are the names that are taken.
    """
    spaces: dict[str, Space] = {}
    problems = []
    for entry in _entries("autopeft.spaces"):
        loaded, problem = _loaded(entry)
        if not problem:
            try:
                text = loaded if isinstance(loaded, str) else loaded.read_text("utf-8")
                space = parse(text, f"the space {entry.name!r}")
            except (SpaceError, OSError, UnicodeDecodeError, AttributeError) as error:
                problem = f"it cannot be read: {error}"
            else:
                if space.name in {*known, *spaces}:
                    problem = f"there is a space {space.name!r} already; choose another name"
        if problem:
            problems.append(_said(entry, problem))
        else:
            spaces[space.name] = space
    return FoundSpaces(spaces=tuple(spaces.values()), problems=tuple(problems))


def _entries(group: str) -> list[EntryPoint]:
    return sorted(entry_points(group=group), key=lambda entry: (_package(entry), entry.name))


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.value


def _said(entry: EntryPoint, problem: str) -> str:
    return (
        f"the plug-in {entry.name!r} of the package {_package(entry)!r} is left out: {problem}; "
        "mend or uninstall the package"
    )


def _loaded(entry: EntryPoint) -> tuple[Any, str]:
    try:
        return entry.load(), ""
    except Exception as error:  # a stranger's module may raise anything
        return None, f"loading {entry.value} failed with {type(error).__name__}: {error}"


def _fault(offered: tuple[object, ...], taken: set[str]) -> str:
    """Say what is wrong with what an entry point has loaded; nothing where all are methods."""
    for method in offered:
        if not isinstance(method, Method):
            return f"it is a {type(method).__name__}, not a Method or a tuple of them"
        if not _NAME.fullmatch(method.name):
            return f"the name {method.name!r} must be lower-case letters, digits and underscores"
        if method.name in taken:
            return f"there is a method {method.name!r} already; choose another name"
        if not _exists(method.attach):
            return f"attach of {method.name!r} must be 'module:function', not {method.attach!r}"
        taken.add(method.name)
    return ""


def _exists(reference: str) -> bool:
    module, _, function = reference.partition(":")
    try:
        return bool(function) and find_spec(module) is not None
    except (ImportError, ValueError):
        return False
