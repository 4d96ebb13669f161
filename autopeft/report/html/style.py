"""The colours of a report, in light and dark, and its style sheets.

Pictures stand alone too, in programs that know no variables of CSS: there they name colours.
"""

import re
from functools import cache
from importlib import resources

# The colours of the service's page, for light and for dark.
_COLOURS = {
    "ground": ("#f4f6f9", "#0f141b"),
    "card": ("#ffffff", "#181f29"),
    "raised": ("#eef2f7", "#222b38"),
    "line": ("#d5dce6", "#333f50"),
    "strong": ("#75839a", "#7d8ba1"),
    "text": ("#182230", "#e8edf4"),
    "muted": ("#4d5b70", "#a9b5c6"),
    "accent": ("#1d56b0", "#8bb8ff"),
    "good": ("#14683a", "#74d39c"),
    "goodground": ("#e4f4ea", "#14301f"),
    "bad": ("#a4241c", "#ff9d95"),
    "warn": ("#7a4a00", "#f3c06b"),
    "warnground": ("#fdf3df", "#35270d"),
    "evenground": ("#e9effa", "#1a2942"),
    "heat1": ("#d9e6fb", "#1f3250"),
    "heat2": ("#b3cdf5", "#28467a"),
    "heat3": ("#86aeea", "#3560aa"),
    "heat4": ("#2f68bd", "#6f9fe8"),
    "heat5": ("#17458f", "#a9cbff"),
    "on3": ("#0b1626", "#ffffff"),
    "on4": ("#ffffff", "#0b1626"),
}
_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif'
_DARK = "@media screen and (prefers-color-scheme: dark)"
_VARIABLE = re.compile(r"var\(--(\w+)\)")


@cache
def picture_style() -> str:
    """Return the rules of a picture that stands alone, for light and dark."""
    light, dark = (_named(_sheet("picture.css"), scheme) for scheme in (0, 1))
    both = zip(light.splitlines(), dark.splitlines(), strict=True)
    changed = "\n".join(there for here, there in both if here != there)
    return f"{light}{_DARK} {{\n{changed}\n}}\n"


@cache
def page_style() -> str:
    """Return the rules of the page with its pictures, for light and dark."""
    light, dark = (
        "".join(f"--{name}: {pair[scheme]}; " for name, pair in _COLOURS.items())
        for scheme in (0, 1)
    )
    colours = f":root {{ --font: {_FONT}; {light}}}\n{_DARK} {{ :root {{ {dark}}} }}\n"
    return colours + _sheet("page.css") + _sheet("picture.css")


def colour(name: str) -> str:
    """Return a colour by its name, for light ground."""
    return _COLOURS[name][0]


def _named(sheet: str, scheme: int) -> str:
    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        return _FONT if name == "font" else _COLOURS[name][scheme]

    return _VARIABLE.sub(value, sheet)


def _sheet(name: str) -> str:
    """Return a style sheet without its comments."""
    text = resources.files("autopeft.report.html").joinpath(name).read_text("utf-8")
    return re.sub(r"/\*.*?\*/\s*", "", text, flags=re.DOTALL)
