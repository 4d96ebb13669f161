"""The page in a real browser, in a few seconds; the other tests of it are slow."""

from urllib.parse import urlsplit


def test_a_search_is_shown_with_its_answer_and_nothing_comes_from_elsewhere(site, window):
    page = window.page
    page.goto(site.url)
    page.get_by_role("row", name="done").first.get_by_role("link").click()

    page.get_by_role("heading", name="The answer").wait_for()
    page.get_by_role("img", name="accuracy against trained parameters").wait_for()

    assert "Verdict: better." in page.locator(".answer").inner_text()
    assert {urlsplit(asked).netloc for asked in window.asked} == {urlsplit(site.url).netloc}
