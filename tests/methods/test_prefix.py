"""The attention that prefixes need, in place of transformers' own."""

import pytest
import torch
from transformers import AutoModel

from autopeft.methods.inject import injected
from autopeft.methods.prefix import ATTENTION
from autopeft.search_spaces.catalog import slots_of
from tests.models import FAMILIES, padded_inputs, table, tiny


@pytest.fixture(scope="module", params=FAMILIES)
def small(request, tmp_path_factory):
    return tiny(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_without_a_prefix_it_is_the_attention_of_transformers(small, attention):
    """On real tokens; what stands at padding is never read."""
    theirs = AutoModel.from_pretrained(
        small.files.path, dtype=torch.float32, attn_implementation=attention
    ).eval()
    assert small.model.config._attn_implementation == ATTENTION
    assert theirs.config._attn_implementation == attention

    inputs = padded_inputs(small.backbone.architecture)
    seen = inputs["attention_mask"].bool()
    with torch.no_grad():
        found, expected = (m(**inputs).last_hidden_state[seen] for m in (small.model, theirs))

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_padding_changes_nothing_beside_a_prefix(small):
    """The shortest sequence, once among longer ones and once alone and without a mask."""
    inputs = padded_inputs(small.backbone.architecture)
    alone = {name: value[2:, :3] for name, value in inputs.items()}
    configuration = table(slots_of(small.backbone), 2, {"prefix@attention": 5})
    with (
        torch.no_grad(),
        injected(
            small.model,
            small.backbone,
            slots_of(small.backbone),
            configuration,
            {},
            torch.Generator().manual_seed(0),
        ),
    ):
        together = small.model(**inputs).last_hidden_state[2, :3]
        single = small.model(**alone).last_hidden_state[0]

    torch.testing.assert_close(together, single, rtol=1e-5, atol=1e-5)


def test_dropout_acts_on_a_model_that_is_trained_only(small, monkeypatch):
    """The attention takes the module's own probability, and none while predicting."""
    inputs = padded_inputs(small.backbone.architecture)
    for module in small.model.modules():
        if isinstance(module, torch.nn.Dropout):
            monkeypatch.setattr(module, "p", 0.0)
    before = small.model(**inputs).last_hidden_state
    attention = small.model.get_submodule(small.backbone.site("attention").module_path(0))
    monkeypatch.setattr(attention.dropout, "p", 0.5)

    assert torch.equal(small.model(**inputs).last_hidden_state, before)
    try:
        small.model.train()
        assert not torch.equal(small.model(**inputs).last_hidden_state, before)
    finally:
        small.model.eval()
