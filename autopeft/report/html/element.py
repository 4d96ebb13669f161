"""Elements of HTML and SVG; what is put into one is escaped unless it is an element itself."""

import re
from html import escape

# What XML does not allow, even escaped; a label from a file may hold any of it.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_CODE = re.compile(r"`([^`]+)`")
_WEIGHT = re.compile(r"\*\*([^*]+)\*\*")


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | Markup


def plain(text: str) -> Markup:
    r"""Return a text as it stands, whatever it holds.

    Example:
        >>> plain("a <script> & \a")
        'a &lt;script&gt; &amp; �'
    """
    return Markup(escape(_FORBIDDEN.sub("\ufffd", text)))


def prose(text: str) -> Markup:
    """Return a text in which `code` and **weight** are marked.

    Example:
        >>> prose("run `a < b`, **now**")
        'run <code>a &lt; b</code>, <strong>now</strong>'
    """
    marked = _CODE.sub(r"<code>\1</code>", plain(text))
    return Markup(_WEIGHT.sub(r"<strong>\1</strong>", marked))


def element(name: str, /, *children: Child, **attributes: str | float) -> Markup:
    """Return an element. Of attributes a final underscore falls away, others become hyphens.

    Example:
        >>> element("th", "<b>", scope="row", class_="n")
        '<th scope="row" class="n">&lt;b&gt;</th>'
        >>> element("line", x1=1.0, stroke_width=2)
        '<line x1="1" stroke-width="2"/>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for key, value in attributes.items()
    )
    if not children:
        return Markup(f"<{name}{written}/>" if name in _EMPTY else f"<{name}{written}></{name}>")
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: Child) -> Markup:
    """Put elements and texts one after the other."""
    return Markup("".join(c if isinstance(c, Markup) else plain(c) for c in children))


_EMPTY = {"line", "path", "rect", "circle", "meta"}


def _value(value: str | float) -> str:
    return plain(value) if isinstance(value, str) else f"{round(value, 2):g}"
