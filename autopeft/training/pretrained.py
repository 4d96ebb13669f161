"""Pretrained models and their tokenizers, loaded."""

from typing import Any

from autopeft.errors import BackboneError
from autopeft.training.memory import is_out_of_memory
from autopeft.training.model_files import ModelFiles, first_line

# Their first token has the position after the number of the padding token.
_POSITIONS_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert"}


def load_backbone(files: ModelFiles) -> Any:
    """Load the weights in single precision, all frozen, with autopeft's attention.

    What is raised for a lack of memory passes unchanged: the model is not to blame for it.

    Raises:
        BackboneError: The weights cannot be read, are not all there or do not fit the
            configuration.
    """
    import torch
    from transformers import AutoModel, logging

    from autopeft.methods.prefix import ATTENTION

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        model, report = AutoModel.from_pretrained(
            files.path,
            output_loading_info=True,
            dtype=torch.float32,
            attn_implementation=ATTENTION,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise BackboneError(
            f"cannot load the weights of {files.reference!r}: {first_line(error)}; "
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


def load_tokenizer(files: ModelFiles) -> Any:
    """Load the tokenizer that lies beside the weights; it knows how long a text may be.

    Raises:
        BackboneError: Its files cannot be read, or it knows no padding token.
    """
    from transformers import AutoConfig, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(files.path, local_files_only=True)
        config = AutoConfig.from_pretrained(files.path, local_files_only=True)
    except Exception as error:
        raise BackboneError(
            f"cannot load the tokenizer of {files.reference!r}: {first_line(error)}"
        ) from error
    if tokenizer.pad_token_id is None:
        raise BackboneError(
            f"the tokenizer of {files.reference!r} has no padding token: set pad_token in its "
            "tokenizer_config.json"
        )
    positions = config.max_position_embeddings
    if files.model_type in _POSITIONS_AFTER_PADDING:
        positions -= config.pad_token_id + 1
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    return tokenizer
