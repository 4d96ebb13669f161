"""What every method promises, on every architecture and in any company."""

import re
from contextlib import contextmanager, suppress

import pytest
import torch
from hypothesis import Phase, given, note, settings
from hypothesis import strategies as st

from autopeft.errors import PlanError
from autopeft.methods.inject import attach_of, injected
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.search_spaces.checking import clashes, partners
from autopeft.search_spaces.configuration import Configuration
from tests.methods import by_hand
from tests.models import SCALES, padded_inputs, some_families, table, tiny

CHANGES_AT_FIRST = {name for name, method in METHODS.items() if not method.identity}
CHANGES_AT_FIRST |= {"hra", "deft", "osf"}  # by rounding: they take away what they add
few = settings(
    max_examples=8, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate]
)


@pytest.fixture(scope="module", params=some_families())
def small(request, tmp_path_factory):
    return tiny(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module", params=("bert", "electra", "distilbert"))
def encoder(request, tmp_path_factory):
    return tiny(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("bert"), "bert")


CORE = {
    *(f"lora@attention.{matrix}" for matrix in ("query", "key", "value", "output")),
    *("lora@ffn.input", "lora@ffn.output"),
    *(f"serial_adapter@{place}" for place in ("attention.output", "ffn.output", "ffn.norm")),
    *("parallel_adapter@ffn", "prefix@attention", "bitfit@block"),
}
"""The slots that `by_hand` writes out."""


def free(slots):
    """Take the slots that can all be in one block together, the first of those that clash."""
    taken = {second for _, second in clashes(tuple(slots))}
    return [slot for column, slot in enumerate(slots) if column not in taken]


def size_of(slot, most=3):
    return min(most, slot.most or most)


@st.composite
def tables(draw, backbone, without=frozenset(), only=None):
    """Draw sizes for a handful of the slots that the backbone has."""
    slots = slots_of(backbone)
    allowed = [s for s in slots if s.method not in without and (only is None or s.name in only)]
    chosen = draw(st.lists(st.sampled_from(allowed), max_size=12, unique=True))
    chosen = free([slot for slot in slots if slot in chosen])
    drawn = [
        [
            draw(st.integers(0, size_of(slot))) if slot in chosen and slot.has(block) else 0
            for slot in slots
        ]
        for block in range(backbone.blocks)
    ]
    for column, served_by in partners(slots):
        for row in drawn:
            if not any(row[partner] for partner in served_by):
                row[column] = 0
    configuration = Configuration(tuple(map(tuple, drawn)))
    note(configuration.summary(slots))
    return configuration


@contextmanager
def inside(small, configuration, slots=None, seed=0):
    slots = slots or slots_of(small.backbone)
    generator = torch.Generator().manual_seed(seed)
    with injected(
        small.model, small.backbone, slots, configuration, SCALES, generator
    ) as injection:
        yield injection


def shake(injection):
    """Move every trained value off its start; biases upwards, so that no ReLU is dead."""
    generator = torch.Generator().manual_seed(1)
    state = injection.state()
    with torch.no_grad():
        for name, value in state.items():
            if not value.is_floating_point():
                continue  # the places of a mask
            upwards = 5 if name.endswith("down_bias") else 0
            value.add_(0.1 * torch.randn(value.shape, generator=generator) + upwards)
    injection.load(state)  # a scaffold, which would compute it anew, falls away


def output(small):
    with torch.no_grad():
        inputs = padded_inputs(small.backbone.architecture)
        return small.model(**inputs).last_hidden_state


def everything(table_of):
    """Return sizes that put each of the core methods into each of its places."""
    chosen = free([slot for slot in table_of if slot.name in CORE])
    return table(table_of, 2, {slot.name: size_of(slot) for slot in chosen})


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_the_catalog_can_be_attached(method):
    assert callable(attach_of(method))


@few
@given(data=st.data())
def test_the_count_beforehand_is_what_is_trained_afterwards(small, data):
    """Counted from the shape alone, and on the model by ``requires_grad``."""
    configuration = data.draw(tables(small.backbone))
    with inside(small, configuration) as injection:
        trained = sum(p.numel() for p in small.model.parameters() if p.requires_grad)
        trained -= sum(p.numel() for p in injection.scaffold())

        assert trained == configuration.parameters(slots_of(small.backbone))
        assert trained == injection.count()
        assert set(injection.by_method()) == set(configuration.methods(slots_of(small.backbone)))


@few
@given(data=st.data())
def test_a_fresh_configuration_leaves_the_output_as_it_was(small, data):
    configuration = data.draw(tables(small.backbone, without=CHANGES_AT_FIRST))
    before = output(small)

    with inside(small, configuration):
        torch.testing.assert_close(output(small), before, rtol=1e-5, atol=1e-5)


def test_fresh_core_methods_leave_it_to_the_bit(encoder):
    """What is added is zero times something."""
    before = output(encoder)
    slots = slots_of(encoder.backbone)
    sizes = {s.name: size_of(s) for s in slots if s.name in CORE and s.method != "prefix"}

    with inside(encoder, table(slots, 2, {s.name: sizes[s.name] for s in free(
        [slot for slot in slots if slot.name in sizes]
    )})):  # fmt: skip
        assert torch.equal(output(encoder), before)


def test_a_fresh_prefix_changes_the_output(encoder):
    before = output(encoder)

    with inside(encoder, table(slots_of(encoder.backbone), 2, {"prefix@attention": 2})):
        assert (output(encoder) - before).abs().max() > 1e-3


@few
@given(data=st.data())
def test_methods_together_do_what_their_papers_write(encoder, data):
    """Output and every gradient; the reference is written out by hand.

    Differences are those of single precision, relative to the largest element.
    """
    configuration = data.draw(tables(encoder.backbone, only=CORE))
    inputs = padded_inputs(encoder.backbone.architecture)
    seen = inputs["attention_mask"].bool()
    weights = torch.randn(int(seen.sum()), 32, generator=torch.Generator().manual_seed(2))
    with inside(encoder, configuration) as injection:
        shake(injection)
        found = encoder.model(**inputs).last_hidden_state[seen]
        trained = dict(injection._named)
    by_name = {name: value.detach().clone().requires_grad_() for name, value in trained.items()}
    expected = by_hand.forward(encoder, inputs, by_name, SCALES)[seen]

    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if configuration.empty:
        return
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    for name, parameter in trained.items():
        expected = by_name[name].grad
        tolerance = 1e-3 * max(float(expected.abs().max()), 0.1)
        torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=tolerance)


@few
@given(data=st.data(), fails=st.booleans())
def test_afterwards_the_model_is_what_it_was(small, data, fails):
    """Modules, names, values and order, to the bit, also when an error leaves the block."""
    configuration = data.draw(tables(small.backbone))
    model = small.model
    modules = [(name, id(module)) for name, module in model.named_modules()]
    names, values = list(model.state_dict()), [v.clone() for v in model.state_dict().values()]

    with suppress(ZeroDivisionError), inside(small, configuration) as injection:
        shake(injection)
        if fails:
            raise ZeroDivisionError

    assert [(name, id(module)) for name, module in model.named_modules()] == modules
    assert list(model.state_dict()) == names
    assert all(map(torch.equal, model.state_dict().values(), values))
    assert not any(parameter.requires_grad for parameter in model.parameters())


@few
@given(data=st.data())
def test_a_gradient_reaches_all_that_is_trained_and_nothing_else(encoder, data):
    """Except that a key bias moves all scores of a query alike, which softmax does not see."""
    configuration = data.draw(tables(encoder.backbone, only=CORE))
    inputs = padded_inputs(encoder.backbone.architecture)
    with inside(encoder, configuration) as injection:
        shake(injection)
        encoder.model.zero_grad()
        hidden = encoder.model(**inputs).last_hidden_state[inputs["attention_mask"].bool()]
        weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(2))
        if not configuration.empty:
            (hidden * weights).sum().backward()
        trained = {id(p) for group in injection.by_method().values() for p in group}
        blind = [name for name in injection.state() if "bitfit" in name and "attention.key" in name]

        for name, parameter in injection._named.items():
            assert parameter.grad is not None, name
            assert name in blind or parameter.grad.ne(0).all(), name
        assert all(p.grad is None for p in encoder.model.parameters() if id(p) not in trained)


@few
@given(data=st.data())
def test_the_order_of_the_columns_means_nothing(small, data):
    """A plan may list its slots in any order: LoRA must not push out what is around it."""
    configuration = data.draw(tables(small.backbone))
    slots = slots_of(small.backbone)
    order = data.draw(st.permutations(range(len(slots))))
    with inside(small, configuration) as injection:
        shake(injection)
        expected, state = output(small), injection.state()

    turned = Configuration(tuple(tuple(row[i] for i in order) for row in configuration.sizes))
    with inside(small, turned, [slots[i] for i in order], seed=7) as injection:
        injection.load(state)
        torch.testing.assert_close(output(small), expected, rtol=1e-5, atol=1e-5)


@few
@given(data=st.data())
def test_a_state_that_is_loaded_gives_the_same_output(small, data):
    configuration = data.draw(tables(small.backbone))
    with inside(small, configuration) as injection:
        shake(injection)
        expected = output(small)
        state = {name: value.clone() for name, value in injection.state().items()}

    with inside(small, configuration, seed=9) as injection:
        injection.load(state)
        torch.testing.assert_close(output(small), expected, rtol=1e-5, atol=1e-5)
        assert list(injection.state()) == list(state)


def test_names_of_weights_are_the_same_on_every_architecture(encoder):
    with inside(encoder, everything(slots_of(encoder.backbone))) as injection:
        names = injection.state()

    assert "0/lora@attention.query/down" in names
    assert "1/prefix@attention/values" in names
    assert all(re.fullmatch(r"[01]/\w+@[\w.]+/[\w.]+", name) for name in names)
    assert len(names) == 2 * (6 * 2 + 3 * 4 + 4 + 2 + 8)


def test_equal_seeds_begin_equal_and_others_do_not(bert):
    everywhere = everything(slots_of(bert.backbone))
    states = []
    for seed in (0, 0, 1):
        with inside(bert, everywhere, seed=seed) as injection:
            states.append({name: value.clone() for name, value in injection.state().items()})

    assert all(map(torch.equal, states[0].values(), states[1].values()))
    down = "0/lora@attention.query/down"
    assert not torch.equal(states[0][down], states[2][down])


def test_the_global_random_state_is_not_touched(bert):
    before = torch.get_rng_state()

    with inside(bert, everything(slots_of(bert.backbone))):
        assert torch.equal(torch.get_rng_state(), before)


LORA = {"lora@attention.query": 2}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda state: state.pop("1/lora@attention.query/up"),
            "it lacks '1/lora@attention.query/up'",
        ),
        (
            lambda state: state.update({"2/lora@attention.query/up": torch.zeros(2, 32)}),
            "it has an unknown '2/lora@attention.query/up'",
        ),
        (
            lambda state: state.update({"0/lora@attention.query/up": torch.zeros(3, 32)}),
            r"'0/lora@attention.query/up' has shape \(3, 32\) instead of \(2, 32\)",
        ),
    ],
    ids=["missing", "unknown", "misshapen"],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(bert, spoil, message):
    with inside(bert, table(slots_of(bert.backbone), 2, LORA)) as injection:
        before = {name: value.clone() for name, value in injection.state().items()}
        state = {name: value + 1 for name, value in before.items()}
        spoil(state)

        with pytest.raises(PlanError, match=f"do not fit the configuration: {message}"):
            injection.load(state)
        assert all(map(torch.equal, injection.state().values(), before.values()))
