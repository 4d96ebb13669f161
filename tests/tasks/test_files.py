import os
import tempfile
from pathlib import Path

import datasets
import pytest

from autopeft.errors import DataError
from autopeft.tasks.files import read_table


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def parquet(folder, name, **columns):
    path = folder / name
    datasets.Dataset.from_dict(columns).to_parquet(str(path))
    return str(path)


TEXTS = ("Great, really!", 'She said "no"', "NA")
CSV = 'text,label\n"Great, really!",1\n"She said ""no""",0\nNA,1\n'
TSV = 'text\tlabel\nGreat, really!\t1\n"She said ""no"""\t0\nNA\t1\n'
JSONL = """{"text": "Great, really!", "label": 1}
{"text": "She said \\"no\\"", "label": 0}
{"text": "NA", "label": 1}
"""


@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", CSV), ("a.tsv", TSV), ("a.jsonl", JSONL), ("a.json", JSONL)]
)
def test_every_text_format_gives_the_same_table(tmp_path, name, content):
    table = read_table(written(tmp_path, name, content))

    assert table.columns == {"text": TEXTS, "label": ("1", "0", "1")}


def test_parquet_gives_the_same_table(tmp_path):
    table = read_table(parquet(tmp_path, "a.parquet", text=list(TEXTS), label=[1, 0, 1]))

    assert table.columns == {"text": TEXTS, "label": ("1", "0", "1")}


@pytest.mark.parametrize("word", ["NA", "null", "None", "nan", "N/A", "-"])
def test_words_that_others_take_for_missing_values_stay_text(tmp_path, word):
    table = read_table(written(tmp_path, "a.csv", f"text,label\n{word},1\n"))

    assert table.columns["text"] == (word,)


def test_an_empty_cell_and_one_of_white_space_are_missing(tmp_path):
    table = read_table(written(tmp_path, "a.csv", 'text,label\n,1\n"  ",0\n x ,\n'))

    assert table.columns == {"text": (None, None, "x"), "label": ("1", "0", None)}


def test_null_and_an_absent_key_are_missing(tmp_path):
    rows = '{"text": null, "label": 1}\n{"label": NaN}\n{"text": "a", "label": 2}\n'

    table = read_table(written(tmp_path, "a.jsonl", rows))

    assert table.columns["text"] == (None, None, "a")
    assert table.columns["label"][1] is None


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ("true false", ("true", "false")),
        ("1 0.5", ("1.0", "0.5")),
        ('1 "x"', ("1", "x")),
        ('"yes" "no"', ("yes", "no")),
    ],
)
def test_json_values_become_the_text_that_one_would_write(tmp_path, values, cells):
    rows = "".join(f'{{"label": {value}}}\n' for value in values.split())

    assert read_table(written(tmp_path, "a.jsonl", rows)).columns["label"] == cells


def test_a_list_of_objects_is_read_like_lines(tmp_path):
    path = written(tmp_path, "a.json", '[{"text": "a", "label": 1},\n {"text": "b", "label": 2}]')

    assert read_table(path).columns == {"text": ("a", "b"), "label": ("1", "2")}


def test_class_names_in_parquet_are_used_and_minus_one_is_no_label(tmp_path):
    features = datasets.Features({"label": datasets.ClassLabel(names=["bad", "good"])})
    rows = datasets.Dataset.from_dict({"label": [1, 0, -1]}, features=features)
    rows.to_parquet(str(tmp_path / "a.parquet"))

    assert read_table(str(tmp_path / "a.parquet")).columns["label"] == ("good", "bad", None)


def test_columns_of_lists_are_kept_apart(tmp_path):
    table = read_table(written(tmp_path, "a.jsonl", '{"text": "a", "tokens": [1, 2]}\n'))

    assert (tuple(table.columns), table.nested) == (("text",), ("tokens",))


def test_a_byte_order_mark_blank_lines_and_windows_line_ends_do_not_matter(tmp_path):
    content = b"\xef\xbb\xbftext,label\r\na,1\r\n\r\nb,0\r\n"

    table = read_table(written(tmp_path, "a.csv", content))

    assert table.columns == {"text": ("a", "b"), "label": ("1", "0")}


def test_a_column_without_a_name_is_called_by_its_place(tmp_path):
    table = read_table(written(tmp_path, "a.csv", ",text\n0,a\n"))

    assert tuple(table.columns) == ("column 1", "text")


def test_brackets_and_stars_in_a_path_are_no_pattern(tmp_path):
    written(tmp_path, "b1.csv", "text\nwrong\n")

    table = read_table(written(tmp_path, "b[1]*.csv", "text\nright\n"))

    assert table.columns["text"] == ("right",)


def test_an_edit_is_seen_even_if_size_and_time_stay_the_same(tmp_path):
    path = written(tmp_path, "a.csv", "text\none\n")
    before, times = read_table(path), Path(path).stat()
    written(tmp_path, "a.csv", "text\ntwo\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    after = read_table(path)

    assert after.columns["text"] == ("two",)
    assert after.digest != before.digest


def test_nothing_is_left_behind(tmp_path, monkeypatch, capfd):
    """No file stays in the temporary folder, and no progress bar is shown or stays switched off."""
    path = written(tmp_path, "a.csv", CSV)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    bars = datasets.are_progress_bars_disabled()

    read_table(path)

    assert not list((tmp_path / "tmp").iterdir())
    assert datasets.are_progress_bars_disabled() == bars
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.xlsx", "x", r"format of .*a\.xlsx from its ending '\.xlsx': use \.csv, \.tsv"),
        ("a", "x", "from its ending '': use"),
        ("a.csv", "", r"a\.csv is empty: it needs rows"),
        ("a.csv", b"\xef\xbb\xbf\n", r"a\.csv is empty"),
        ("a.jsonl", " \n", r"a\.jsonl is empty"),
        ("a.csv", "text,label\n", r"a\.csv has no rows: add rows"),
        ("a.json", "[]", r"a\.json has no rows"),
        ("a.csv", "text,text\na,b\n", "has the column 'text' twice: rename"),
        ("a.csv", b"text,label\nok,1\ncaf\xe9,1\n", "is not UTF-8: line 3 holds the byte 0xe9"),
        ("a.jsonl", b'{"text": "caf\xe9"}\n', "is not UTF-8: line 1 holds the byte 0xe9"),
        ("a.csv", "text,label\na,1\nb,2,3\n", "cannot read .*: Expected 2 fields in line 3, saw 3"),
        ("a.csv", "text,label\na,1,2\nb,2,3\n", "its rows have more cells than its header"),
        ("a.csv", 'text,label\n"a,1\n', "cannot read .*: EOF inside string starting at row"),
        ("a.csv", f"{'a' * 140_000},label\na,1\n", "cannot read the header of .*: field larger"),
        ("a.jsonl", '{"text": "a"}\n{"text": b}\n', r"line 2 of .* is not JSON \(Expecting value"),
        ("a.jsonl", '{"text": "a"}\n"b"\n', "line 2 of .* is not an object: write one a line"),
        ("a.parquet", b"PAR1 and no more", "cannot read .*parquet: .*; repair the file"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(tmp_path, name, content, sentence):
    with pytest.raises(DataError, match=sentence):
        read_table(written(tmp_path, name, content))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*reviews\.csv: check the path"):
        read_table(str(tmp_path / "reviews.csv"))


def test_a_directory_is_refused_even_if_it_is_called_like_a_file(tmp_path):
    (tmp_path / "data.csv").mkdir()

    with pytest.raises(DataError, match=r"data\.csv is a directory: name the data file in it"):
        read_table(str(tmp_path / "data.csv"))


def test_parquet_without_rows_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.parquet has no rows"):
        read_table(parquet(tmp_path, "a.parquet", text=[], label=[]))


def test_a_path_that_the_system_refuses_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*: File name too long; check the path"):
        read_table(str(tmp_path / f"{'a' * 300}.csv"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_permission_is_refused(tmp_path):
    path = written(tmp_path, "a.csv", CSV)
    Path(path).chmod(0)

    with pytest.raises(
        DataError, match=r"cannot read .*a\.csv: Permission denied; check the path and its perm"
    ):
        read_table(path)
