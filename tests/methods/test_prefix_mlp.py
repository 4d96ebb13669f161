"""A prefix that a network computes while it is trained, and that stands alone afterwards."""

import pytest
import torch

from tests.methods.giving import given, state_of
from tests.models import padded_inputs, tiny


@pytest.fixture
def bert(tmp_path):
    return tiny(tmp_path, "bert")


def output(small):
    with torch.no_grad():
        return small.model(**padded_inputs(small.backbone.architecture)).last_hidden_state


def test_what_is_kept_is_a_plain_prefix(bert):
    """Saved under the names of a prefix, and loaded as one."""
    with given(bert, prefix_mlp_at_attention=3) as injection:
        expected, state = output(bert), state_of(injection)
    renamed = {name.replace("prefix_mlp@", "prefix@"): value for name, value in state.items()}

    with given(bert, prefix_at_attention=3, seed=5) as injection:
        injection.load(renamed)
        torch.testing.assert_close(output(bert), expected, rtol=1e-5, atol=1e-5)


def test_what_is_loaded_needs_no_network(bert):
    """In a fresh injection, whose network begins elsewhere and is not asked."""
    with given(bert, prefix_mlp_at_attention=3) as injection:
        expected, state = output(bert), state_of(injection)

    with given(bert, prefix_mlp_at_attention=3, seed=5) as injection:
        assert (output(bert) - expected).abs().max() > 1e-3
        injection.load(state)
        torch.testing.assert_close(output(bert), expected, rtol=1e-5, atol=1e-5)
        for value in injection.scaffold():
            value.data.zero_()
        torch.testing.assert_close(output(bert), expected, rtol=1e-5, atol=1e-5)
        assert all(map(torch.equal, injection.state().values(), state.values()))


def test_training_moves_the_network_and_so_the_prefix(bert):
    inputs = padded_inputs("bert")
    with given(bert, prefix_mlp_at_attention=3) as injection:
        before = state_of(injection)
        steps = torch.optim.SGD([p for g in injection.by_method().values() for p in g], lr=0.01)
        bert.model(**inputs).last_hidden_state.square().sum().backward()
        steps.step()
        after = injection.state()

        assert all(p.grad.ne(0).any() for p in injection.scaffold())
        assert all(before[name].ne(after[name]).all() for name in before)


def test_the_network_is_no_part_of_the_count(bert):
    """Two blocks of 3 · (32 + 32) are kept; a block's network and seeds are 50,336 more."""
    with given(bert, prefix_mlp_at_attention=3) as injection:
        extra = 3 * 32 + 512 * (32 + 1 + 32 + 32) + 32 + 32

        assert injection.count() == 2 * 3 * (32 + 32)
        assert sum(p.numel() for p in injection.scaffold()) == 2 * extra


def test_it_computes_what_the_paper_writes(bert):
    """Seeds through a layer, tanh and a layer; the first columns are keys."""
    with given(bert, prefix_mlp_at_attention=3) as injection:
        seeds, down, down_bias, up, up_bias = (p.detach() for p in injection.scaffold()[:5])
        rows = torch.tanh(seeds @ down.T + down_bias) @ up.T + up_bias
        state = injection.state()

        keys, values = (state[f"0/prefix_mlp@attention/{name}"] for name in ("keys", "values"))
        torch.testing.assert_close(torch.cat([keys, values], 1), rows, rtol=1e-5, atol=1e-5)
