"""Layers of the peft library in our slots: the same numbers as there, and nothing left behind."""

from contextlib import contextmanager
from dataclasses import replace

import peft
import pytest
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils.peft_types import PeftType
from torch import nn
from transformers.pytorch_utils import Conv1D

from autopeft.backbone import Backbone, Site, Stack
from autopeft.methods.inject import injected
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.search_spaces.catalog.opaque import METHODS as OPAQUE
from autopeft.search_spaces.catalog.opaque import REFUSED
from autopeft.search_spaces.configuration import Configuration

NAMES = [method.name for method in OPAQUE]
MERGED = [method.name for method in OPAQUE if method.merges]
NATIVE = {
    *("lora", "adalora", "loha", "lokr", "vera", "ia3", "ln_tuning"),
    *("prompt_tuning", "p_tuning", "prefix_tuning", "adaption_prompt"),
}
"""What the library has and autopeft writes itself."""
PIECES = {"xlora"}
"""Layers of the library that are put together otherwise than in its model: see test_xlora."""
IDLE = {"boft": "boft_R", "vblora": "vblora_", "pvera": "pvera_lambda_d"}
"""Where a step leaves elements alone: unused diagonals, unchosen vectors, the spread of noise."""
ROUNDS = ("hra", "deft", "osf")
"""A fresh layer of these takes away what it adds, to rounding."""


class Stacked(nn.Module):
    """Blocks of one layer with 48 outputs, of which a site may be a slice."""

    def __init__(self, kind, inputs=32):
        super().__init__()
        self.inputs = inputs
        generator = torch.Generator().manual_seed(4)
        self.rows = nn.ModuleList()
        for _ in range(2):
            layer = (
                Conv1D(48, inputs) if kind == "conv1d" else nn.Linear(inputs, 48, kind != "bare")
            )
            for parameter in layer.parameters():
                parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
            self.rows.append(layer)

    def forward(self, x_BTI):
        return torch.stack([row(x_BTI) for row in self.rows])


def backbone_of(kind, inputs=32):
    sliced = kind == "conv1d"
    site = Site(
        place="attention.value", kind="linear", path="rows.{block}", blocks=(0, 2), inputs=inputs,
        outputs=16 if sliced else 48, bias=kind != "bare", start=32 if sliced else None,
    )  # fmt: skip
    stack = Stack(name="", first=0, blocks=2, width=inputs, heads=4, norm="post")
    return Backbone(
        name="stacked", architecture="stacked", stacks=(stack,), parameters=1, sites=(site,),
        digest="",
    )  # fmt: skip


@contextmanager
def inside(model, backbone, sizes, seed=0):
    """Put these sizes into both blocks, by method."""
    slots = slots_of(backbone)
    row = tuple(sizes.get(slot.method, 0) for slot in slots)
    configuration = Configuration((row, row))
    generator = torch.Generator().manual_seed(seed)
    with injected(model, backbone, slots, configuration, {}, generator) as injection:
        injection.expected = configuration.parameters(slots)
        yield injection


def most_of(name, backbone, wanted=3):
    [slot] = [slot for slot in slots_of(backbone) if slot.method == name]
    return min(wanted, slot.most)


def shake(injection):
    generator = torch.Generator().manual_seed(1)
    for value in injection.state().values():
        value.add_(0.1 * torch.randn(value.shape, generator=generator))


def inputs_of(model):
    return torch.randn(2, 5, model.inputs, generator=torch.Generator().manual_seed(2))


@pytest.fixture(params=["bare", "conv1d"])
def kind(request):
    """A plain layer without a bias, and a slice of a fused one as in GPT-2."""
    return request.param


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("inputs", [40, 144])
def test_the_count_beforehand_is_what_the_library_trains(name, kind, inputs):
    model, backbone = Stacked(kind, inputs).eval(), backbone_of(kind, inputs)
    for wanted in (1, 2, 3):
        with inside(model, backbone, {name: most_of(name, backbone, wanted)}) as injection:
            trained = sum(p.numel() for p in model.parameters() if p.requires_grad)

            assert injection.count() == trained == injection.expected


@pytest.mark.parametrize("name", [method.name for method in OPAQUE if method.identity])
def test_a_fresh_layer_leaves_the_output_as_it_was(name, kind):
    """To the bit, but for three that take away what they add."""
    model, backbone = Stacked(kind).eval(), backbone_of(kind)
    x = inputs_of(model)
    before = model(x)

    with inside(model, backbone, {name: most_of(name, backbone)}):
        if name in ROUNDS:
            torch.testing.assert_close(model(x), before, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(model(x), before)


def test_a_fresh_bank_of_vectors_changes_the_output(kind):
    model, backbone = Stacked(kind).eval(), backbone_of(kind)
    before = model(inputs_of(model))

    with inside(model, backbone, {"vblora": 2}):
        assert (model(inputs_of(model)) - before).abs().max() > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_reaches_what_is_trained(name, kind):
    model, backbone = Stacked(kind).eval(), backbone_of(kind)
    with inside(model, backbone, {name: most_of(name, backbone)}) as injection:
        shake(injection)
        y = model(inputs_of(model))
        (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(3))).sum().backward()

        for path, parameter in injection.named().items():
            assert parameter.grad is not None, path
            assert parameter.grad.ne(0).any(), path
            assert IDLE.get(name, "/") in path or parameter.grad.ne(0).all(), path
        assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


@pytest.mark.parametrize("name", NAMES)
def test_afterwards_the_layers_are_what_they_were(name, kind):
    model, backbone = Stacked(kind).eval(), backbone_of(kind)
    modules = [id(module) for module in model.modules()]
    values = {path: value.clone() for path, value in model.state_dict().items()}
    random = torch.get_rng_state()

    with inside(model, backbone, {name: most_of(name, backbone)}) as injection:
        shake(injection)
        model(inputs_of(model))

    assert [id(module) for module in model.modules()] == modules
    assert list(model.state_dict()) == list(values)
    assert all(map(torch.equal, model.state_dict().values(), values.values()))
    assert torch.equal(torch.get_rng_state(), random), "the global random numbers are untouched"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_saved_gives_the_same_output_under_another_seed(name, kind):
    """What is random and frozen does not depend on the seed."""
    model, backbone = Stacked(kind).eval(), backbone_of(kind)
    sizes, x = {name: most_of(name, backbone)}, inputs_of(model)
    with inside(model, backbone, sizes) as injection:
        shake(injection)
        expected = model(x)
        state = {path: value.clone() for path, value in injection.state().items()}

    with inside(model, backbone, sizes, seed=9) as injection:
        injection.load(state)
        torch.testing.assert_close(model(x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_begin_equal(name):
    model, backbone = Stacked("linear").eval(), backbone_of("linear")
    states = []
    for _ in range(2):
        with inside(model, backbone, {name: most_of(name, backbone)}) as injection:
            states.append({path: value.clone() for path, value in injection.state().items()})

    assert all(map(torch.equal, states[0].values(), states[1].values()))


@pytest.mark.parametrize("name", MERGED)
def test_merged_weights_give_the_same_output(name, kind):
    """To single precision, of changes as large as the output."""
    model, backbone = Stacked(kind).eval(), backbone_of(kind)
    x = inputs_of(model)
    with inside(model, backbone, {name: most_of(name, backbone)}) as injection:
        shake(injection)
        expected = model(x)
        injection.merge()

    torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", MERGED)
def test_beside_lora_it_merges_what_it_makes_of_the_frozen_matrix(name, kind):
    """Not of the matrix that LoRA has been merged into."""
    model, backbone = Stacked(kind).eval(), backbone_of(kind)
    x = inputs_of(model)
    with inside(model, backbone, {name: most_of(name, backbone), "lora": 2}) as injection:
        shake(injection)
        expected = model(x)
        injection.merge()

    torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-3)


CONFIGS = {
    "oft": peft.OFTConfig(oft_block_size=32),
    "boft": peft.BOFTConfig(boft_block_size=4),
    "hra": peft.HRAConfig(r=4),
    "psoft": peft.PsoftConfig(r=4, psoft_alpha=4),
    "road": peft.RoadConfig(group_size=16),
    "fourierft": peft.FourierFTConfig(n_frequency=2, init_weights=True),
    "waveft": peft.WaveFTConfig(n_frequency=2),
    "c3a": peft.C3AConfig(block_size=16, init_weights=True),
    "shira": peft.ShiraConfig(r=2, random_seed=0),
    "supertuning": peft.SupertuningConfig(sparsity=1 - 160.5 / (32 * 48)),
    "miss": peft.MissConfig(r=2),
    "gralora": peft.GraloraConfig(r=4, alpha=8),
    "hira": peft.HiraConfig(r=2),
    "deft": peft.DeftConfig(r=2),
    "glora": peft.GloraConfig(r=2),
    "peanut": peft.PeanutConfig(r=2),
    "delora": peft.DeloraConfig(r=2),
    "osf": peft.OSFConfig(effective_rank=30),
    "poly": peft.PolyConfig(r=2),
    "vblora": peft.VBLoRAConfig(r=2, vector_length=16),
    "randlora": peft.RandLoraConfig(r=32),
    "pvera": peft.PveraConfig(r=2),
    "tinylora": peft.TinyLoraConfig(u=2),
}
"""Size 2 at a layer of 32 inputs and 48 outputs, as the docstrings describe it."""


@pytest.mark.parametrize("name", CONFIGS)
def test_the_same_values_give_the_same_output_as_a_model_of_the_library(name):
    """The library's own, around the same layer with the documented hyper-parameters."""
    model, backbone = Stacked("linear").eval(), backbone_of("linear")
    x, size = inputs_of(model), most_of(name, backbone, 2)
    theirs = nn.Sequential(nn.Linear(32, 48))
    theirs[0].load_state_dict(model.rows[0].state_dict())
    config = replace(CONFIGS[name], target_modules=["0"])
    theirs = peft.get_peft_model(theirs, config).eval()

    with inside(model, backbone, {name: size}) as injection:
        shake(injection)
        found = model(x)[0]
        values = {
            path.split("/")[2]: value.clone()
            for path, value in injection.state().items()
            if path.startswith("0/")
        }
    layer = theirs.base_model.model[0]
    trained = {n.replace(".default", ""): p for n, p in layer.named_parameters() if p.requires_grad}
    assert trained.keys() == values.keys()
    with torch.no_grad():
        for path, parameter in trained.items():
            parameter.copy_(values[path])
        extra = {"task_ids": torch.zeros(2, dtype=torch.long)} if name == "poly" else {}
        expected = layer(x, **extra)

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (found - model(x)[0]).abs().max() > 1e-3, "the values must matter"


@pytest.mark.parametrize("name", NAMES)
def test_beside_lora_each_adds_what_it_adds_alone(name, kind):
    model, backbone = Stacked(kind).eval(), backbone_of(kind)
    x, before = inputs_of(model), model(inputs_of(model))
    sizes = {name: most_of(name, backbone), "lora": 2}
    state, apart = {}, torch.zeros_like(before)
    for method, size in sizes.items():
        with inside(model, backbone, {method: size}) as injection:
            shake(injection)
            apart += model(x) - before
            state |= {path: value.clone() for path, value in injection.state().items()}

    with inside(model, backbone, sizes) as injection:
        injection.load(state)
        torch.testing.assert_close(model(x) - before, apart, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_under_autocast_the_output_keeps_the_precision_of_its_neighbours(name, kind):
    model, backbone = Stacked(kind).eval(), backbone_of(kind)
    with inside(model, backbone, {name: most_of(name, backbone)}) as injection:
        assert {p.dtype for p in injection.named().values()} == {torch.float32}
        with torch.autocast("cpu", torch.bfloat16):
            y = model(inputs_of(model))
            assert y.dtype == torch.bfloat16
        y.float().sum().backward()


def test_the_bank_of_vectors_belongs_to_the_column():
    """It is trained once for both blocks, counted once and saved once."""
    model, backbone = Stacked("linear"), backbone_of("linear")
    with inside(model, backbone, {"vblora": 2}) as injection:
        banks = [path for path in injection.state() if "vector_bank" in path]
        layers = [row.delta.layer for row in model.rows]

        assert banks == ["0/vblora@attention.value/vblora_vector_bank"]
        assert layers[0].vblora_vector_bank is layers[1].vblora_vector_bank


def test_the_shares_of_poly_are_drawn_in_training_alone():
    model, backbone = Stacked("linear"), backbone_of("linear")
    with inside(model, backbone, {"poly": 2}) as injection:
        shake(injection)
        x = inputs_of(model)
        model.train()
        assert not torch.equal(model(x), model(x))
        model.eval()
        assert torch.equal(model(x), model(x))


def test_all_that_the_library_has_is_offered_or_refused_with_a_reason():
    """A new version of the library makes this fail until someone has looked at what is new."""
    classes = {method.peft.split("(")[0] for method in METHODS.values()}
    offered = {
        kind.value.lower()
        for kind, config in PEFT_TYPE_TO_CONFIG_MAPPING.items()
        if config.__name__ in classes
    }

    known = offered | NATIVE | PIECES

    assert {kind.value.lower() for kind in PeftType} - known == set(REFUSED) - {"mixed"}
    assert set(NAMES) - PIECES <= offered
    assert set(NAMES) - set(CONFIGS) == PIECES
