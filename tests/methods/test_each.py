"""What every method promises by itself, at every site that it can take, on every architecture."""

import re
from contextlib import contextmanager
from copy import deepcopy

import pytest
import torch

from autopeft.errors import PlanError
from autopeft.methods.inject import injected
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.search_spaces.checking import clashes, partners
from tests.models import SCALES, padded_inputs, some_families, table, tiny

BLIND = re.compile(r"/(bitfit|full|ssf)@.*\b(attention|cross)\.key(/bias|/shift|\.bias)?$")
"""A key bias moves all scores of a query alike, which softmax does not see."""

PARTLY = ("/boft_R", "/vblora_", "/pvera_lambda_d")
"""Unused diagonals, unchosen vectors, the spread of noise: not every element learns."""

NORMED_AWAY = "/glora_E"
"""One number for all outputs, which a norm behind it takes away."""

ROUNDING = {"hra", "deft", "osf"}
"""They take away what they add, at every site of the model."""


def methods(wanted=lambda _method: True):
    """Return methods as parameters; those of `peft` are tried by test_opaque in every run."""
    return [
        pytest.param(name, marks=pytest.mark.slow if method.family == "opaque" else ())
        for name, method in METHODS.items()
        if wanted(method)
    ]


@pytest.fixture(scope="module", params=some_families())
def small(request, tmp_path_factory):
    return tiny(tmp_path_factory.mktemp(request.param), request.param)


def sizes_of(method, slots):
    """Return the largest of up to three at each site, leaving out what clashes with an earlier."""
    own = [slot for slot in slots if slot.method == method]
    dropped = {second for _, second in clashes(tuple(own))}
    chosen = {s.name: min(3, s.most or 3) for i, s in enumerate(own) if i not in dropped}
    return with_partners(chosen, slots)


def with_partners(sizes, slots):
    """Put beside what is nothing alone something that it acts on, or leave it out."""
    for column, allowed in partners(tuple(slots)):
        if slots[column].name in sizes:
            found = [slots[i].name for i in allowed if METHODS[slots[i].method].identity]
            sizes |= {found[0]: 2} if found else {slots[column].name: 0}
    return sizes


@contextmanager
def alone(small, method, *, model=None, seed=0):
    """Put a method into every site of it; skip where the architecture has none."""
    slots = slots_of(small.backbone)
    sizes = sizes_of(method, slots)
    if not sizes:
        pytest.skip(f"{small.backbone.architecture} has no place for {method}")
    configuration = table(slots, small.backbone.blocks, sizes)
    generator = torch.Generator().manual_seed(seed)
    with injected(
        model or small.model, small.backbone, slots, configuration, SCALES, generator
    ) as injection:
        injection.expected = configuration.parameters(slots)
        yield injection


def shake(injection, seed=1):
    generator = torch.Generator().manual_seed(seed)
    state = injection.state()
    with torch.no_grad():
        for name, value in state.items():
            if not value.is_floating_point():
                continue  # the places of a mask
            upwards = 5 if name.endswith("down_bias") else 0
            value.add_(0.1 * torch.randn(value.shape, generator=generator) + upwards)
    injection.load(state)  # a scaffold, which would compute it anew, falls away


def hidden(small, model=None):
    inputs = padded_inputs(small.backbone.architecture)
    with torch.no_grad():
        return (model or small.model)(**inputs).last_hidden_state


@pytest.mark.parametrize("method", methods())
def test_the_count_beforehand_is_what_is_trained_and_kept(small, method):
    with alone(small, method) as injection:
        trained = sum(p.numel() for p in small.model.parameters() if p.requires_grad)
        scaffold = sum(p.numel() for p in injection.scaffold())

        assert injection.count() == injection.expected
        assert trained - scaffold == injection.expected


@pytest.mark.parametrize("method", methods(lambda method: method.identity))
def test_a_fresh_module_leaves_the_output_as_it_was(small, method):
    before, rounding = hidden(small), 1e-4 if method in ROUNDING else 1e-5

    with alone(small, method):
        torch.testing.assert_close(hidden(small), before, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("method", methods())
def test_what_is_trained_changes_the_output_and_gets_a_gradient(small, method):
    before = hidden(small)
    inputs = padded_inputs(small.backbone.architecture)

    with alone(small, method) as injection:
        shake(injection)
        small.model.zero_grad()
        out = small.model(**inputs).last_hidden_state
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
        (out * weights).sum().backward()

        assert (out - before).abs().max() > 1e-4
        for name, parameter in injection.named().items():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            if any(part in name for part in PARTLY):
                assert parameter.grad.ne(0).any(), name
            elif not BLIND.search(name) and NORMED_AWAY not in name:
                assert parameter.grad.ne(0).all(), name


@pytest.mark.parametrize("method", methods())
def test_afterwards_the_model_is_what_it_was(small, method):
    modules = [(name, id(module)) for name, module in small.model.named_modules()]
    values = {name: value.clone() for name, value in small.model.state_dict().items()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in small.model.modules()]

    with alone(small, method) as injection:
        shake(injection)

    assert [(name, id(module)) for name, module in small.model.named_modules()] == modules
    assert list(small.model.state_dict()) == list(values)
    assert all(map(torch.equal, small.model.state_dict().values(), values.values()))
    assert hooks == [
        len(m._forward_hooks) + len(m._forward_pre_hooks) for m in small.model.modules()
    ]
    assert not any(parameter.requires_grad for parameter in small.model.parameters())


@pytest.mark.parametrize("method", methods())
def test_what_is_saved_and_loaded_gives_the_same_output(small, method):
    """In a fresh injection that was made with another seed."""
    small.model.eval()
    with alone(small, method) as injection:
        shake(injection)
        expected = hidden(small)
        state = {name: value.clone() for name, value in injection.state().items()}

    with alone(small, method, seed=9) as injection:
        injection.load(state)
        torch.testing.assert_close(hidden(small), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", methods(lambda method: method.merges))
def test_merged_weights_give_the_same_output(small, method):
    """To the rounding of single precision, which grows with the size of the activations."""
    model = deepcopy(small.model).eval()
    with alone(small, method, model=model) as injection:
        shake(injection)
        expected = hidden(small, model)
        if method == "bitfit" and any(s.kind in {"linear", "norm"} and not s.bias
                                      for s in small.backbone.sites):  # fmt: skip
            with pytest.raises(PlanError, match="a layer that came without a bias"):
                injection.merge()
            return
        injection.merge()

    torch.testing.assert_close(hidden(small, model), expected, rtol=1e-3, atol=1e-3)
