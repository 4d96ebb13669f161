"""Pictures as PNG."""

import importlib.util

import pytest

from autopeft.errors import OptionError
from autopeft.report.png import png
from tests.report.studies import whole


@pytest.mark.slow
@pytest.mark.parametrize("picture", whole().pictures, ids=lambda picture: picture.name)
def test_every_picture_can_be_drawn(picture):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    content = png(picture)

    assert content.startswith(b"\x89PNG\r\n")
    assert int.from_bytes(content[16:20], "big") > 300


def test_without_matplotlib_it_is_said_what_to_do(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(OptionError, match=r"matplotlib, which is not installed.*SVG files"):
        png(whole().pictures[0])
