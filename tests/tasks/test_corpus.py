"""Sentences and passages, from files to parts."""

import csv

import datasets
import numpy as np
import pytest

from autopeft.errors import DataError, OptionError
from autopeft.study import Columns, DataFiles
from autopeft.tasks.reading import load_parts, read_task
from tests.kinds import TAGS, continued, tagged, write_json

PARTS = ["train", "validation", "test"]


def write_csv(file, rows):
    """Write sentences as people write them in CSV: words and tags with spaces between them."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["tokens", "ner_tags"])
        writer.writerows([" ".join(row["tokens"]), " ".join(row["ner_tags"])] for row in rows)
    return DataFiles(train=str(file))


class TestSentences:
    def test_lists_and_texts_give_the_same_sentences(self, tmp_path):
        rows = tagged(40)
        datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "a.parquet"))
        forms = [
            write_json(tmp_path / "a.jsonl", rows),
            DataFiles(train=str(tmp_path / "a.parquet")),
            write_csv(tmp_path / "a.csv", rows),
        ]

        tasks = [read_task(files, kind="tokens") for files in forms]
        loaded = [load_parts(t, f, ["test"])["test"] for t, f in zip(tasks, forms, strict=True)]

        assert {task.labels for task in tasks} == {tuple(sorted(TAGS))}
        assert {task.columns for task in tasks} == {Columns(text="tokens", label="ner_tags")}
        assert tasks[0].metric == "token_accuracy"
        assert tasks[0].head == "tokens"
        assert sum(tasks[0].examples) == 40
        assert loaded[0].words == loaded[1].words == loaded[2].words
        assert loaded[0].tags == loaded[1].tags == loaded[2].tags

    def test_names_of_tags_are_read_where_the_file_knows_them(self, tmp_path):
        rows = [
            row | {"ner_tags": [TAGS.index(tag) for tag in row["ner_tags"]]} for row in tagged(40)
        ]
        features = datasets.Features(
            {
                "tokens": datasets.List(datasets.Value("string")),
                "ner_tags": datasets.List(datasets.ClassLabel(names=list(TAGS))),
            }
        )
        file = tmp_path / "a.parquet"
        datasets.Dataset.from_list(rows, features=features).to_parquet(str(file))

        assert read_task(DataFiles(train=str(file)), kind="tokens").labels == tuple(sorted(TAGS))

    def test_the_truth_counts_words_and_entities(self, tmp_path):
        rows = [{"tokens": ["a", "b", str(i)], "ner_tags": ["B-X", "I-X", "O"]} for i in range(20)]
        rows += [{"tokens": ["c", str(i)], "ner_tags": ["B-X", "B-X"]} for i in range(20)]
        files = write_json(tmp_path / "a.jsonl", rows)

        part = load_parts(read_task(files, kind="tokens"), files, ["train"])["train"]

        expected = [[len(words), 1 if len(words) == 3 else 2] for words in part.words]
        np.testing.assert_array_equal(part.truth, expected)

    def test_a_sentence_with_a_tag_too_few_is_named_with_its_row(self, tmp_path):
        rows = tagged(40)
        rows[6]["ner_tags"] = rows[6]["ner_tags"][:-1]
        match = (
            r"not have a tag for every word in row 7: 6 in column 'tokens', 5 in 'ner_tags'; cor"
        )

        with pytest.raises(DataError, match=match):
            read_task(write_json(tmp_path / "a.jsonl", rows), kind="tokens")

    def test_a_tag_that_stands_for_none_is_refused(self, tmp_path):
        rows = [row | {"ner_tags": [-100, *range(5)]} for row in tagged(40)]
        match = r"has the tag -100 in 40 rows .*: give every word a tag of its own, such as O"

        with pytest.raises(DataError, match=match):
            read_task(write_json(tmp_path / "a.jsonl", rows), kind="tokens")

    @pytest.mark.parametrize("column", ["tokens", "ner_tags"])
    def test_an_empty_word_or_tag_is_named_with_its_row(self, tmp_path, column):
        rows = tagged(40)
        rows[6][column][2] = " "

        with pytest.raises(DataError, match=f"'{column}' of .* has an empty word or tag in row 7"):
            read_task(write_json(tmp_path / "a.jsonl", rows), kind="tokens")

    def test_a_sentence_without_words_is_named_with_its_row(self, tmp_path):
        rows = [*tagged(40), {"tokens": [], "ner_tags": []}]

        with pytest.raises(DataError, match=r"column 'tokens' of .* is empty in row 41"):
            read_task(write_json(tmp_path / "a.jsonl", rows), kind="tokens")

    def test_sentences_of_one_tag_teach_nothing(self, tmp_path):
        rows = [row | {"ner_tags": ["O"] * 6} for row in tagged(40)]

        with pytest.raises(DataError, match="all rows have the label 'O' in column 'ner_tags'"):
            read_task(write_json(tmp_path / "a.jsonl", rows), kind="tokens")

    def test_equal_sentences_never_land_in_two_parts(self, tmp_path):
        files = write_json(tmp_path / "a.jsonl", tagged(40) * 3)

        parts = load_parts(read_task(files, kind="tokens"), files, PARTS).values()

        assert sum(len(set(part.words)) for part in parts) == len(
            set().union(*(part.words for part in parts))
        )

    def test_f1_of_entities_needs_tags_that_mark_them(self, tmp_path):
        rows = [row | {"ner_tags": [tag[-3:] for tag in row["ner_tags"]]} for row in tagged(40)]
        files = write_json(tmp_path / "a.jsonl", rows)

        with pytest.raises(OptionError, match="'entity_f1' needs tags such as B-PER and I-PER, b"):
            read_task(files, kind="tokens", metric="entity_f1")

    def test_a_column_of_lists_says_which_task_takes_it(self, tmp_path):
        with pytest.raises(DataError, match=r"holds lists or objects: .* --task tokens"):
            read_task(write_json(tmp_path / "a.jsonl", tagged(40)), text="tokens", label="ner_tags")


class TestPassages:
    def test_prompts_have_completions_and_texts_have_none(self, tmp_path):
        files = write_json(tmp_path / "a.jsonl", continued(40))

        pairs = read_task(files, kind="causal_lm")
        texts = read_task(files, kind="causal_lm", text="prompt")

        assert pairs.columns == Columns(text="prompt", label="completion")
        assert (pairs.metric, pairs.head, pairs.labels) == ("log_likelihood", "lm", ())
        assert load_parts(pairs, files, ["test"])["test"].answers is not None
        assert load_parts(texts, files, ["test"])["test"].answers is None
        assert sum(texts.examples) == 40

    @pytest.mark.parametrize("kind", ["causal_lm", "seq2seq"])
    def test_equal_prompts_never_land_in_two_parts(self, tmp_path, kind):
        """Their completions may differ, and would give away what is asked."""
        rows = [row | {"completion": f"good{i % 4}"} for i, row in enumerate(continued(40) * 3)]
        files = write_json(tmp_path / "a.jsonl", rows)

        parts = load_parts(read_task(files, kind=kind), files, PARTS).values()

        assert sum(len(set(part.texts)) for part in parts) == len(
            set().union(*(part.texts for part in parts))
        )

    def test_too_few_prompts_are_refused(self, tmp_path):
        rows = [{"prompt": "a" if i % 2 else "b", "completion": f"c{i}"} for i in range(20)]

        with pytest.raises(DataError, match=r"the data has too few distinct texts \(2\)"):
            read_task(write_json(tmp_path / "a.jsonl", rows), kind="causal_lm")

    def test_a_match_needs_something_to_match(self, tmp_path):
        files = write_json(tmp_path / "a.jsonl", continued(40))

        with pytest.raises(OptionError, match="'exact_match' needs a prompt and its completion: n"):
            read_task(files, kind="causal_lm", text="prompt", metric="exact_match")

    @pytest.mark.parametrize(
        "task", [{"kind": "causal_lm", "text": "prompt"}, {"kind": "seq2seq"}], ids=str
    )
    def test_the_loss_of_prompts_needs_prompts(self, tmp_path, task):
        files = write_json(tmp_path / "a.jsonl", continued(40))

        with pytest.raises(OptionError, match="--loss all is for a prompt and its completion with"):
            read_task(files, loss="all", **task)


@pytest.mark.parametrize(
    ("kind", "head", "allowed"),
    [
        ("tokens", "mean", "tokens"),
        ("causal_lm", "cls", "lm"),
        ("classification", "lm", "mean or cls or pooler"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_with_those_that_do(tmp_path, kind, head, allowed):
    rows = [
        row | continued(40)[place] | {"text": f"t{place}", "label": place % 2}
        for place, row in enumerate(tagged(40))
    ]

    with pytest.raises(OptionError, match=f"head '{head}' does not fit {kind}: use {allowed}$"):
        read_task(write_json(tmp_path / "a.jsonl", rows), kind=kind, head=head)
