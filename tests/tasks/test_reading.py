import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest

from autopeft.errors import DataError, OptionError
from autopeft.study import Columns, DataFiles
from autopeft.tasks.reading import load_parts, read_task

SAMPLE = Path(__file__).parents[2] / "examples" / "data" / "sentiment.csv"
ROWS = [
    {"text": f"Sentence number {row}, and no other.", "label": "good" if row % 2 else "bad"}
    for row in range(40)
]


def write(path, rows=ROWS):
    """Write rows in the format that the ending says."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        datasets.Dataset.from_list(rows).to_parquet(str(path))
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            delimiter = "\t" if path.suffix == ".tsv" else ","
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def one(path, rows=ROWS):
    return DataFiles(train=write(path, rows))


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_every_format_gives_the_same_task_and_the_same_parts(tmp_path, name):
    files = one(tmp_path / name)

    task = read_task(files, head="cls", max_length=64, seed=3)
    parts = load_parts(task, files, ["train", "validation", "test"])

    assert task.columns == Columns(text="text", label="label")
    assert (task.kind, task.metric, task.labels) == ("classification", "accuracy", ("bad", "good"))
    assert (task.head, task.max_length, task.split_seed) == ("cls", 64, 3)
    assert task.examples == (24, 8, 8)
    assert tuple(len(part.texts) for part in parts.values()) == task.examples
    reference = one(tmp_path / "reference.csv")
    expected = load_parts(read_task(reference, head="cls", seed=3), reference, ["test"])["test"]
    assert parts["test"].texts == expected.texts
    np.testing.assert_array_equal(parts["test"].labels, expected.labels)


def test_each_text_keeps_its_label_and_no_row_is_lost(tmp_path):
    files = one(tmp_path / "a.csv")
    task = read_task(files, head="mean")

    parts = load_parts(task, files, ["train", "validation", "test"]).values()

    loaded = [
        {"text": text, "label": task.labels[label]}
        for part in parts
        for text, label in zip(part.texts, part.labels, strict=True)
    ]
    assert sorted(loaded, key=str) == sorted(ROWS, key=str)


def test_only_the_parts_that_were_asked_for_are_loaded(tmp_path):
    files = one(tmp_path / "a.csv")

    parts = load_parts(read_task(files, head="mean"), files, ["validation", "train"])

    assert list(parts) == ["validation", "train"]
    assert parts["train"].pairs is None


def test_pairs_are_loaded_beside_their_texts(tmp_path):
    rows = [
        {"premise": row["text"], "hypothesis": f"H {row['text']}", "label": row["label"]}
        for row in ROWS
    ]
    files = one(tmp_path / "a.csv", rows)
    task = read_task(files, head="mean")

    part = load_parts(task, files, ["test"])["test"]

    assert task.columns == Columns(text="premise", pair="hypothesis", label="label")
    assert part.pairs == tuple(f"H {text}" for text in part.texts)


def test_decimal_labels_make_a_regression_scored_by_spearman(tmp_path):
    rows = [{"text": row["text"], "score": place / 8} for place, row in enumerate(ROWS)]
    files = one(tmp_path / "a.jsonl", rows)

    task = read_task(files, head="mean")
    labels = load_parts(task, files, ["train"])["train"].labels

    assert (task.kind, task.metric, task.labels) == ("regression", "spearman", ())
    assert labels.dtype == np.float64


def test_the_kind_can_be_said(tmp_path):
    rows = [{"text": row["text"], "label": place} for place, row in enumerate(ROWS)]
    files = one(tmp_path / "a.csv", rows)

    with pytest.raises(DataError, match="say --task classification or --task regression"):
        read_task(files, head="mean")
    assert read_task(files, head="mean", kind="regression").examples == (24, 8, 8)


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        (("words", "tags"), "--task tokens, whose columns these look like"),
        (("prompt", "completion"), "--task causal_lm or --task seq2seq, whose columns these look"),
        (("source", "target_text"), None),
    ],
)
def test_columns_that_cannot_be_told_may_be_those_of_another_task(tmp_path, columns, hint):
    rows = [dict.fromkeys(columns, f"some words of number {n}") for n in range(40)]
    with pytest.raises(DataError, match=r"cannot tell which column of .* is the text") as caught:
        read_task(one(tmp_path / "a.csv", rows))

    assert (f"or say {hint}" in str(caught.value)) if hint else ("--task" not in str(caught.value))


def test_who_names_columns_or_a_kind_gets_no_hint_of_another(tmp_path):
    rows = [{"words": f"a {n}", "tags": f"b {n}"} for n in range(40)]

    for named in ({"text": "words"}, {"kind": "classification"}):
        with pytest.raises(DataError, match="cannot tell which column") as caught:
            read_task(one(tmp_path / "a.csv", rows), **named)
        assert "or say" not in str(caught.value)


def test_a_metric_that_does_not_fit_the_kind_is_refused(tmp_path):
    with pytest.raises(OptionError, match="metric 'spearman' does not fit classification"):
        read_task(one(tmp_path / "a.csv"), head="mean", metric="spearman")


def test_files_of_their_own_give_the_parts_and_nothing_is_moved(tmp_path):
    files = DataFiles(
        train=write(tmp_path / "train.csv", ROWS[:20]),
        validation=write(tmp_path / "dev.jsonl", ROWS[20:30]),
        test=write(tmp_path / "test.parquet", ROWS[30:]),
    )

    task = read_task(files, head="mean")

    assert task.examples == (20, 10, 10)
    texts = load_parts(task, files, ["test"])["test"].texts
    assert texts == tuple(row["text"] for row in ROWS[30:])


def test_a_missing_validation_file_is_made_up_for_from_train(tmp_path):
    files = DataFiles(
        train=write(tmp_path / "train.csv", ROWS[:24]), test=write(tmp_path / "test.csv", ROWS[24:])
    )

    assert read_task(files, head="mean").examples == (18, 6, 16)


def test_a_split_column_gives_the_parts_and_a_missing_test_is_made_up_for(tmp_path):
    rows = [{**row, "split": "dev" if place < 8 else "train"} for place, row in enumerate(ROWS)]
    files = one(tmp_path / "a.csv", rows)

    task = read_task(files, head="mean")

    assert task.columns.split == "split"
    assert task.examples == (24, 8, 8)
    texts = load_parts(task, files, ["validation"])["validation"].texts
    assert texts == tuple(row["text"] for row in ROWS[:8])


def test_the_digest_names_the_content_and_not_the_path(tmp_path):
    (tmp_path / "moved").mkdir()
    here, there = one(tmp_path / "a.csv"), one(tmp_path / "moved" / "b.csv")

    assert read_task(here, head="mean").digest == read_task(there, head="mean").digest


def test_the_digest_changes_with_content_columns_and_kind(tmp_path):
    rows = [{"text": f"Text {row}", "label": row % 3, "mood": row % 2} for row in range(40)]
    files, changed = one(tmp_path / "a.csv", rows), one(tmp_path / "b.csv", rows[:-1])

    digests = {
        read_task(files, head="mean").digest,
        read_task(files, head="mean", label="mood").digest,
        read_task(files, head="mean", kind="regression").digest,
        read_task(changed, head="mean").digest,
    }

    assert len(digests) == 4


def test_data_that_changed_since_the_study_began_is_refused(tmp_path):
    files = one(tmp_path / "a.csv")
    task = read_task(files, head="mean")
    write(tmp_path / "a.csv", ROWS[:-1])

    with pytest.raises(DataError, match=r"changed since the study began \(.*a\.csv\): bring the"):
        load_parts(task, files, ["train"])


def test_a_validation_file_without_the_column_is_refused_by_its_own_name(tmp_path):
    other = [{"sentence": row["text"], "label": row["label"]} for row in ROWS]
    files = DataFiles(
        train=write(tmp_path / "train.csv"), validation=write(tmp_path / "dev.csv", other)
    )

    with pytest.raises(DataError, match=r"dev\.csv has no column 'text': name one of 'sentence'"):
        read_task(files, head="mean")


def test_an_empty_text_or_label_is_refused_with_its_row(tmp_path):
    rows = [*ROWS, {"text": "", "label": "good"}, {"text": "Fine.", "label": ""}]

    with pytest.raises(DataError, match=r"column 'text' of .*a\.csv is empty in row 41: fill in"):
        read_task(one(tmp_path / "a.csv", rows), head="mean")
    with pytest.raises(DataError, match=r"column 'label' of .*b\.csv is empty in row 41: fill in"):
        read_task(one(tmp_path / "b.csv", rows[:40] + rows[41:]), head="mean")


def test_too_few_rows_are_refused(tmp_path):
    with pytest.raises(DataError, match="the data has 9 rows to train on, too few to learn from"):
        read_task(one(tmp_path / "a.csv", ROWS[:9]), head="mean")


def test_the_sample_has_3000_rows_half_of_them_positive():
    files = DataFiles(train=str(SAMPLE))

    task = read_task(files, head="mean")
    parts = load_parts(task, files, ["train", "validation", "test"])

    assert task.columns == Columns(text="text", label="label")
    assert task.labels == ("negative", "positive")
    assert task.examples == (1800, 600, 600)
    assert [part.labels.mean() for part in parts.values()] == [0.5, 0.5, 0.5]


def test_the_sample_has_three_sources_of_equal_size():
    with SAMPLE.open(encoding="utf-8", newline="") as file:
        sources = [row["source"] for row in csv.DictReader(file)]

    assert {source: sources.count(source) for source in sources} == {
        "amazon": 1000,
        "imdb": 1000,
        "yelp": 1000,
    }


PROGRAM = f"""
import socket, sys
from autopeft.study import DataFiles
from autopeft.tasks.reading import read_task

def refuse(*arguments):
    raise AssertionError(arguments)

socket.getaddrinfo = socket.socket.connect = refuse
assert "datasets" not in sys.modules
read_task(DataFiles(train={str(SAMPLE)!r}), head="mean")
assert "torch" not in sys.modules
"""


@pytest.mark.slow
def test_reading_data_needs_no_torch_no_network_and_no_home(tmp_path):
    """So `autopeft search` refuses bad data at once, anywhere, and leaves nothing behind."""
    subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, env={**os.environ, "HOME": str(tmp_path)}
    )

    assert not list(tmp_path.iterdir())
