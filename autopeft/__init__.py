"""Search for the best parameter-efficient fine-tuning configuration under a hard budget."""

__version__ = "0.1.0.dev0"
