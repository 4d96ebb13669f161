"""A prefix with a weight for every token and every block."""

import pytest
import torch

from tests.methods.giving import given, state_of
from tests.models import padded_inputs, seen, tiny


@pytest.fixture(scope="module", params=["bert", "llama"])
def small(request, tmp_path_factory):
    return tiny(tmp_path_factory.mktemp(request.param), request.param)


def output(small):
    inputs = padded_inputs(small.backbone.architecture)
    with torch.no_grad():
        return seen(small.model(**inputs).last_hidden_state, inputs)


def part(injection, name):
    return [v for n, v in injection.state().items() if n.endswith(f"/{name}")]


def test_with_gates_that_stand_still_it_is_a_scaled_prefix(small):
    """A gate of zeros gives every token one half of the level, on keys and on values."""
    with given(small, prefix_gate_at_attention=3) as injection:
        for gate, level in zip(part(injection, "gate"), part(injection, "level"), strict=True):
            gate.zero_()
            level.fill_(1.4)
        found, state = output(small), state_of(injection)
    halved = {
        name.replace("prefix_gate@", "prefix@"): 0.7 * value
        for name, value in state.items()
        if name.endswith(("keys", "values"))
    }

    with given(small, prefix_at_attention=3) as injection:
        injection.load(halved)
        torch.testing.assert_close(found, output(small), rtol=1e-4, atol=1e-5)


def test_each_token_sets_its_own_weights(small):
    """The first block's attention for one token, written out from what it reads."""
    site = small.backbone.site("attention")
    module = small.model.get_submodule(small.backbone.module_path(site, 0))
    noted = []

    with given(small, prefix_gate_at_attention=3) as injection:
        handle = module.register_forward_hook(
            lambda _module, args, kwargs, _out: noted.append(
                args[0] if args else kwargs["hidden_states"]
            ),
            with_kwargs=True,
        )
        output(small)
        handle.remove()
        extra = module.get_submodule("autopeft_prefix_gate")
        extra.read(module, (noted[0],), {})
        found = extra().gate
        gate, level = part(injection, "gate")[0], part(injection, "level")[0]

    expected = [level / (1 + torch.exp(-(gate @ token))) for token in noted[0].flatten(0, 1)]
    torch.testing.assert_close(found.flatten(0, 1), torch.stack(expected), rtol=1e-5, atol=1e-6)
