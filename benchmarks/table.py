"""Train every configuration of a small space once, so that strategies can be replayed on it.

    python benchmarks/table.py              train what is missing, one thread, 45 minutes in all
    python benchmarks/table.py inherited    score all of them with a supernet for each seed
    python benchmarks/table.py structures   let the differentiable searches run, for each seed
    python benchmarks/table.py write        write the Parquet file from what is there
    python benchmarks/table.py train inherited --table noun-classes     of another task
    python benchmarks/table.py --first 10   10 configurations, to see whether it is worth it

The tasks stand in ``table_task.py``. Rates are the defaults of each method; scores are taken at
1/9, 1/3 and all of the steps of the same training, because the schedule is that of the whole recipe
whatever share is run. Seconds are those of the processor, not of the clock, so that a neighbour on
the machine changes little.

What is trained is kept line by line in the cache (see ``materials.py``), so that it can be stopped
and gone on with. Only scores enter the repository, no text.
"""

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import materials
import numpy as np
from table_task import BUDGET, TASKS, Genome, TableTask, genomes
from tabled import RUNGS, TABLES, USUAL

from autopeft.process import give_memory_back, prepare
from autopeft.records import to_json
from autopeft.study import Study

if TYPE_CHECKING:
    from autopeft.training.trainer import Trainer

SEEDS = (0, 1)
DIFFERENTIABLE = ("s3pet", "bipeft")

Row = dict[str, Any]


def trained(trainer: "Trainer", study: Study, genome: Genome, seed: int) -> Iterator[Row]:
    """Train a configuration and yield a row at each share."""
    from autopeft.strategies.recipes import default_recipe
    from autopeft.tasks.metrics import METRICS
    from autopeft.training.loop import fit, steps_of

    slots = study.space.slots
    configuration = study.space.decode(genome)
    recipe = default_recipe(study.recipe, configuration.methods(slots))
    train, validation = trainer.parts["train"], trainer.parts["validation"]
    steps = steps_of(len(train), recipe)
    rungs = {max(1, round(steps * share)): share for share in RUNGS}
    truth = validation.truth.astype(np.float64)
    began, predicting = time.process_time(), 0.0
    with trainer.tuned(slots, configuration, recipe, seed) as tuned:
        injection = tuned.injection
        for step in fit(
            tuned.model, train, recipe, injection.by_method(), steps=steps,
            rng=np.random.default_rng(seed), penalty=injection.penalty, stepped=injection.stepped,
        ):  # fmt: skip
            if step not in rungs:
                continue
            training = time.process_time() - began - predicting
            predictions, loss = tuned.predict(validation)
            predicted = time.process_time() - began - predicting - training
            predicting += predicted
            tuned.model.train()
            yield {
                "share": rungs[step],
                "steps": step,
                "score": METRICS[study.task.metric].score(truth, predictions.astype(np.float64)),
                "loss": loss,
                "training_seconds": training,
                "scoring_seconds": predicted,
            }


def kept(task: TableTask) -> Path:
    """Name the file of what is trained."""
    return materials.cache() / f"table-{task.name}.jsonl"


def read_kept(task: TableTask) -> list[Row]:
    """Read the trainings so far: genome, seed, and a row a share."""
    if not kept(task).exists():
        return []
    return [json.loads(line) for line in kept(task).read_text(encoding="utf-8").splitlines()]


def train(task: TableTask, first: int | None = None) -> None:
    """Train what is missing, all of a seed before the next, in a mixed order."""
    from autopeft.training.loop import DivergedError

    whole = task.study()
    every = genomes(whole.space, whole.ceiling)
    mixed = [every[index] for index in np.random.default_rng(0).permutation(len(every))][:first]
    done = {(tuple(line["genome"]), line["seed"]) for line in read_kept(task)}
    left = [(g, seed) for seed in SEEDS for g in mixed if (g, seed) not in done]
    print(f"{len(mixed)} configurations, {len(left)} trainings left", file=sys.stderr)
    trainer = opened(whole)
    began = time.monotonic()
    for number, (genome, seed) in enumerate(left, 1):
        line: Row = {"genome": genome, "seed": seed}
        try:
            line["rungs"] = list(trained(trainer, whole, genome, seed))
        except DivergedError as error:
            line |= {"rungs": [], "failure": str(error)}
        with kept(task).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        give_memory_back()
        if number % 10 == 0:
            minutes = (time.monotonic() - began) / 60
            print(f"{number} of {len(left)}, {minutes:.1f} minutes", file=sys.stderr, flush=True)


def inherited(task: TableTask) -> None:
    """Train a supernet for each seed and score every configuration with it.

    Beginnings are shared, so that a single score has no cost of its own: it is the mean of all.
    """
    from autopeft.evaluators.inherited import InheritedScores

    whole = task.study()
    every = genomes(whole.space, whole.ceiling)
    trainer = opened(whole)
    for seed in SEEDS:
        if beside(task, "inherited", seed).exists():
            continue
        with TemporaryDirectory() as folder:
            shared = InheritedScores(
                whole, Path(folder), threads=1, trainer=lambda: trainer, seed=seed
            )
            supernet = seconds_of(shared.prepare())
            print(f"supernet {seed}: {supernet:.1f} s", file=sys.stderr, flush=True)
            began = time.process_time()
            scores = list(shared.scores([whole.space.decode(genome) for genome in every]))
            each = (time.process_time() - began) / len(every)
        if len(scores) < len(every):
            raise SystemExit(f"supernet {seed} gave no scores: {shared.problem}")
        found = {key(g): [score, each] for g, score in zip(every, scores, strict=True)}
        keep(beside(task, "inherited", seed), {"seconds": supernet, "scores": found})


def structures(task: TableTask) -> None:
    """Let the differentiable searches run on the task, for each seed."""
    from autopeft.evaluators.gated import GatedStructures

    whole = task.study()
    trainer = opened(whole)
    for name, seed in itertools.product(DIFFERENTIABLE, SEEDS):
        if beside(task, name, seed).exists():
            continue
        with TemporaryDirectory() as folder:
            gated = GatedStructures(
                replace(whole, strategy=name, seed=seed), Path(folder), threads=1,
                trainer=lambda: trainer,
            )  # fmt: skip
            cost = seconds_of(gated.prepare())
        if gated.problem:
            raise SystemExit(f"{name} found nothing: {gated.problem}")
        found = [configuration.sizes for configuration in gated.found()]
        outcome = {"seconds": cost, "chances": gated.chances(), "found": found}
        keep(beside(task, name, seed), outcome)
        print(f"{name} {seed}: {cost:.1f} s", file=sys.stderr, flush=True)


def opened(whole: Study) -> "Trainer":
    """Load backbone and data."""
    from autopeft.training.trainer import Trainer

    return Trainer.open(whole.task, whole.backbone, whole.where, test=False, threads=1)


def seconds_of(work: Iterator[Any]) -> float:
    """Do all of a work and return the processor's seconds."""
    began = time.process_time()
    for _ in work:
        pass
    return time.process_time() - began


def beside(task: TableTask, what: str, seed: int) -> Path:
    """Name the file of what is known beside the trainings."""
    return materials.cache() / f"table-{task.name}.{what}-{seed}.json"


def keep(file: Path, found: Row) -> None:
    """Write such a file."""
    file.write_text(json.dumps(found) + "\n", encoding="utf-8")


def kept_beside(task: TableTask, what: str) -> dict[str, Row]:
    """Read such files by seed; nothing where one is missing."""
    files = {str(seed): beside(task, what, seed) for seed in SEEDS}
    if not all(file.exists() for file in files.values()):
        return {}
    return {seed: json.loads(file.read_text("utf-8")) for seed, file in files.items()}


def key(genome: Sequence[int]) -> str:
    """Write a genome."""
    return "-".join(map(str, genome))


def write(task: TableTask) -> None:
    """Write the Parquet file, and what else a replay has to know."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    lines = read_kept(task)
    if not lines:
        raise SystemExit(f"nothing is trained in {kept(task)}: the table that is there stays")
    whole = task.study()
    scored = kept_beside(task, "inherited")
    rows = [
        {
            "genome": key(line["genome"]),
            "sizes": json.dumps(whole.space.decode(line["genome"]).sizes),
            "parameters": whole.space.parameters(line["genome"]),
            "seed": line["seed"],
            **rung,
            **_inherited(scored, line),
        }
        for line in lines
        for rung in line["rungs"]
    ]
    rows.sort(key=lambda row: (row["genome"], row["seed"], row["share"]))
    pq.write_table(pa.Table.from_pylist(rows), TABLES / f"{task.name}.parquet", compression="zstd")
    gated = {name: kept_beside(task, name) for name in DIFFERENTIABLE}
    facts = {
        "budget": BUDGET,
        "backbone": to_json(whole.backbone),
        "task": to_json(whole.task),
        "recipe": to_json(whole.recipe),
        "supernet": {"seconds": {seed: found["seconds"] for seed, found in scored.items()}},
        "structures": {name: found for name, found in gated.items() if found},
    }
    (TABLES / f"{task.name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"{len(rows)} rows")


def _inherited(scored: dict[str, Row], line: Row) -> Row:
    if not scored:
        return {"inherited": None, "inherited_seconds": None}
    score, seconds = scored[str(line["seed"])]["scores"][key(line["genome"])]
    return {"inherited": score, "inherited_seconds": seconds}


def main() -> None:
    """Do what is asked for, and write; without a word, train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = ("train", "inherited", "structures", "write")
    parser.add_argument("what", nargs="*", metavar="|".join(known), help="train, if left out")
    parser.add_argument("--table", choices=TASKS, default=USUAL)
    parser.add_argument("--first", type=int, help="train so many configurations of each seed")
    given = parser.parse_args()
    if unknown := set(given.what) - set(known):
        parser.error(f"there is no {', '.join(sorted(unknown))}: there are {', '.join(known)}")
    prepare()
    task = TASKS[given.table]
    for what in given.what or ["train"]:
        match what:
            case "train":
                train(task, given.first)
            case "inherited":
                inherited(task)
            case "structures":
                structures(task)
    write(task)


if __name__ == "__main__":
    main()
