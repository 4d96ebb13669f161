"""The page of a report."""

import re
import time
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopeft.report import content_of
from autopeft.report.html import html_page
from autopeft.report.markdown import markdown
from tests.builders import MINI_LM, a_study, space_on
from tests.report.html.test_element import ANY
from tests.report.studies import alone, many, whole, without_numbers
from tests.test_report import ANSWER, STUDY, TRIALS, a_plan

PAGE = html_page(whole())


class Outline(HTMLParser):
    """Reads which elements a page opens, with their attributes, and that all are closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements, self.open = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_the_page_has_the_sections_of_the_text_with_their_numbers():
    content = whole()
    headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", PAGE)
    text = markdown(content)

    assert headings == re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings == [section.heading for section in content.sections]
    assert len(headings) == 10
    shown = {cell.strip() for cell in re.findall(r"\| ([^|\n]+) ", text)} - {"---"}
    assert [cell for cell in shown if "`" not in cell and cell not in words(PAGE)
            and "¦" not in cell and "\\" not in cell] == []  # fmt: skip


def test_it_begins_with_the_answer_and_the_verdict():
    outline = Outline(PAGE)

    assert ANSWER.sentence() in words(PAGE)
    assert PAGE.index(ANSWER.sentence()[:40]) < PAGE.index("<main")
    assert outline.open == []
    assert [tag for tag in ("header", "main", "footer", "nav") if len(outline.all(tag)) != 1] == []


def test_it_asks_for_nothing_and_runs_nothing():
    outline = Outline(PAGE)
    asking = {"src", "srcset", "action", "data", "poster", "background"}

    assert outline.all("script") == outline.all("link") == outline.all("img") == []
    assert [a for _, attributes in outline.elements for a in attributes if a in asking] == []
    assert [a for _, attributes in outline.elements for a in attributes if a[:2] == "on"] == []
    assert all(link["href"].startswith("#") for link in outline.all("a"))
    assert not re.search(r"url\(|@import|https?:", PAGE)
    assert "default-src 'none'" in str(outline.all("meta"))


def test_ids_are_unique_and_what_is_referred_to_is_there():
    outline = Outline(PAGE)
    ids = [a["id"] for _, a in outline.elements if "id" in a]
    named = {name for _, a in outline.elements for name in a.get("aria-labelledby", "").split()}

    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in outline.all("a")} | named <= set(ids)


def test_every_table_has_a_caption_and_every_picture_a_title_and_a_description():
    assert PAGE.count("<table>") == PAGE.count("<caption>")
    drawn = PAGE.count('role="img"')
    assert drawn == PAGE.count("<desc ") == len(whole().pictures) == 6


def test_a_verdict_that_is_not_better_looks_otherwise():
    assert 'class="told even"' in PAGE
    better = whole(found=replace(ANSWER, verdict="better", warnings=("the `gate` broke",)))
    page = html_page(better)

    assert 'class="told better"' in page
    assert "<strong>Warning:</strong> the <code>gate</code> broke" in page


@settings(max_examples=30, deadline=None)
@given(ANY | st.just("</style><script>alert(1)</script>"))
def test_names_from_outside_stay_texts(name):
    trial = replace(TRIALS[0], proposal=replace(TRIALS[0].proposal, label=name))
    failed = replace(TRIALS[2], failure=name)
    finalist = replace(ANSWER.baseline, name=name)
    study = replace(STUDY, backbone=replace(STUDY.backbone, name=name))
    found = replace(ANSWER, baseline=finalist, warnings=(name,))
    page = html_page(whole(study, (trial, *TRIALS[1:2], failed, *TRIALS[3:]), found))
    outline = Outline(page)

    assert outline.all("script") == []
    assert outline.open == []
    tags = {tag for tag, _ in outline.elements}
    assert tags <= {tag for tag, _ in Outline(PAGE).elements} | {"code", "strong", "details", "li",
                                                                 "ul", "summary"}  # fmt: skip
    page.encode()


@pytest.mark.parametrize("content", [alone(), without_numbers()], ids=["alone", "nan"])
def test_a_study_with_next_to_nothing_has_a_page_too(content):
    page = html_page(content)

    assert Outline(page).open == []
    assert "nan" not in "".join(re.findall(r'(?:d|x|y|x1|cx|viewBox)="([^"]*)"', page))
    assert content.sentence.split("(", maxsplit=1)[0] in words(page)


def test_a_study_of_which_only_the_head_is_trained_says_so():
    plan = a_plan()
    empty = type(plan.configuration)(((0,) * len(plan.slots),) * 2)
    content = content_of(STUDY, TRIALS, ANSWER, replace(plan, configuration=empty))

    assert "the task head alone is trained" in html_page(content)


@pytest.mark.slow
def test_a_thousand_trials_of_a_large_space_stay_small_and_fast():
    """Two megabytes and two seconds, on a machine that may be busy with something else."""
    study = a_study(
        backbone=MINI_LM, space=space_on(MINI_LM, "unified"), rungs=(0.5, 1.0),
        budget=type(STUDY.budget).parse("0.5%"),
    )  # fmt: skip
    study, trials = many(1000, study)
    began = time.process_time()
    page = html_page(content_of(study, trials, ANSWER, a_plan()))

    assert time.process_time() - began < 2
    assert len(page.encode()) < 2_000_000
    assert page.count("<tr>") > 1000
