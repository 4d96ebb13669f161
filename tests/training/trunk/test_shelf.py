"""A bounded folder: what was used the longest time ago goes first."""

import logging
import os
import time

import pytest
import torch
from filelock import FileLock

from autopeft.training.trunk import shelf as room
from autopeft.training.trunk.row_file import written
from autopeft.training.trunk.shelf import Shelf


def put(shelf, name, rows=100):
    shelf.folder.mkdir(exist_ok=True)
    with written([shelf.file(name)], [name], 1) as (writing,):
        writing.add(0, torch.ones(rows, 10))
    return shelf.file(name).stat().st_size


def aged(shelf, name, seconds):
    then = time.time() - seconds
    os.utime(shelf.file(name), (then, then))


def names(shelf):
    return {file.stem for file in shelf.folder.iterdir()}


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "trunks", 2**20)


def test_those_used_the_longest_time_ago_are_removed_until_there_is_room(shelf):
    size = put(shelf, "old")
    put(shelf, "older")
    put(shelf, "new")
    for name, seconds in (("old", 20), ("older", 30), ("new", 10)):
        aged(shelf, name, seconds)

    small = Shelf(shelf.folder, 3 * size)
    small.make_room(0, keep=())
    assert names(shelf) == {"old", "older", "new"}
    small.make_room(2 * size, keep=())
    assert names(shelf) == {"new"}


def test_being_opened_is_a_use(shelf):
    size = put(shelf, "first")
    put(shelf, "second")
    aged(shelf, "first", 30)
    aged(shelf, "second", 20)
    shelf.find("first")

    Shelf(shelf.folder, 2 * size).make_room(size, keep=())

    assert names(shelf) == {"first"}


def test_what_is_about_to_be_used_is_not_removed(shelf):
    size = put(shelf, "first")
    put(shelf, "second")

    Shelf(shelf.folder, size).make_room(size, keep=("second",))

    assert names(shelf) == {"second"}


def test_what_a_killed_process_left_goes_after_a_while(shelf):
    put(shelf, "it")
    partial = shelf.folder / ".other.safetensors.123.partial"
    partial.write_bytes(b"?" * 5000)
    need = 2**20 - shelf.file("it").stat().st_size
    shelf.make_room(need, keep=())
    assert partial.exists()

    os.utime(partial, (0, 0))
    shelf.make_room(need, keep=())

    assert names(shelf) == {"it"}


def test_a_file_is_opened_once_a_process(shelf):
    put(shelf, "it")

    assert shelf.find("it") is shelf.find("it")
    assert shelf.find("another") is None


def test_who_comes_second_waits_and_gives_signs_of_life(shelf):
    shelf.folder.mkdir()
    other = FileLock(shelf.folder / "filling.lock")
    other.acquire()
    waiting = shelf.locked()
    assert [next(waiting), next(waiting)] == [0.0, 0.0]
    other.release()

    with pytest.raises(StopIteration) as ended:
        next(waiting)

    assert ended.value.value.is_locked
    ended.value.value.release()


def test_who_holds_the_lock_for_too_long_is_not_waited_for(shelf, monkeypatch):
    monkeypatch.setattr(room, "_PATIENCE", 0.05)
    shelf.folder.mkdir()
    with FileLock(shelf.folder / "filling.lock"):
        assert set(shelf.locked()) <= {0.0}


def test_what_is_told_is_told_once(shelf, caplog):
    with caplog.at_level(logging.INFO, "autopeft"):
        for _ in range(2):
            shelf.begun(4, 6)
            shelf.begun(3, 6)
            shelf.refused("the disk is full")

    said = "trials compute all blocks: the disk is full"
    assert shelf.told == (said, "trials start from cached blocks 3, 4 of 6")
    assert [record.message for record in caplog.records] == [
        "trials start from cached block 4 of 6",
        "trials start from cached block 3 of 6",
        said,
    ]
