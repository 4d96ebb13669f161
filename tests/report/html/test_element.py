"""Elements of HTML and SVG."""

from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopeft.report.html.element import Markup, element, joined, plain, prose

ANY = st.text(st.characters(codec=None), max_size=80)


class Reader(HTMLParser):
    """Reads elements and texts back."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened, self.texts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.opened.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


@given(ANY)
def test_whatever_a_text_holds_it_stays_a_text(text):
    written = element("p", text, title=text)
    read = Reader(written)

    assert [tag for tag, _ in read.opened] == ["p"]
    assert ElementTree.fromstring(written.encode()).tag == "p"
    written.encode()  # lone surrogates cannot be


@given(ANY)
def test_marks_in_a_text_make_nothing_but_code_and_weight(text):
    assert {tag for tag, _ in Reader(prose(text)).opened} <= {"code", "strong"}


def test_a_script_in_a_label_is_shown_as_it_stands():
    text = "<script>alert('x')</script>\" onload=\"y"

    assert "".join(Reader(element("p", text)).texts) == text
    assert Reader(element("p", title=text)).opened == [("p", {"title": text})]


@pytest.mark.parametrize("forbidden", ["\x00", "\x08", "\x1b", "\ud800", "\uffff"])
def test_what_no_file_may_hold_is_replaced(forbidden):
    assert plain(f"a{forbidden}b") == "a\ufffdb"


def test_elements_go_into_one_another_and_texts_are_escaped():
    assert element("p", element("b", "<"), ">") == "<p><b>&lt;</b>&gt;</p>"
    assert joined(Markup("<hr>"), "&") == "<hr>&amp;"


def test_numbers_are_written_short_and_names_with_hyphens():
    assert element("line", x1=1.23456, stroke_width=2, class_="a") == (
        '<line x1="1.23" stroke-width="2" class="a"/>'
    )
    assert element("td") == "<td></td>"
    assert prose("run `a < b`, **now**") == ("run <code>a &lt; b</code>, <strong>now</strong>")
