"""What Ray adds to a trial: the time from its pull to its end where measuring takes none.

    python benchmarks/ray_overhead.py --trials 200 --rounds 3

The first trial of every worker waits for the worker's process; it counts as start-up.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autopeft.executors.inline import InlineExecutor
from autopeft.executors.ray import RayExecutor
from autopeft.ports import Executor
from autopeft.search_spaces.configuration import Configuration
from autopeft.trial import Measurement, Proposal, Recipe, Trial

NOTHING = Measurement(
    score=0.5,
    loss=0.7,
    parameters=8,
    head_parameters=2,
    steps=0,
    seconds=0.0,
    predictions=b"\0" * 4096,
)


class Idle:
    """Measures nothing, at once."""

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        """Complete every trial."""
        for trial in trials:
            yield trial.done(NOTHING)


@dataclass(frozen=True)
class Round:
    """Seconds: until a trial is first pulled, until its workers are up, per trial, to shut down."""

    cluster: float
    workers: float
    trials: list[float]
    closing: float


def measure(executor: Executor, workers: int, count: int) -> Round:
    proposal = Proposal(configuration=Configuration(((8,) * 12,) * 12), recipe=Recipe(), seed=0)
    pulled, ended = [], {}

    def waiting():
        for number in range(count):
            pulled.append(time.perf_counter())
            yield Trial(number=number, proposal=proposal).started()

    begin = time.perf_counter()
    for trial in executor.run(Idle(), waiting()):
        ended[trial.number] = time.perf_counter()
    over = time.perf_counter()
    return Round(
        cluster=pulled[0] - begin,
        workers=max(ended[number] - pulled[0] for number in range(workers)),
        trials=[ended[number] - pulled[number] for number in range(workers, count)],
        closing=over - max(ended.values()),
    )


def row(name: str, workers: int, rounds: list[Round]) -> str:
    trials = sorted(seconds for one in rounds for seconds in one.trials)
    lower, middle, upper = statistics.quantiles(trials, n=4)
    start, up, closing = (
        statistics.median(getattr(one, part) for one in rounds)
        for part in ("cluster", "workers", "closing")
    )
    return (
        f"{name:<8}{workers:>8}{len(trials):>8}{middle * 1e3:>11.2f}"
        f"{lower * 1e3:>9.2f}..{upper * 1e3:<8.2f}{trials[-1] * 1e3:>8.1f}"
        f"{start:>12.2f}{up:>12.2f}{closing:>10.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200, help="trials a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()

    print(f"{'':32}trial (ms)                             once (s)")
    print(
        f"{'executor':<8}{'workers':>8}{'trials':>8}{'median':>11}{'quartiles':>19}{'max':>8}"
        f"{'cluster':>12}{'workers':>12}{'closing':>10}"
    )
    choices = [("inline", 1, InlineExecutor())]
    choices += [("ray", workers, RayExecutor(workers)) for workers in options.workers]
    for name, workers, executor in choices:
        rounds = [measure(executor, workers, options.trials) for _ in range(options.rounds)]
        print(row(name, workers, rounds), flush=True)


if __name__ == "__main__":
    main()
