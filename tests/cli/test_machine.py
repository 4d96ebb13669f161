"""What is said of a machine is what this process has."""

import os

from autopeft.cli.machine import cache_row, forms_row, machine


def test_every_row_says_something(tmp_path):
    rows = list(machine(tmp_path))

    assert {"processor", "threads", "arithmetic", "memory", "cache"} <= {row[0] for row in rows}
    assert all(state in {"ok", "absent"} and detail for _, state, detail in rows)


def test_threads_that_the_environment_sets_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    rows = {what: detail for what, _, detail in machine(tmp_path)}

    assert "(OMP_NUM_THREADS is 7)" in rows["threads"]
    assert f"for {len(os.sched_getaffinity(0))} cores" in rows["threads"]


def test_operators_are_grouped_by_their_form():
    forms = {"a": "eager", "b": "naive", "c": "eager"}

    assert forms_row("here", forms) == ("here", "ok", "eager: a, c; naive: b")


def test_operators_that_cannot_run_on_a_gpu_that_is_there_are_a_problem():
    what, state, detail = forms_row("on a GPU", {"a": "triton", "b": None})

    assert (what, state) == ("on a GPU", "problem")
    assert detail == "cannot run there, for want of triton: b; triton: a"


def test_a_cache_that_is_not_made_yet_is_none_the_worse(tmp_path):
    what, state, detail = cache_row(tmp_path / "not" / "yet")

    assert (what, state) == ("cache", "ok")
    assert detail.startswith(f"{tmp_path / 'not' / 'yet'}, ")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_place_of_the_cache_is_a_problem(tmp_path):
    (tmp_path / "cache").touch()

    assert cache_row(tmp_path / "cache")[1] == "problem"
