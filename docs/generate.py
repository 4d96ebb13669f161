"""Write the pages that follow from the code and from README: index.md, methods.md and spaces.md.

`make docs` runs it; a test fails where a page is not what this would write. kernels.md is written
by `python docs/generate.py kernels`, which compiles every kernel for every kind of GPU: Triton
keeps what has not changed, but the first time takes half an hour.
"""

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autopeft.cli.methods import COLUMNS, row, source_of
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.catalog.opaque import REFUSED
from autopeft.search_spaces.method import Method
from autopeft.search_spaces.written.reading import brought_spaces, known_spaces

if TYPE_CHECKING:
    from autopeft.kernels.ahead import Compiled, Variant

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"

_ONWARDS = """[Methods](methods.md) and [spaces](spaces.md) are what can be searched,
[architectures](architectures.md) what can be searched on, and [plug-ins](plug-ins.md) add to it.
[The service](service.md) is for a team. [Speed and memory](speed.md) tells what makes trials cheap.
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


_KERNELS = """# Kernels

The operators that methods are made of run on a GPU as kernels in Triton. They are compiled here
without one, by Triton {triton}, for {targets}.

A row is a kernel with numbers of a kind. It tells the range over all ways in which the kernel can
be cut, of which the fastest is found on the device at hand, at the first call of a shape: registers
of a thread, shared memory of a program, and the instructions that its matrix products become.
Nothing spills registers into memory, and no program wants more shared memory than there is
({shared}); a test fails where one would. Widths and strides that
are no multiples of 16 are read number by number, for which the leanest way of each is compiled as
well: what that spills is told. fp32 is multiplied exactly, which A100 and H100 have no matrix
instructions for.

On a processor there is nothing to compile: the operators run in plain PyTorch. Which form of each
runs on the machine at hand, and what else it can do, is told by

    autopeft doctor

What is not as it should be (a cache that cannot be written, a GPU without Triton, a store that
cannot be read) is a problem there, and the command ends with 2.
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


def kernels() -> str:
    """Return what every kernel takes on every kind of GPU; this compiles them all."""
    import triton

    from autopeft.kernels.ahead import TARGETS, compile_all, operators

    sections = [
        _KERNELS.format(
            triton=triton.__version__,
            targets=", ".join(f"{target.name} ({target.gpus})" for target in TARGETS),
            shared=", ".join(f"{t.shared // 1024} KiB on {t.gpus}" for t in TARGETS),
        )
    ]
    columns = ("kernel", "numbers", "ways", *(target.name for target in TARGETS))
    for operator in operators():
        found = list(compile_all(operator))
        rows = []
        for kernel, numbers, ways in kinds_of([each.variant for each in found]):
            cells = [
                _taken([each for each in found if each.target == target and each.variant in ways])
                for target in TARGETS
            ]
            rows.append((f"`{kernel}`", numbers, str(len(ways)), *cells))
        sections.append(f"## {operator}\n\n{_table(columns, rows)}")
    return "\n".join(sections)


def kinds_of(variants: Sequence["Variant"]) -> list[tuple[str, str, list["Variant"]]]:
    """Group variants by their kernel and the kinds of numbers that it computes with."""
    groups: dict[tuple[str, str], list[Variant]] = defaultdict(list)
    for variant in variants:
        types = (kind.partition(":")[0] for kind in variant.types.values())
        numbers = sorted({kind[1:] for kind in types if kind.startswith(("*b", "*f"))})
        group = groups[variant.kernel.__name__, ", ".join(numbers)]
        if variant not in group:
            group.append(variant)
    return [(*kind, group) for kind, group in groups.items()]


def _taken(found: Sequence["Compiled"]) -> str:
    """Say what some variants take on one kind of GPU, from the least to the most."""
    registers = [each.registers for each in found]
    shared = max(each.shared for each in found) / 1024
    cores = ", ".join(sorted({one for each in found for one in each.cores.split(", ")} - {""}))
    problems = sorted({f"**{problem}**" for each in found for problem in each.problems})
    least, most = min(registers), max(registers)
    count = str(least) if least == most else f"{least} to {most}"
    spilled = max(0 if each.even else each.spilled for each in found)
    said = (
        f"{count} registers",
        f"up to {shared:.1f} KiB" if shared >= 0.1 else "",
        cores,
        f"{spilled} bytes spilled where sizes are uneven" if spilled else "",
        *problems,
    )
    return ", ".join(filter(None, said))


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
    asked = {"kernels.md": kernels()} if sys.argv[1:] == ["kernels"] else pages()
    for name, text in asked.items():
        (DOCS / name).write_text(text, "utf-8")
