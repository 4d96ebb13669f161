"""A report as Markdown."""

from autopeft.report.markdown import markdown, table
from tests.report.studies import whole


def test_what_would_end_a_cell_or_a_row_is_kept_apart():
    assert table(("a",), (("one | two\nthree",),)) == "| a |\n| --- |\n| one \\| two three |"


def test_no_section_is_left_empty_by_its_pictures():
    for section in markdown(whole()).split("\n## ")[1:]:
        assert len(section.partition("\n\n")[2].strip()) > 20
