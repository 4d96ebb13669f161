"""Tiny models and easy data for the kinds of task beside labelled texts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast

from autopeft.study import DataFiles, TaskKind
from tests.models import BAD, GOOD, PLAIN, WORDS, Bench, config_of, save_tiny, save_weights

TAGS = ("O", "B-GOOD", "I-GOOD", "B-BAD")


def save_causal(folder: Path, family: str = "gpt2", **changes: Any) -> Path:
    """Save a tiny causal model with its head; the tokenizer adds nothing and has no padding."""
    save_weights(AutoModelForCausalLM.from_config(config_of(family, **changes)), folder)
    tokenizer = plain_tokenizer()
    tokenizer.eos_token = "[SEP]"
    tokenizer.save_pretrained(folder)
    return folder


def save_translator(folder: Path, family: str = "t5", **changes: Any) -> Path:
    """Save a tiny encoder with a decoder and its head; the tokenizer ends texts with [SEP]."""
    save_weights(AutoModelForSeq2SeqLM.from_config(config_of(family, **changes)), folder)
    tokenizer = plain_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A [SEP]", pair="$A [SEP] $B [SEP]", special_tokens=[("[SEP]", 3)]
    )
    tokenizer.eos_token, tokenizer.pad_token = "[SEP]", "[PAD]"
    tokenizer.save_pretrained(folder)
    return folder


def plain_tokenizer() -> Any:
    """Return a tokenizer of words that puts nothing around a text."""
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


def save_model(folder: Path, kind: TaskKind, family: str, **changes: Any) -> Path:
    """Save a tiny model that can do a kind of task."""
    if kind == "causal_lm":
        return save_causal(folder, family, **changes)
    if kind == "seq2seq":
        return save_translator(folder, family, **changes)
    return save_tiny(folder, family, **changes)


def tagged(count: int = 120, *, seed: int = 0) -> list[dict[str, Any]]:
    """Return sentences in which words tell their tags; a good word goes on with a good one."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        words = [str(word) for word in rng.choice((*PLAIN[:4], *GOOD, *BAD), size=6)]
        tags = []
        for place, word in enumerate(words):
            after = place and words[place - 1] in GOOD
            good = "I-GOOD" if after else "B-GOOD"
            tags.append(good if word in GOOD else "B-BAD" if word in BAD else "O")
        rows.append({"tokens": words, "ner_tags": tags})
    return rows


def continued(count: int = 120, *, seed: int = 0) -> list[dict[str, Any]]:
    """Return prompts of plain words that end with the word that decides the completion."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        key = number % 4
        prompt = [*rng.choice(PLAIN, size=rng.integers(1, 5)), (GOOD if key % 2 else BAD)[key]]
        answer = [GOOD[key], BAD[key]][: 1 + key % 2]
        rows.append({"prompt": " ".join(prompt), "completion": " ".join(answer)})
    return rows


def write_json(file: Path, rows: Sequence[dict[str, Any]]) -> DataFiles:
    """Write one JSON object a line."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return DataFiles(train=str(file))


def picture(rng: np.random.Generator, *, bright: bool, size: tuple[int, int] = (12, 10)) -> Any:
    """Return an image of noise, bright or dark."""
    low = 150 if bright else 0
    pixels = rng.integers(low, low + 100, size=(*size, 3), dtype=np.uint8)
    return PIL.Image.fromarray(pixels)


def write_pictures(folder: Path, count: int = 60, *, seed: int = 0) -> DataFiles:
    """Write bright and dark images into a folder a class."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        name = "bright" if number % 2 else "dark"
        (folder / name).mkdir(parents=True, exist_ok=True)
        image = picture(rng, bright=name == "bright")
        image.save(folder / name / f"{number:03}.png")
    return DataFiles(train=str(folder))


def bench_of(model: Path, data: DataFiles, kind: TaskKind, **task: Any) -> Bench:
    """Open a trainer on data whose columns have conventional names."""
    return Bench(model, data, **({"kind": kind, "text": None, "label": None, "head": None} | task))
