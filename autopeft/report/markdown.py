"""A report as Markdown, which a terminal shows as well; pictures are left to the HTML page.

What a picture shows stands in a table or a text too.
"""

from collections.abc import Sequence
from typing import assert_never

from autopeft.report.content import (
    Bars,
    Content,
    Details,
    HeatMap,
    Part,
    Scatter,
    Section,
    Table,
    Text,
    Warned,
)


def markdown(content: Content) -> str:
    """Write a report as a page of Markdown."""
    head = [f"# {content.title}", content.sentence, content.verdict.text]
    warnings = map(_part, content.warnings)
    return "\n\n".join([*head, *warnings, *map(_section, content.sections)]) + "\n"


def _section(section: Section) -> str:
    return "\n\n".join([f"## {section.heading}", *filter(None, map(_part, section.parts))])


def _part(part: Part) -> str:
    match part:
        case Text():
            return part.text
        case Warned():
            return f"**Warning:** {part.text}"
        case Table():
            return table(part.head, part.rows)
        case Details():
            return f"{part.title}:\n\n" + "\n".join(f"- {line}" for line in part.lines)
        case Scatter() | HeatMap() | Bars():
            return ""
        case _:
            assert_never(part)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table of Markdown; what would end a cell or a row is kept apart."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").splitlines())
