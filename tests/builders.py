"""Small records to test with: the shapes of two known models, a tiny one, studies and trials."""

from dataclasses import replace

import numpy as np

from autopeft.backbone import Backbone, Site, Stack
from autopeft.budget import Budget
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.space import SearchSpace
from autopeft.search_spaces.written.reading import parse_space, read_space
from autopeft.study import Columns, DataFiles, Study, Task, Where
from autopeft.trial import Measurement, Proposal, Recipe, Trial


def bert_shaped(name: str, *, blocks: int, width: int, feedforward: int, parameters: int):
    """Return the shape of a model whose blocks are those of BERT."""

    def at(place: str, kind: str, path: str, inputs: int, outputs: int, rows=(0, blocks)) -> Site:
        bias = kind in {"linear", "norm"}
        return Site(
            place=place, kind=kind, path=path, blocks=rows, inputs=inputs, outputs=outputs,
            bias=bias,
        )  # fmt: skip

    sites = (
        at("attention.query", "linear", "l.{block}.q", width, width),
        at("attention.key", "linear", "l.{block}.k", width, width),
        at("attention.value", "linear", "l.{block}.v", width, width),
        at("attention.output", "linear", "l.{block}.o", width, width),
        at("attention", "attention", "l.{block}", width, width),
        at("attention.norm", "norm", "l.{block}.n", width, width),
        at("ffn.input", "linear", "l.{block}.i", width, feedforward),
        at("ffn.output", "linear", "l.{block}.f", feedforward, width),
        at("ffn.norm", "norm", "l.{block}.m", width, width),
        at("embeddings", "embeddings", "e", width, width, (0, 1)),
        at("ffn", "ffn", "", width, width),
        at("block", "block", "", width, width),
    )
    stack = Stack(name="", first=0, blocks=blocks, width=width, heads=width // 64 or 1, norm="post")
    return Backbone(
        name=name, architecture="bert", stacks=(stack,), parameters=parameters, sites=sites,
        digest="b" * 64,
    )  # fmt: skip


BERT_BASE = bert_shaped(
    "bert-base-uncased", blocks=12, width=768, feedforward=3072, parameters=109_482_240
)
MINI_LM = bert_shaped(
    "all-MiniLM-L6-v2", blocks=6, width=384, feedforward=1536, parameters=22_713_216
)
TINY = bert_shaped("tiny", blocks=2, width=8, feedforward=16, parameters=40_000)

SMALL_SPACE = parse_space(
    """
    name: small
    groups:
      - {slots: [lora@attention.query, lora@attention.value], sizes: [0, 1, 2, 4, 8]}
      - {slots: [serial_adapter@ffn.norm], sizes: [0, 1, 2, 4]}
    """,
    "small.yaml",
).on(TINY)
"""Six free cells on the tiny backbone: 10,000 configurations of 16 to 680 parameters."""

ONE_CONFIGURATION = parse_space(
    """
    name: one
    groups:
      - {slots: [lora@attention.query, lora@attention.value], sizes: [4]}
    """,
    "one.yaml",
).on(TINY)

TASK = Task(
    kind="classification", metric="accuracy", columns=Columns(text="text", label="label"),
    labels=("no", "yes"), head="mean", max_length=16, digest="e" * 64, split_seed=0,
    examples=(320, 40, 40),
)  # fmt: skip
WHERE = Where(model="/models/tiny", data=DataFiles(train="/data/reviews.csv"))


def space_on(backbone: Backbone, name: str) -> SearchSpace:
    """Lay a known space over a backbone."""
    return read_space(name).on(backbone)


def a_study(**changes) -> Study:
    """Return a study of the small space at 1% of the tiny backbone: 400 parameters."""
    study = Study(
        task=TASK, backbone=TINY, space=SMALL_SPACE, budget=Budget.parse("1%"), strategy="random",
        seed=0, recipe=Recipe(scales={"lora": 2.0, "serial_adapter": 1.0}), finals=2, where=WHERE,
    )  # fmt: skip
    return replace(study, **changes)


def a_proposal(*ranks: int, rate: float = 1e-3, **changes) -> Proposal:
    """Return a proposal of LoRA at the query, with a rank for each block of the tiny backbone."""
    row = [0] * len(SMALL_SPACE.slots)
    sizes = tuple((rank, *row[1:]) for rank in ranks or (1, 1))
    recipe = Recipe(learning_rates={"lora": rate}, scales={"lora": 2.0})
    return replace(Proposal(configuration=Configuration(sizes), recipe=recipe, seed=0), **changes)


def a_measurement(score: float = 0.9, parameters: int = 32, predictions=(), seconds: float = 1.5):
    """Return a measurement; predictions are class indices."""
    return Measurement(
        score=score, loss=0.3, parameters=parameters, head_parameters=18, steps=30,
        seconds=seconds, predictions=np.asarray(predictions, dtype="<i4").tobytes(),
    )  # fmt: skip


def a_trial(
    number: int, score: float, *, ranks=(1, 1), predictions=(), parameters: int = 32, **changes
) -> Trial:
    """Return a measured trial; the changes are those of its proposal."""
    trial = Trial(number=number, proposal=a_proposal(*ranks, **changes)).started()
    return trial.done(a_measurement(score, parameters, predictions))
