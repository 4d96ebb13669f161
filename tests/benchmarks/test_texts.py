"""Labelled texts: whole groups go to one part, and nothing is fetched to know that."""

import json

# imported by name, like the scripts do: see conftest.py
from texts import _filled, _write_parts  # isort: skip


def test_a_movie_is_never_in_two_parts():
    """What a part's last movie has too much is left out, not carried over."""
    known = {"a": {"one": "fresh", "two": "rotten"}, "b": {"three": "fresh"}, "c": {"four": "x"}}
    movies = iter("abc")

    assert _filled(movies, known, 1) == [("one", "fresh")]
    assert _filled(movies, known, 2) == [("three", "fresh"), ("four", "x")]


def test_parts_are_files_that_a_search_reads(tmp_path):
    _write_parts(tmp_path / "task", {"train": [("é", "fresh")], "test": []})

    lines = (tmp_path / "task" / "train.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"text": "é", "label": "fresh"}]
    assert (tmp_path / "task" / "test.jsonl").read_text("utf-8") == ""
