"""Files that are either whole or not there."""

import json
import os
import resource
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from autopeft.errors import OutputError
from autopeft.files import results_folder, usual_cache, writable_folder, write_json, write_text


def names_in(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


@contextmanager
def files_of_at_most(size: int):
    """Let the system refuse larger files, as it does when a disk or a quota is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_text_is_written_and_its_file_returned(tmp_path):
    file = write_text(tmp_path / "report.md", "Größe 8\n")

    assert file == tmp_path / "report.md"
    assert file.read_text("utf-8") == "Größe 8\n"
    assert names_in(tmp_path) == ["report.md"]


def test_a_document_is_written_readable_and_with_a_final_newline(tmp_path):
    file = write_json(tmp_path / "plan.json", {"b": ["ü"], "a": 1})

    assert file.read_text("utf-8") == '{\n  "b": [\n    "ü"\n  ],\n  "a": 1\n}\n'
    assert json.loads(file.read_text("utf-8")) == {"b": ["ü"], "a": 1}


def test_a_file_is_replaced_whole(tmp_path):
    """A reader that has the old file open goes on reading the old text."""
    file = write_text(tmp_path / "plan.json", "the old and longer text")
    with file.open() as reader:
        write_text(file, "new")

        assert reader.read() == "the old and longer text"
    assert file.read_text() == "new"


def test_of_several_who_write_a_file_at_once_one_wins(tmp_path):
    file, texts = tmp_path / "plan.json", [letter * 100_000 for letter in "abcdefgh"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_text(file, text), texts * 4))

    assert file.read_text("utf-8") in texts
    assert list(tmp_path.iterdir()) == [file]


def test_when_there_is_no_room_the_old_file_stays_and_nothing_half_written_is_left(tmp_path):
    file = write_text(tmp_path / "plan.json", "old")

    with (
        files_of_at_most(1000),
        pytest.raises(
            OutputError, match=r"cannot write .*plan\.json: File too large; make room or"
        ),
    ):
        write_text(file, "x" * 5000)

    assert file.read_text() == "old"
    assert names_in(tmp_path) == ["plan.json"]


@pytest.mark.parametrize(
    ("folder", "reason"), [("gone", "No such file or directory"), ("a_file", "Not a directory")]
)
def test_a_folder_that_is_none_is_named(tmp_path, folder, reason):
    (tmp_path / "a_file").write_text("")

    with pytest.raises(OutputError, match=rf"cannot write .*{folder}/plan\.json: {reason}"):
        write_text(tmp_path / folder / "plan.json", "{}")


def test_a_folder_in_the_place_of_the_file_is_left_alone(tmp_path):
    (tmp_path / "plan.json").mkdir()

    with pytest.raises(OutputError, match=r"cannot write .*plan\.json: Is a directory"):
        write_text(tmp_path / "plan.json", "{}")

    assert names_in(tmp_path) == ["plan.json"]


def test_a_folder_is_made_with_those_above_it_and_left_empty(tmp_path):
    folder = writable_folder(tmp_path / "runs" / "7")

    assert folder == writable_folder(folder) == tmp_path / "runs" / "7"
    assert names_in(folder) == []


def stopped_in(folder: Path, *results: str) -> None:
    """Write some results into a folder, and then fail."""
    with suppress(KeyError), results_folder(folder):
        for name in results:
            write_text(folder / name, "{}")
        raise KeyError


def test_folders_made_for_results_that_never_came_are_taken_away_again(tmp_path):
    (tmp_path / "runs").mkdir()

    stopped_in(tmp_path / "runs" / "a" / "b")

    assert names_in(tmp_path) == ["runs"]
    assert names_in(tmp_path / "runs") == []


def test_a_folder_with_results_or_of_someone_else_stays(tmp_path):
    (tmp_path / "theirs").mkdir()

    stopped_in(tmp_path / "theirs")
    stopped_in(tmp_path / "ours" / "7", "plan.json")

    assert (tmp_path / "theirs").is_dir()
    assert names_in(tmp_path / "ours" / "7") == ["plan.json"]


def test_a_folder_for_results_stays_when_all_went_well(tmp_path):
    with results_folder(tmp_path / "7") as folder:
        pass

    assert folder.is_dir()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "a_file").write_text("")

    with pytest.raises(
        OutputError,
        match=r"cannot write into the output directory .*a_file/out: Not a directory; make room or "
        r"give another one with --out",
    ):
        writable_folder(tmp_path / "a_file" / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_refused(tmp_path):
    tmp_path.chmod(0o500)

    with pytest.raises(OutputError, match=r"cannot write into .*: Permission denied"):
        writable_folder(tmp_path)


def test_a_folder_of_the_system_in_which_nothing_can_be_made_is_refused():
    """Even root cannot make files there."""
    with pytest.raises(OutputError, match=r"cannot write into the output directory /proc/self: "):
        writable_folder(Path("/proc/self"))


def test_a_full_folder_is_refused_before_hours_are_spent(tmp_path):
    with (
        files_of_at_most(0),
        pytest.raises(OutputError, match=r"cannot write into .*: File too large"),
    ):
        writable_folder(tmp_path)

    assert names_in(tmp_path) == []


def test_what_can_be_made_anew_lies_where_is_asked_or_where_it_does_usually(monkeypatch, tmp_path):
    monkeypatch.delenv("AUTOPEFT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert usual_cache() == tmp_path / "autopeft"

    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path / "mine"))
    assert usual_cache() == tmp_path / "mine"
