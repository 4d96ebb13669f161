"""All additive methods at once, at every site that takes them."""

import pytest
import torch

from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.catalog.additive import METHODS
from autopeft.search_spaces.checking import clashes
from tests.methods.filling import count, filled, hidden, shake
from tests.models import padded_inputs, tiny

NAMES = {method.name for method in METHODS}


@pytest.fixture(scope="module", params=["bert", "gpt2", "gemma2", "bart"])
def small(request, tmp_path_factory):
    return tiny(tmp_path_factory.mktemp(request.param), request.param)


def everywhere(small):
    slots = [slot for slot in slots_of(small.backbone) if slot.method in NAMES]
    assert not clashes(tuple(slots))
    return {slot.name: min(2, slot.most or 2) for slot in slots}


def test_fresh_they_leave_the_output_as_it_was_to_the_bit(small):
    before = hidden(small)

    with filled(small, everywhere(small)) as injection:
        assert torch.equal(hidden(small), before)
        assert injection.count() == count(small.backbone, everywhere(small))

    assert torch.equal(hidden(small), before)


def test_they_train_in_mixed_precision_with_parameters_in_single(small):
    with filled(small, everywhere(small)) as injection:
        shake(injection)
        with torch.autocast("cpu", torch.bfloat16):
            out = small.model(**padded_inputs(small.backbone.architecture)).last_hidden_state
        out.float().pow(2).sum().backward()

        for name, parameter in injection.named().items():
            assert parameter.dtype == torch.float32, name
            assert torch.isfinite(parameter.grad).all(), name
