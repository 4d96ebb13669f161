"""The page and the documentation, without anything from another place."""

import re

import pytest


def test_the_page_is_served_and_always_asked_for_anew(client):
    answer = client.get("/")

    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["Cache-Control"] == "no-store"
    assert client.get("/index.html").content == answer.content


def test_a_file_of_the_page_is_sent_again_only_when_it_has_changed(client):
    first = client.get("/app.js")
    again = client.get("/app.js", headers={"If-None-Match": first.headers["ETag"]})

    assert first.headers["Content-Type"].startswith("text/javascript")
    assert first.headers["Cache-Control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]


def test_all_that_the_page_names_is_there(client):
    page = client.get("/").text

    for name in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert client.get(f"/{name}").status_code == 200


@pytest.mark.parametrize(
    "path", ["/__init__.py", "/../app.py", "/%2e%2e/app.py", "/vendor/../../app.py", "/vendor"]
)
def test_nothing_but_the_files_of_the_page_is_served(client, path):
    assert client.get(path).status_code == 404


def test_the_documentation_needs_no_network(client):
    page = client.get("/docs")
    names = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert len(names) == 4
    for name in names:
        assert not name.startswith(("http", "//"))
        assert client.get(f"/{name}").status_code == 200
    assert "<script>" not in page.text
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert "http" not in page.headers["Content-Security-Policy"]


def test_a_head_request_says_what_a_get_would(client):
    answer = client.head("/app.js")

    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["Content-Length"]) == len(client.get("/app.js").content)
