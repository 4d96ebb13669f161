"""The page: one file that asks nothing of anybody. It has landmarks, captions, and no script."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import assert_never

from autopeft.report.content import (
    Bars,
    Content,
    Details,
    HeatMap,
    Part,
    Picture,
    Scatter,
    Section,
    Table,
    Text,
    Warned,
)
from autopeft.report.html.element import Markup, element, joined, plain, prose
from autopeft.report.html.picture import classes, shape, svg
from autopeft.report.html.style import page_style
from autopeft.report.writing import PURPOSES
from autopeft.trial import Purpose

# Should an escape ever fail, the browser still runs nothing and asks nobody.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_NUMBER = re.compile(r"[-+]?[\d,]*\.?\d+(e[-+]?\d+)?( MiB| ms)?|")


def html_page(content: Content) -> str:
    """Write a report as one page of HTML."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"{content.title} · autopeft"),
        Markup(f"<style>{page_style()}</style>"),
    )
    body = element(
        "body",
        element("a", "Skip to the report", class_="skip", href="#report"),
        _header(content),
        element("main", *map(_section, content.sections), id="report"),
        element("footer", element("p", _FOOT)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


_FOOT = "Written by autopeft report. The file holds everything that it shows."


def _header(content: Content) -> Markup:
    kind = "better" if "**better**" in content.verdict.text else "even"
    links = (
        element("li", element("a", section.heading, href=f"#{_id(section.heading)}"))
        for section in content.sections
    )
    return element(
        "header",
        element("h1", content.title),
        element("p", prose(content.sentence), class_="sentence"),
        element("p", prose(content.verdict.text), class_=f"told {kind}"),
        *(_warned(warned) for warned in content.warnings),
        element("nav", element("ul", *links), aria_label="Sections"),
    )


def _id(heading: str) -> str:
    return re.sub(r"[^a-z]+", "-", heading.lower()).strip("-")


def _warned(warned: Warned) -> Markup:
    told = joined(element("strong", "Warning:"), " ", prose(warned.text))
    return element("p", told, class_="told warned")


def _section(section: Section) -> Markup:
    name = _id(section.heading)
    heading = element("h2", section.heading, id=f"{name}-heading")
    return element(
        "section", heading, *_parts(section.parts), id=name, aria_labelledby=f"{name}-heading"
    )


def _parts(parts: Sequence[Part]) -> Iterator[Markup]:
    """Yield what stands in a section; charts that follow one another stand side by side."""
    for side_by_side, group in groupby(parts, key=lambda part: isinstance(part, Scatter)):
        written = map(_part, group)
        if side_by_side:
            yield element("div", *written, class_="pictures")
        else:
            yield from written


def _part(part: Part) -> Markup:
    match part:
        case Text():
            return element("p", prose(part.text))
        case Warned():
            return _warned(part)
        case Table():
            return _table(part)
        case Details():
            return element(
                "details",
                element("summary", part.title),
                element("ul", *(element("li", line) for line in part.lines)),
            )
        case Scatter() | HeatMap() | Bars():
            return _figure(part)
        case _:
            assert_never(part)


def _table(table: Table) -> Markup:
    whole = element(
        "table",
        element("caption", table.caption),
        *_head(table.head),
        element("tbody", *_rows(table)),
    )
    scrolled = element("div", whole, class_="scroll", role="group", tabindex=0,
                       aria_label=f"Table: {table.caption}")  # fmt: skip
    if not table.folded:
        return scrolled
    return element("details", element("summary", "The numbers as a table"), scrolled)


def _head(head: Sequence[str]) -> Iterator[Markup]:
    if any(head):
        cells = (element("th", t, scope="col") if t else Markup("<td></td>") for t in head)
        yield element("thead", element("tr", *cells))


def _rows(table: Table) -> Iterator[Markup]:
    """Yield the rows. There may be thousands, so that they are written without much ado."""
    numeric = [
        all(_NUMBER.fullmatch(row[column]) for row in table.rows)
        for column, _ in enumerate(table.head)
    ]
    opened = ['<td class="n">' if number else "<td>" for number in numeric]
    for first, *rest in table.rows:
        cells = (f"{tag}{_cell(text)}</td>" for tag, text in zip(opened[1:], rest, strict=True))
        yield Markup(f'<tr><th scope="row">{_cell(first)}</th>{"".join(cells)}</tr>')


def _cell(text: str) -> Markup:
    return prose(text) if "`" in text else plain(text)


def _figure(picture: Picture) -> Markup:
    drawn = svg(picture)
    caption = element("figcaption", picture.text)
    if isinstance(picture, Scatter):
        return element("figure", drawn, *_legend(picture), caption)
    scrolled = element("div", drawn, class_="scroll", role="group", tabindex=0,
                       aria_label=picture.title)  # fmt: skip
    return element("figure", scrolled, caption)


def _legend(picture: Scatter) -> Iterator[Markup]:
    kinds = {point.kind for point in picture.points}
    items = [
        element("li", _sample(classes(kind), shape(kind, 8, 8)), word)
        for kind, word in PURPOSES.items()
        if kind in kinds
    ]
    if any(not point.whole for point in picture.points):
        part = _sample(classes(Purpose.SEARCH, whole=False), shape(Purpose.SEARCH, 8, 8))
        items.append(element("li", part, "part of a training"))
    items += [element("li", _sample(line.kind, "M0 8H16"), line.name) for line in picture.lines]
    if len(items) > 1:
        yield element("ul", *items, class_="legend")


def _sample(how: str, path: str) -> Markup:
    drawn = element("path", class_=how, d=path)
    return element("svg", drawn, width=16, height=16, aria_hidden="true")
