"""A configuration inside a tiny model, for the tests of single methods."""

from contextlib import contextmanager

import torch

from autopeft.methods.inject import injected
from autopeft.search_spaces.catalog import slots_of
from tests.models import SCALES, padded_inputs, table


@contextmanager
def inside(small, sizes, *, seed=0, **how):
    """Put the same sizes, by slot name, into every block that has the slot."""
    slots = slots_of(small.backbone)
    configuration = table(slots, small.backbone.blocks, sizes)
    generator = torch.Generator().manual_seed(seed)
    scales = how.pop("scales", SCALES)
    with injected(
        small.model, small.backbone, slots, configuration, scales, generator, **how
    ) as injection:
        yield injection


def shake(injection, *, spread=0.1, seed=1):
    """Move every trained value off its start."""
    generator = torch.Generator().manual_seed(seed)
    for value in injection.state().values():
        if value.is_floating_point():
            value.add_(spread * torch.randn(value.shape, generator=generator))


def hidden(small, inputs=None):
    """Return the last hidden states."""
    with torch.no_grad():
        inputs = inputs or padded_inputs(small.backbone.architecture)
        return small.model(**inputs).last_hidden_state
