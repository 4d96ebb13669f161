"""How a table comes about: its tasks, and what is kept of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

# imported by name, like the scripts do: see conftest.py
import table  # isort: skip
from table_task import TASKS, genomes  # isort: skip
from tabled import USUAL, Table, names  # isort: skip
from taus import column, described, paid, ranked  # isort: skip

TASK = TASKS["noun-classes"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, so that nothing of a real table is read or overwritten."""
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_every_table_that_is_there_has_its_task_and_the_usual_one_is_there():
    assert set(names()) <= set(TASKS)
    assert USUAL in names()


def test_a_table_that_is_not_there_is_refused_with_those_that_are():
    with pytest.raises(SystemExit, match="there is no table 'moods': there are brown-tags"):
        Table.read("moods")


def test_the_files_of_a_task_hold_what_was_drawn_and_are_built_once():
    drawn = []

    def draw(examples):
        drawn.append(examples)
        return {part: [{"text": "é", "label": "y"}] * n for part, n in examples.items()}

    task = replace(TASK, draw=draw, examples={"train": 2, "validation": 1, "test": 0})

    first, again = task.data(), task.data()

    assert first == again
    assert len(drawn) == 1
    lines = Path(first.train).read_text("utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [{"text": "é", "label": "y"}] * 2


def test_tables_keep_their_trainings_apart():
    files = {table.kept(task) for task in TASKS.values()}
    files |= {table.beside(task, "inherited", 0) for task in TASKS.values()}

    assert len(files) == 2 * len(TASKS)


def test_a_table_is_not_overwritten_by_nothing():
    with pytest.raises(SystemExit, match=r"nothing is trained in .*: the table .* stays"):
        table.write(TASK)


@pytest.mark.parametrize("name", names())
def test_genomes_are_all_that_is_within_the_budget_and_not_empty(name):
    study = Table.read(name).study("random", 0)

    every = genomes(study.space, study.ceiling)

    assert {study.space.decode(genome) for genome in every} == set(Table.read(name).true)
    assert all(0 < study.space.parameters(genome) <= study.ceiling for genome in every)


@pytest.mark.slow  # thousands of taus for their intervals
@pytest.mark.parametrize("name", names())
def test_tau_and_cost_of_a_table_s_supernets_are_written(name):
    table = Table.read(name)

    assert described(table).startswith(f"{name}: {len(table.true)} configurations")
    for row in ("| supernet 0 | 0.", "| supernet 1 | 0.", "| size | ", "| one seed, with the"):
        assert row in ranked(table)
    for seed in table.seeds:
        assert f"\n| {seed} | " in paid(table)


def test_the_tau_of_supernets_that_nobody_trained_is_refused():
    known = Table.read()
    rows = {place: replace(row, inherited=None) for place, row in known.rows.items()}

    with pytest.raises(SystemExit, match=r"no supernet has scored brown-tags: run table\.py inh"):
        column(Table.of(rows, known.seeds, known.facts), "inherited", 0)
