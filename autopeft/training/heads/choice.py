"""Which head a task gets, and how its data is encoded for it."""

from typing import Any

import torch

from autopeft.study import Task
from autopeft.tasks.parts import Part, Passages, Pictures, Sentences
from autopeft.tasks.splits import PartName
from autopeft.training.batches import Encoded, Examples, encode
from autopeft.training.heads.images import EncodedPictures, ImageModel
from autopeft.training.heads.language import (
    LanguageModel,
    encode_continuations,
    encode_translations,
)
from autopeft.training.heads.model import TaskModel
from autopeft.training.heads.sequence import SequenceModel
from autopeft.training.heads.tokens import TokenModel, encode_sentences


def encode_part(reader: Any, task: Task, name: PartName, part: Part) -> Examples:
    """Encode a part with the model's tokenizer or image processor.

    What is learned of prompts is for the part that is learned from; scored is the completion.
    """
    if isinstance(part, Pictures):
        return EncodedPictures(pictures=part, processor=reader)
    if isinstance(part, Sentences):
        return encode_sentences(reader, part, task.max_length)
    if isinstance(part, Passages):
        if task.kind == "seq2seq":
            return encode_translations(reader, part, task.max_length)
        loss = task.loss if name == "train" else "completion"
        return encode_continuations(reader, part, task.max_length, loss)
    return encode(reader, part, task.max_length)


def model_for(task: Task, whole: Any, train: Examples, generator: torch.Generator) -> TaskModel:
    """Put a fresh head on a loaded model; language models keep their own."""
    if task.kind in {"causal_lm", "seq2seq"}:
        return LanguageModel(whole)
    tower = _tower(whole, task)
    if task.kind == "image":
        return ImageModel(tower, task, generator)
    if task.kind == "tokens":
        return TokenModel(tower, task, generator)
    if not isinstance(train, Encoded):
        raise TypeError(f"labelled texts are encoded as such, not as {type(train).__name__}")
    return SequenceModel(tower, task, train, generator)


def _tower(whole: Any, task: Task) -> Any:
    """Return the side that sees the data, of a model with one for texts and one for images."""
    sides = dict(whole.named_children())
    if not {"text_model", "vision_model"} <= set(sides):
        return whole
    return sides["vision_model" if task.kind == "image" else "text_model"]
