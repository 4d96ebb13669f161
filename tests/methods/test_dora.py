"""DoRA against the `peft` library and against its paper's formula."""

import pytest
import torch

from autopeft.methods.dora import Direction, DoraBeside, DoraLinear
from autopeft.methods.lora import LowRank
from tests.methods.in_peft import last_names, output_of_peft
from tests.methods.small_models import inside, shake, small

RANK, SCALE = 3, 1.7
SITES = {
    "bert": ("attention.query", "attention.value", "ffn.output"),
    "gpt2": ("attention.qkv", "attention.output", "ffn.input"),
}


def fill(layer, values):
    layer.lora_A["default"].weight.copy_(values["down"])
    layer.lora_B["default"].weight.copy_(values["up"].T)
    layer.lora_magnitude_vector["default"].weight.copy_(values["magnitude"])


@pytest.mark.parametrize("kind", SITES)
def test_the_same_values_give_the_same_output_as_in_peft(kind):
    from peft import LoraConfig

    model, sites = small(kind), SITES[kind]
    config = LoraConfig(
        r=RANK, lora_alpha=SCALE * RANK, use_dora=True, target_modules=last_names(model, sites)
    )
    with inside(model, {f"dora@{site}": RANK for site in sites}, scales={"dora": SCALE}) as inner:
        state = shake(inner)
        found = model.hidden()

    expected = output_of_peft(model, config, state, fill)

    assert (found - model.hidden()).abs().max() > 0.05, "the values must matter"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_magnitudes_begin_as_the_norms_of_the_rows():
    model = small("gpt2")
    weight_IO = model.model.h[0].attn.c_attn.weight

    with inside(model, {"dora@attention.key": 2}) as injection:
        found = injection.state()["0/dora@attention.key/magnitude"]

    torch.testing.assert_close(found, weight_IO[:, 32:64].norm(dim=0))


def test_the_norm_takes_no_part_in_the_gradient():
    """By hand: with the norm a constant, d y / d up = (m / n) · s · x Dᵀ."""
    model = small("bert")
    layer_path = model.path("ffn.input", 0)
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))

    with inside(model, {"dora@ffn.input": 2}, scales={"dora": SCALE}) as injection:
        state = shake(injection)
        weight = model.model.encoder.layer[0].intermediate.dense.base.weight
        model.model.get_submodule(layer_path)(x).sum().backward()
        down, up, m = (state[f"0/dora@ffn.input/{name}"] for name in ("down", "up", "magnitude"))
        n = (weight + SCALE * up.T @ down).norm(dim=1)
        expected = SCALE * (x @ down.T).sum(0)[:, None] * (m / n)

        found = injection.named()["0/dora@ffn.input/up"].grad
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_row_of_zeros_stays_what_it_is():
    """Its norm is zero, and pruned models have such rows."""
    model = small("bert")
    with torch.no_grad():
        model.model.encoder.layer[0].output.dense.weight[3] = 0
    before = model.hidden()

    with inside(model, {"dora@ffn.output": 2}):
        assert torch.equal(model.hidden(), before)


def test_a_trained_bias_is_not_scaled():
    """The bias that BitFit trains is added as it is, and gets its whole gradient."""
    model = small("bert")
    sizes = {"dora@ffn.output": 2}
    bias = model.model.encoder.layer[1].output.dense.bias
    x = torch.randn(5, 48, generator=torch.Generator().manual_seed(0))
    layer = model.path("ffn.output", 1)
    with inside(model, sizes) as injection:
        shake(injection)
        before = model.model.get_submodule(layer)(x)
        with torch.no_grad():
            bias += 1
        bias.requires_grad_()
        after = model.model.get_submodule(layer)(x)
        after.sum().backward()

    torch.testing.assert_close(after, before + 1)
    torch.testing.assert_close(bias.grad, torch.full((32,), 5.0))


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_one_operator_it_is_what_it_is_beside_any_layer(dtype, biased):
    """Output and gradients agree, to the rounding of the layer's precision, and less is kept."""
    base = torch.nn.Linear(32, 24, bias=biased, dtype=dtype).requires_grad_(requires_grad=False)
    product = LowRank(32, 24, 3, SCALE, torch.Generator().manual_seed(1))
    torch.nn.init.normal_(product.up, generator=torch.Generator().manual_seed(2))
    direction = Direction(product, base.weight.float)
    torch.nn.init.uniform_(direction.magnitude, 0.5, 3, generator=torch.Generator().manual_seed(3))
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(0)).to(dtype)

    found, kept = [], []
    for layer in DoraLinear(base, direction), DoraBeside(base, direction, 0, lambda: base.bias):
        shapes = []
        inputs = x.clone().requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, shapes=shapes: shapes.append(tuple(tensor.shape)) or tensor, lambda t: t
        ):
            y = layer(inputs)
        trained = [inputs, product.down, product.up, direction.magnitude]
        found.append([y.detach(), *torch.autograd.grad(y.float().square().sum(), trained)])
        kept.append(shapes.count((5, 24)))

    for one, other in zip(*found, strict=True):
        share = 1e-5 if dtype is torch.float32 else 0.02
        torch.testing.assert_close(one, other, rtol=0, atol=share * other.abs().max().item())
    assert kept[0] == 1 < kept[1]


@pytest.mark.parametrize(
    ("kind", "site", "expected"),
    [("bert", "ffn.output", DoraLinear), ("gpt2", "attention.key", DoraBeside)],
)
def test_a_plain_layer_as_a_whole_is_one_operator(kind, site, expected):
    """A slice of a fused layer is not: the other slices are not scaled."""
    model = small(kind)
    with inside(model, {f"dora@{site}": 2}):
        found = {type(m) for m in model.model.modules()} & {DoraLinear, DoraBeside}

    assert found == {expected}
