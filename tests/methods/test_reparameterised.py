"""What all reparameterised methods promise, on plain, fused and transposed matrices."""

import pytest
import torch

from autopeft.errors import PlanError
from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.catalog.reparameterised import METHODS as RECORDS
from autopeft.search_spaces.configuration import Configuration
from tests.methods.small_models import FUSED, KINDS, WIDTH, inside, shake, small

METHODS = [method.name for method in RECORDS]
SIZE = {method.name: 1 if method.size == "switch" else 2 for method in RECORDS}


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return small(request.param)


@pytest.fixture(scope="module")
def gpt2():
    return small("gpt2")


def sizes_of(method, model, size=3):
    """Put a method everywhere, into slices of the fused matrix and not into the whole of it."""
    return {
        slot.name: min(size, slot.most or size)
        for slot in slots_of(model.backbone)
        if slot.method == method and slot.site != "attention.qkv"
    }


@pytest.mark.parametrize("method", METHODS)
def test_the_count_beforehand_is_what_is_trained(model, method):
    sizes, slots = sizes_of(method, model), slots_of(model.backbone)
    expected = Configuration((tuple(sizes.get(s.name, 0) for s in slots),) * 2).parameters(slots)

    with inside(model, sizes) as injection:
        trained = sum(p.numel() for p in model.model.parameters() if p.requires_grad)

    assert injection.count() == trained == expected > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_fresh_module_leaves_the_output_as_it_was_to_the_bit(model, method):
    before = model.hidden()

    with inside(model, sizes_of(method, model)):
        assert torch.equal(model.hidden(), before)


@pytest.mark.parametrize("method", METHODS)
def test_a_gradient_reaches_every_number_that_is_trained(model, method):
    """And all that is trained is in single precision."""
    with inside(model, sizes_of(method, model)) as injection:
        shake(injection)
        model.loss().backward()

        for name, parameter in injection.named().items():
            assert parameter.dtype is torch.float32
            assert parameter.grad.ne(0).all(), name
        assert all(p.grad is None for p in model.model.parameters() if not p.requires_grad)


@pytest.mark.parametrize("method", METHODS)
def test_afterwards_the_model_is_what_it_was(model, method):
    modules = [(name, id(module)) for name, module in model.model.named_modules()]
    values = {name: value.clone() for name, value in model.model.state_dict().items()}

    with inside(model, sizes_of(method, model)) as injection:
        shake(injection)
        model.hidden()

    assert [(name, id(module)) for name, module in model.model.named_modules()] == modules
    assert list(model.model.state_dict()) == list(values)
    assert all(map(torch.equal, model.model.state_dict().values(), values.values()))


@pytest.mark.parametrize("method", METHODS)
def test_what_was_trained_is_enough_to_get_the_output_again(model, method):
    """With another seed: frozen random matrices are drawn the same."""
    with inside(model, sizes_of(method, model)) as injection:
        state = shake(injection)
        expected = model.hidden()

    with inside(model, sizes_of(method, model), seed=9) as injection:
        injection.load(state)
        assert torch.equal(model.hidden(), expected)


@pytest.mark.parametrize("method", METHODS)
def test_merged_weights_give_the_same_output(model, method):
    """To the rounding of single precision."""
    own = model.copy()
    before = own.hidden()
    with inside(own, sizes_of(method, own)) as injection:
        shake(injection)
        expected = own.hidden()
        injection.merge()

    assert (expected - before).abs().max() > 0.01
    torch.testing.assert_close(own.hidden(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_it_trains_in_half_precision_too(model, method):
    """Within the rounding of bf16, and the layer's output keeps the precision of the model's."""
    with inside(model, sizes_of(method, model)) as injection:
        shake(injection)
        expected = model.hidden()
        layer = model.model.get_submodule(model.path("attention.output", 0))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert layer(torch.randn(2, 3, WIDTH)).dtype is torch.bfloat16
            loss = model.loss()
            found = model.hidden()
        loss.backward()

        assert (found.float() - expected).abs().mean() < 0.03 * expected.abs().mean()
        assert all(p.grad.isfinite().all() for p in injection.named().values())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("site", FUSED)
def test_a_slice_changes_its_own_outputs_only(gpt2, method, site):
    layer_path = gpt2.path("attention.qkv", 0)
    x = torch.randn(2, 3, WIDTH, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        before = gpt2.model.get_submodule(layer_path)(x)
        with inside(gpt2, {f"{method}@{site}": SIZE[method]}) as injection:
            shake(injection)
            after = gpt2.model.get_submodule(layer_path)(x)

    changed = (after != before).any(0).any(0)
    start = FUSED.index(site) * WIDTH
    assert changed[start : start + WIDTH].all()
    assert changed.sum() == WIDTH


@pytest.mark.parametrize("method", METHODS)
def test_three_slices_with_merged_weights_do_as_they_did_apart(gpt2, method):
    own = gpt2.copy()
    with inside(own, {f"{method}@{site}": SIZE[method] for site in FUSED}) as injection:
        shake(injection)
        expected = own.hidden()
        injection.merge()

    torch.testing.assert_close(own.hidden(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", [record.name for record in RECORDS if record.elastic])
def test_a_smaller_size_is_the_first_rows_of_a_larger(model, method):
    """The others zero: the outputs are equal."""
    name = f"{method}@attention.output"
    with inside(model, {name: 1}) as injection:
        narrow = shake(injection)
        expected = model.hidden()

    with inside(model, {name: 3}) as injection:
        injection.load({n: padded(v, injection.state()[n]) for n, v in narrow.items()})
        torch.testing.assert_close(model.hidden(), expected, rtol=1e-5, atol=1e-5)


def padded(value, larger):
    missing = [len(larger) - len(value), *value.shape[1:]]
    return torch.cat([value, torch.zeros(missing)]) if missing[0] else value


def test_all_that_only_add_to_a_matrix_go_together(model):
    """At each site, and in the whole of a fused matrix beside its slices."""
    adding = [record.name for record in RECORDS if not record.takes]
    slots = slots_of(model.backbone)
    sizes = {slot.name: SIZE[slot.method] for slot in slots if slot.method in adding}
    own = model.copy()
    before = own.hidden()
    with inside(own, sizes) as injection:
        assert torch.equal(own.hidden(), before)
        shake(injection)
        expected = own.hidden()
        injection.merge()

    assert len(adding) == len(RECORDS) - 1
    torch.testing.assert_close(own.hidden(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("other", "size"), [("bitfit@ffn.output", 1), ("serial_adapter@ffn.output", 16)]
)
def test_dora_goes_with_what_does_not_touch_the_matrix(model, other, size):
    """It is the identity in company too, and its bias is the one that BitFit trains."""
    before = model.hidden()

    with inside(model, {"dora@ffn.output": 2, other: size}) as injection:
        assert torch.equal(model.hidden(), before)
        shake(injection)
        model.loss().backward()
        assert all(p.grad.ne(0).any() for p in injection.named().values())


def test_what_others_add_to_the_output_is_not_scaled_by_dora(gpt2):
    """BitFit on a slice adds to the output there, and is merged into the bias, not the matrix."""
    own = gpt2.copy()
    sizes = {f"{method}@{site}": 1 for site in FUSED for method in ("dora", "bitfit")}
    with inside(own, sizes) as injection:
        shake(injection, 0.4)
        expected = own.hidden()
        injection.merge()

    torch.testing.assert_close(own.hidden(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", [record.name for record in RECORDS if not record.takes])
def test_dora_shares_its_matrix_with_no_other(model, method):
    with (
        pytest.raises(PlanError, match="cannot both be in block 0: they change the same weights"),
        inside(model, {"dora@ffn.output": 2, f"{method}@ffn.output": SIZE[method]}),
    ):
        pass


def test_dora_on_a_slice_shares_it_with_no_other_on_the_whole(gpt2):
    with (
        pytest.raises(PlanError, match="cannot both be in block 0: they change the same weights"),
        inside(gpt2, {"dora@attention.query": 2, "lora@attention.qkv": 2}),
    ):
        pass
