"""Libraries that take seconds to import, at a moment of one's own choosing."""


def import_all() -> None:
    """Import what the training of any model needs; otherwise the first model to be loaded does."""
    from transformers import AutoModel, AutoTokenizer, modeling_utils

    import autopeft.training.trainer

    del AutoModel, AutoTokenizer, modeling_utils, autopeft
