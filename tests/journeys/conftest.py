"""What journeys share."""

import sys

import pytest

from autopeft.cli.app import main


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run a command that must be refused, in an empty folder, and return its sentence."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(words):
        monkeypatch.setattr(sys, "argv", ["autopeft", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        sentences = [line for line in shown.err.splitlines() if line.startswith("error: ")]
        assert ended.value.code == 2, shown.err
        assert shown.out == ""
        assert len(sentences) == 1, shown.err
        assert list(folder.iterdir()) == []
        return sentences[0]

    return run
