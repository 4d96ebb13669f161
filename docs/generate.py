"""Write the pages that follow from the code and from README: index.md, methods.md and spaces.md.

`make docs` runs it; a test fails where a page is not what this would write.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from autopeft.cli.methods import COLUMNS, row, source_of
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.catalog.opaque import REFUSED
from autopeft.search_spaces.method import Method
from autopeft.search_spaces.written.reading import brought_spaces, known_spaces

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"

_ONWARDS = """[Methods](methods.md) and [spaces](spaces.md) are what can be searched,
[architectures](architectures.md) what can be searched on, and [plug-ins](plug-ins.md) add to it.
[The service](service.md) is for a team.
"""
_METHODS = """# Methods

A *slot* is one method at one site. Any slots can stand side by side in a configuration, in any
block and at any size; what two of them may not change both is refused.

- **slice**: a smaller size is part of a larger one, so that a supernet can share its weights.
- **merge**: what is learned can be added to the backbone's own weights.
- **pack**: several configurations train in one pass.
- **export**: the class of the `peft` library that computes the same; what an adapter directory
  of it can hold (one prefix length for all blocks, say) is less than a configuration can.

`autopeft methods NAME` shows one method whole: equation, shapes, what it trains, learning rates.
"""
_FAMILIES = {
    "reparameterised": "Methods that change a frozen matrix.",
    "additive": "Small modules, factors, prefixes and prompts in the stream of activations.",
    "selective": "Some of the backbone's own weights, trained in place.",
    "hybrid": "Methods that weigh others against one another.",
    "opaque": "Methods that come through the installed `peft` library, layer by layer.",
}
_REFUSED = """## Known and not offered

What the installed `peft` has beyond the above:

"""
_SPACES = """# Published spaces

A space says which slots a search may fill, and with which sizes. `autopeft spaces show NAME` lays
one over a model and tells how large it is. [Own spaces](spaces-yaml.md) tells how to write one.
"""


def pages() -> dict[str, str]:
    """Return the text of every generated page by file name."""
    return {"index.md": index(), "methods.md": methods(), "spaces.md": spaces()}


def index() -> str:
    """Return the start of README."""
    start = README.read_text("utf-8").split("\n## Searching")[0]
    return f"{start.rstrip()}\n\n{_ONWARDS}"


def methods() -> str:
    """Return the table of methods, a section for each family."""
    sections = [_METHODS]
    for family, summary in _FAMILIES.items():
        members = [m for m in METHODS.values() if m.family == family and _own(m)]
        rows = [(f"`{m.name}`", m.summary, *row(m)[1:], m.paper) for m in members]
        columns = (COLUMNS[0], "what it is", *COLUMNS[1:], "paper")
        sections.append(f"## {family.capitalize()}\n\n{summary}\n\n{_table(columns, rows)}")
    listed = "".join(f"- `{name}`: {reason}.\n" for name, reason in REFUSED.items())
    return "\n".join([*sections, _REFUSED + listed])


def spaces() -> str:
    """Return a section for each published space."""
    brought = {space.name for space in brought_spaces().spaces}
    sections = [_SPACES]
    for space in known_spaces():
        if space.name in brought:
            continue
        facts = [f"{_sentence(space.summary)}\n"]
        if space.paper:
            facts.append(f"Paper: {_sentence(space.paper)}\n")
        if space.differs:
            facts.append(f"What differs: {_sentence(space.differs)}\n")
        sections.append("\n".join([f"## {space.name}\n", *facts]))
    return "\n".join(sections)


def _own(method: Method) -> bool:
    return not source_of(method).startswith("plug-in")


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text, "utf-8")
