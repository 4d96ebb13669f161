"""What may be named in a request, described: spaces, methods and strategies as JSON documents.

Sources are read and not run where running them would load the libraries that they use.
"""

import ast
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autopeft.search_spaces.catalog import METHODS, PLUGINS
from autopeft.search_spaces.method import Method
from autopeft.search_spaces.written.laying import SpaceText
from autopeft.wiring.strategies import STRATEGIES


def space_document(text: SpaceText) -> dict[str, Any]:
    """Say what a search space is, without a model that it could be laid over."""
    return {
        "name": text.name,
        "summary": text.summary,
        "paper": text.paper,
        "differs": text.differs,
        "start_from": list(text.start_from),
    }


def source_of(method: Method) -> str:
    """Tell where a method comes from: autopeft itself, the peft library or a plug-in."""
    if method.name in PLUGINS.packages:
        return f"plug-in {PLUGINS.packages[method.name]}"
    return "peft" if method.family == "opaque" else "native"


def method_document(method: Method) -> dict[str, Any]:
    """Return all that is known of a method."""
    return {
        "name": method.name,
        "summary": method.summary,
        "paper": method.paper,
        "family": method.family,
        "comes_from": source_of(method),
        "sites": list(method.places),
        "size": method.size,
        "identity_at_initialisation": method.identity,
        "scale": method.scale,
        "learning_rate": {
            "low": method.rates.low,
            "default": method.rates.default,
            "high": method.rates.high,
        },
        "slice": method.elastic,
        "merges": method.merges,
        "merge": method.merge,
        "pack": method.packs,
        "peft": method.peft or None,
        "takes": sorted(method.takes),
        "adds": sorted(method.adds),
        "description": method_description(method),
    }


def method_description(method: Method) -> str:
    """Return what the method's own source says: equation, shapes, count, merge.

    That is the docstring of its module, and of its function where a module holds several methods.
    """
    module, _, function = method.attach.partition(":")
    tree = _tree(module)
    if tree is None:
        return ""
    alone = sum(m.attach.partition(":")[0] == module for m in METHODS.values()) == 1
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function]
    shown: list[ast.Module | ast.FunctionDef] = [tree] if alone else [tree, *functions]
    return "\n\n".join(ast.get_docstring(node) or "" for node in shown)


def strategy_document(name: str) -> dict[str, Any]:
    """Describe a strategy: what it does, what it needs, and its options with their defaults."""
    entry = STRATEGIES[name]
    return {
        "name": name,
        "summary": entry.summary,
        "needs": entry.needs,
        "options": _defaults(f"autopeft.strategies.{entry.module}", "Options"),
    }


def _defaults(module: str, name: str) -> dict[str, str]:
    """Read the fields of a class and their defaults, from where it is written."""
    tree = _tree(module)
    for node in tree.body if tree else ():
        if isinstance(node, ast.ClassDef) and node.name == name:
            return {
                str(field.target.id): _default(field.value)
                for field in node.body
                if isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and field.value is not None
            }
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _defaults(node.module, alias.name)
    return {}


def _default(value: ast.expr) -> str:
    try:
        return str(ast.literal_eval(value))
    except ValueError:
        return ast.unparse(value)


@cache
def _tree(module: str) -> ast.Module | None:
    found = find_spec(module)
    if found is None or found.origin is None:
        return None
    return ast.parse(Path(found.origin).read_text("utf-8"))
