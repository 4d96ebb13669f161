"""Pretrained models, their tokenizers and image processors, loaded."""

from typing import Any

from autopeft.errors import BackboneError
from autopeft.study import TaskKind
from autopeft.training.memory import is_out_of_memory
from autopeft.training.model_files import ModelFiles, first_line
from autopeft.training.shape import asks_for_attention

# Their first token has the position after the number of the padding token.
_POSITIONS_AFTER_PADDING = {
    *("roberta", "xlm-roberta", "camembert", "data2vec-text", "esm", "layoutlmv3", "lilt", "luke"),
    *("markuplm", "mpnet", "roberta-prelayernorm", "xlm-roberta-xl"),
}


def load_backbone(files: ModelFiles, kind: TaskKind | None = None, quantisation: Any = None) -> Any:
    """Load the weights in single precision, all frozen, with autopeft's attention where it fits.

    A ``quantisation`` of transformers says which of them are held in fewer bits instead.

    For language models their own head comes with them; sites lie in ``base_model``. What is raised
    for a lack of memory passes unchanged: the model is not to blame for it.

    Raises:
        BackboneError: The weights cannot be read, are not all there or do not fit the
            configuration.
    """
    import torch
    from transformers import logging

    from autopeft.methods.attending import ATTENTION

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    attention = ATTENTION if asks_for_attention(files) else "eager"
    packed = (
        {"quantization_config": quantisation, "device_map": {"": "cpu"}} if quantisation else {}
    )
    try:
        model, report = auto_class(kind).from_pretrained(
            files.path,
            output_loading_info=True,
            dtype=torch.float32,
            attn_implementation=attention,
            local_files_only=True,
            trust_remote_code=False,
            **packed,
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise BackboneError(
            f"cannot load the weights of {files.reference!r}: {_reason(error)}; "
            "is the download complete?"
        ) from error
    # What the file lacks, transformers fills with random numbers. Checkpoints of masked language
    # models lack the pooler, which few heads need.
    missing = sorted(report["missing_keys"])
    if lost := [name for name in missing if not name.startswith("pooler.")]:
        raise BackboneError(
            f"the weights of {files.reference!r} lack {len(lost)} tensors, such as {lost[0]!r}: "
            "is this the model that config.json describes?"
        )
    if missing:
        model.pooler = None
    return model.requires_grad_(requires_grad=False).eval()


def _reason(error: Exception) -> str:
    if "mismatched" in str(error):  # transformers points to a table that it has logged
        return "their shapes are not those that config.json describes"
    return first_line(error)


def auto_class(kind: TaskKind | None) -> Any:
    """Return the class of transformers that loads a model for a kind of task."""
    from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    if kind == "causal_lm":
        return AutoModelForCausalLM
    return AutoModelForSeq2SeqLM if kind == "seq2seq" else AutoModel


def load_reader(files: ModelFiles, kind: TaskKind) -> Any:
    """Load what turns data into the model's input: the tokenizer or the image processor.

    Raises:
        BackboneError: Its files are missing or cannot be read, or it does not fit the kind.
    """
    return load_processor(files) if kind == "image" else load_tokenizer(files, kind)


def load_tokenizer(files: ModelFiles, kind: TaskKind | None = None) -> Any:
    """Load the tokenizer that lies beside the weights; it knows how long a text may be.

    One without a padding token pads with its end token, which the attention mask hides as well as
    any other; where padding means more than that, this is refused.

    Raises:
        BackboneError: Its files are missing or cannot be read, or it has no token to pad with.
    """
    from transformers import AutoTokenizer

    if not files.has_tokenizer:
        raise BackboneError(
            f"the model {files.reference!r} has no tokenizer, and this task has texts: save the "
            "tokenizer into the same directory, or give images with --task image"
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(files.path, local_files_only=True)
        if kind == "tokens" and getattr(tokenizer, "add_prefix_space", None) is False:
            # Byte-level tokenizers would take every word for the beginning of a text.
            tokenizer = AutoTokenizer.from_pretrained(
                files.path, local_files_only=True, add_prefix_space=True
            )
        positions = positions_of(files)
    except Exception as error:
        raise BackboneError(
            f"cannot load the tokenizer of {files.reference!r}: {first_line(error)}"
        ) from error
    if tokenizer.pad_token_id is None:
        # Positions counted from padding, and decoders that begin with it, need one of its own.
        if kind == "seq2seq" or files.model_type in _POSITIONS_AFTER_PADDING:
            raise _no_padding(files)
        if tokenizer.eos_token_id is None:
            raise _no_padding(files)
        tokenizer.pad_token = tokenizer.eos_token
    if positions is not None:
        tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return tokenizer


def positions_of(files: ModelFiles) -> int | None:
    """Count the positions that a text can have; None where the model sets no limit."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(files.path, local_files_only=True)
    positions: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    if positions is not None and files.model_type in _POSITIONS_AFTER_PADDING:
        positions -= config.pad_token_id + 1
    return positions


def _no_padding(files: ModelFiles) -> BackboneError:
    return BackboneError(
        f"the tokenizer of {files.reference!r} has no padding token: set pad_token in its "
        "tokenizer_config.json"
    )


def load_processor(files: ModelFiles) -> Any:
    """Load the image processor that lies beside the weights, in its Pillow form everywhere.

    Raises:
        BackboneError: Its file is missing or cannot be read.
    """
    from transformers import AutoImageProcessor

    if not files.has_processor:
        raise BackboneError(
            f"the model {files.reference!r} has no image processor: {files.path} holds no "
            "preprocessor_config.json; give a model that takes images"
        )
    try:
        # Other forms scale pixels a little differently, and need torchvision.
        return AutoImageProcessor.from_pretrained(files.path, local_files_only=True, backend="pil")
    except Exception as error:
        raise BackboneError(
            f"cannot load the image processor of {files.reference!r}: {first_line(error)}"
        ) from error


def check_kind(files: ModelFiles, kind: TaskKind) -> None:
    """Refuse a model that cannot do a kind of task, before anything is loaded.

    Raises:
        BackboneError: It cannot, and what it can is named.
    """
    from transformers import AutoConfig
    from transformers.models.auto import modeling_auto as auto

    if not (files.has_processor if kind == "image" else files.has_tokenizer):
        load_reader(files, kind)  # says what is missing
    try:
        config = AutoConfig.from_pretrained(files.path, local_files_only=True)
    except Exception as error:  # whatever a configuration's own code raises on wrong values
        raise BackboneError(
            f"cannot read the configuration of {files.reference!r}: {first_line(error)}"
        ) from None
    two = bool(config.is_encoder_decoder)
    masked = files.model_type in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    causal = files.model_type in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not two
    if kind == "seq2seq" and not two:
        raise _cannot(files, kind, "it has no decoder beside an encoder, as T5 and BART have")
    if kind == "causal_lm" and (not causal or (masked and not config.is_decoder)):
        # BERT and its kin have such a class too, but every token would see the next one.
        raise _cannot(files, kind, "its tokens see those after them: take one such as GPT-2")
    if kind not in {"seq2seq", "causal_lm"} and two:
        raise _cannot(files, kind, "it is an encoder with a decoder: use --task seq2seq")
    load_reader(files, kind)


def _cannot(files: ModelFiles, kind: TaskKind, why: str) -> BackboneError:
    return BackboneError(
        f"the model {files.reference!r} ({files.model_type}) cannot do {kind}: {why}"
    )
