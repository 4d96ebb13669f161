"""Experts mixed token by token, held against the formula and against `peft`'s own model."""

import warnings
from types import SimpleNamespace

import peft
import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from autopeft.errors import PlanError
from autopeft.search_spaces.catalog import slots_of
from tests.methods.small_models import KINDS, inside, shake, small

VALUE = "xlora@attention.value"
EXPERTS = range(4)


@pytest.fixture(params=KINDS)
def model(request):
    """A plain layer, and a slice of a fused one."""
    return small(request.param)


def added(x, state, block, scale):
    """Write the formula down."""
    own = {n.split("/")[2]: v for n, v in state.items() if n.startswith(f"{block}/{VALUE}/")}
    scores = linear(x, own["classifier.layers.0.weight"], own["classifier.layers.0.bias"])
    shares = scores.softmax(-1)
    return scale * sum(
        shares[..., e : e + 1]
        * linear(linear(x, own[f"lora_A.{e}.weight"]), own[f"lora_B.{e}.weight"])
        for e in EXPERTS
    )


def through(model, block):
    """Record what goes through the layer that holds the values."""
    seen = []
    layer = model.model.get_submodule(model.path("attention.value", block))
    layer.register_forward_hook(lambda _module, args, out: seen.append((args[0], out)))
    model.hidden()
    return seen[0]


@pytest.mark.parametrize("scale", [2.0, 0.5])
def test_every_token_mixes_the_experts_by_what_the_site_reads(model, scale):
    with inside(model, {VALUE: 3}, scales={"xlora": scale}) as injection:
        state = shake(injection)
        x, found = through(model, 1)
    base = model.model.get_submodule(model.path("attention.value", 1))
    expected = base(x)
    start = model.backbone.site("attention.value").start or 0
    expected[..., start : start + 32] += added(x, state, 1, scale)

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (found - base(x)).abs().max() > 1e-3


def test_the_shares_of_a_token_do_not_depend_on_the_others(model):
    """The classifier sees one token at a time: batches and padding change nothing."""
    with inside(model, {VALUE: 2}) as injection:
        shake(injection)
        x, whole = through(model, 0)
        layer = model.model.get_submodule(model.path("attention.value", 0))
        with torch.no_grad():
            torch.testing.assert_close(layer(x[1:2, 4:5]), whole[1:2, 4:5], rtol=1e-5, atol=1e-6)


def test_it_costs_four_experts_and_a_classifier(model):
    [slot] = [slot for slot in slots_of(model.backbone) if slot.name == VALUE]
    with inside(model, {VALUE: 3}) as injection:
        names = [name for name in injection.state() if name.startswith("0/")]

        assert injection.count() == 2 * (4 * 3 * (32 + 32) + 4 * (32 + 1))
        assert (slot.unit, slot.fixed, slot.most) == (4 * 64, 4 * 33, 32)
        assert len(names) == 4 + 4 + 2


def test_experts_begin_apart_and_add_nothing(model):
    before = model.hidden()
    with inside(model, {VALUE: 3}) as injection:
        state = injection.state()
        downs = [state[f"0/{VALUE}/lora_A.{e}.weight"] for e in EXPERTS]

        assert torch.equal(model.hidden(), before)
        assert all(not torch.equal(downs[0], other) for other in downs[1:])


def test_the_classifier_learns_as_soon_as_an_expert_adds_something(model):
    with inside(model, {VALUE: 2}) as injection:
        shake(injection)
        model.loss().backward()

        for name, parameter in injection.named().items():
            assert parameter.grad.ne(0).all(), name


def test_it_cannot_be_merged(model):
    with (
        inside(model, {VALUE: 2}) as injection,
        pytest.raises(PlanError, match="cannot be merged: the shares of the experts differ"),
    ):
        injection.merge()


def test_a_model_in_half_precision_is_served_in_single(model):
    """As neighbours do, the sum has the precision of the frozen layer's output."""
    model.model.to(torch.bfloat16)
    with inside(model, {VALUE: 2}) as injection:
        shake(injection)
        assert {p.dtype for p in injection.named().values()} == {torch.float32}
        _, found = through(model, 0)
        assert found.dtype is torch.bfloat16


class Reader(nn.Module):
    """A model whose last hidden state is what its only layer reads."""

    def __init__(self):
        super().__init__()
        self.config = {"model_type": "custom"}
        self.model = nn.ModuleDict({"value": nn.Linear(32, 32)})

    def forward(self, inputs_embeds, **_kwargs):
        return SimpleNamespace(hidden_states=(inputs_embeds,), y=self.model["value"](inputs_embeds))


def in_peft(folder, weight, bias, rank, scale):
    """Let the library make its X-LoRA of four saved experts."""
    paths = {}
    for expert in EXPERTS:
        config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=["value"])
        paths[str(expert)] = str(folder / str(expert))
        peft.get_peft_model(Reader(), config).save_pretrained(paths[str(expert)])
    reader = Reader()
    reader.model["value"].weight.data, reader.model["value"].bias.data = weight, bias
    config = peft.XLoraConfig(
        task_type="CAUSAL_LM", hidden_size=32, adapters=paths, layerwise_scalings=True,
        use_trainable_adapters=True, global_scaling_weight=scale,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.tuners.xlora.XLoraModel(reader, config, "default", torch_device="cpu")


def test_where_the_last_hidden_state_is_what_the_site_reads_it_is_the_librarys_model(tmp_path):
    """Both passes of it, with the same values in experts and classifier."""
    bert = small("bert")
    with inside(bert, {VALUE: 3}, scales={"xlora": 2.0}) as injection:
        state = shake(injection)
        x, found = through(bert, 0)
    value = bert.model.get_submodule(bert.path("attention.value", 0))
    theirs = in_peft(tmp_path, value.weight.data, value.bias.data, 3, 2.0)
    layer = theirs.lora_model.model.model["value"]
    parts = {"lora_A": layer.lora_A, "lora_B": layer.lora_B}
    with torch.no_grad():
        for kind, experts in parts.items():
            for expert in EXPERTS:
                experts[str(expert)].weight.copy_(state[f"0/{VALUE}/{kind}.{expert}.weight"])
        [last] = theirs.internal_xlora_classifier.layers
        last.weight.copy_(state[f"0/{VALUE}/classifier.layers.0.weight"])
        last.bias.copy_(state[f"0/{VALUE}/classifier.layers.0.bias"])
        with theirs._enable_peft_forward_hooks():
            expected = theirs(inputs_embeds=x).y

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
