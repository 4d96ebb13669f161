"""The table of families in the documentation."""

from pathlib import Path

from autopeft.architectures.reading import StackPlace, architectures

DOCS = Path(__file__).parents[2] / "docs" / "architectures.md"
COLUMNS = {
    "q, k, v": {"attention.query", "attention.key", "attention.value"},
    "qkv": {"attention.qkv"},
    "output": {"attention.output"},
    "prefix": {"attention"},
    "cross": {"cross.query", "cross.key", "cross.value", "cross.output", "cross"},
    "input, output": {"ffn.input", "ffn.output"},
    "gate": {"ffn.gate"},
    "fused": {"ffn.fused"},
    "attention.norm": {"attention.norm"},
    "ffn.norm": {"ffn.norm"},
    "final.norm": {"final.norm"},
}


def row(types: tuple[str, ...], stack: StackPlace) -> str:
    places = {place.name: place for place in stack.places}

    def cell(names: set[str]) -> str:
        if not names <= set(places):
            return ""
        return "some" if any(places[name].optional for name in names) else "yes"

    cells = [", ".join(types), stack.name, stack.norm, *map(cell, COLUMNS.values())]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    head = ["model types", "stack", "norm", *COLUMNS]
    rows = [row(a.model_types, stack) for a in architectures() for stack in a.stacks]
    return "\n".join([f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *rows])


def test_the_table_of_families_is_that_of_the_architecture_files():
    assert table() in DOCS.read_text("utf-8"), table()
