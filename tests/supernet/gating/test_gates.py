"""Cells that are weighed through their outer parameters, against the formula and autograd."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call

from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.search_spaces.genes import Gene
from autopeft.search_spaces.space import SearchSpace
from autopeft.supernet.gating.gates import Gated
from autopeft.supernet.gating.structures import everything, gates_of
from autopeft.training.loop import DivergedError
from autopeft.training.model_files import ModelFiles
from autopeft.training.pretrained import load_backbone
from autopeft.training.shape import read_backbone
from tests.models import Tiny, recipe_of, save_tiny, some_families, tiny
from tests.supernet.nets import space_of, trainer_on

WEIGHED = tuple(name for name, method in METHODS.items() if method.outer)
SEEN_AT = {"attention": "attention.output", "ffn": "ffn.output"}
"""Where what is added at a site can be seen; all that lies in between is linear."""
MIXED = ("lora", "bitfit", "ln_fit", "low_rank_adapter")


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("bert"), "bert")


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A model whose low-rank adapters have a bottleneck of 2, so that there are two ranks."""
    path = save_tiny(tmp_path_factory.mktemp("wide"), "bert", hidden_size=64)
    files = ModelFiles(reference=str(path), path=path, model_type="bert")
    return Tiny(files=files, backbone=read_backbone(files), model=load_backbone(files))


@contextmanager
def gated(small, space, *, sized=False, spread=0.3):
    """Put all cells of a space in, with every parameter moved, and weigh them."""
    gates = gates_of(space, "bipeft", sized=sized)
    trainer = trainer_on(small)
    with trainer.tuned(space.slots, everything(space, gates), recipe_of(), 0) as tuned:
        net = Gated(tuned, space.slots, gates, trainer.parts["train"])
        generator = torch.Generator().manual_seed(1)
        for parameter in net.weights:
            parameter.data.add_(spread * torch.randn(parameter.shape, generator=generator))
        tuned.model.eval()
        yield net, tuned, trainer.parts["train"].batch([0, 1, 2]), gates


def cell(small, method):
    """Return the space of one cell of size 1 in the first block, and its slot.

    BitFit's first slot is a block, whose layers lie behind one another: it has its second here.
    """
    slots = [slot for slot in slots_of(small.backbone) if slot.method == method]
    slot = slots[1] if method == "bitfit" else slots[0]
    genes = (Gene(name=slot.name, choices=(0, 1), cells=((0, 0),)),)
    space = SearchSpace(
        name=method, summary="", blocks=small.backbone.blocks, slots=(slot,), genes=genes
    )
    return space, slot


def output_of(small, slot, run):
    """Return what comes out at a slot's site, or where its sub-layer ends, in a run."""
    place = SEEN_AT.get(slot.place, slot.place)
    if place == "block":
        module = small.model.encoder.layer[0]
    else:
        site = small.backbone.find("", place)
        module = small.model.get_submodule(small.backbone.module_path(site, 0))
    caught = []
    handle = module.register_forward_hook(lambda _m, _a, output: caught.append(output))
    with torch.no_grad():
        run()
    handle.remove()
    first = caught[0]
    return first[0] if isinstance(first, tuple) else first


def at(small, slot, net, tuned, batch, z):
    net.put(torch.tensor([z]))
    return output_of(small, slot, lambda: tuned.model.loss(batch))


@pytest.mark.parametrize("method", [m for m in WEIGHED if m not in {"prefix", "full"}])
def test_a_gate_weighs_what_a_cell_adds_and_closed_it_is_not_there(bert, method):
    """``full`` holds several layers one after the other; each of them is weighed, not the whole."""
    space, slot = cell(bert, method)
    with gated(bert, space) as (net, tuned, batch, _):
        closed, part, opened = (at(bert, slot, net, tuned, batch, z) for z in (0.0, 0.3, 1.0))
    with trainer_on(bert).tuned(space.slots, everything(space, ()), recipe_of(), 0) as plain:
        plain.model.eval()
        absent = output_of(bert, slot, lambda: plain.model.loss(batch))

    torch.testing.assert_close(closed, absent, rtol=1e-5, atol=1e-5)
    assert (opened - absent).abs().max() > 1e-2
    torch.testing.assert_close(part, 0.7 * absent + 0.3 * opened, rtol=1e-4, atol=1e-5)


def test_a_prefix_is_weighed_as_by_unipelts_gate(bert):
    """G(x) times keys and values: closed, zeros are left, which take their share of the softmax."""
    space, slot = cell(bert, "prefix")
    with gated(bert, space) as (net, tuned, batch, _):
        part = at(bert, slot, net, tuned, batch, 0.3)
        at(bert, slot, net, tuned, batch, 1.0)
        with torch.no_grad():
            for parameter in tuned.injection.named().values():
                parameter.mul_(0.3)
        by_hand = output_of(bert, slot, lambda: tuned.model.loss(batch))

    torch.testing.assert_close(part, by_hand)


class _Loss(nn.Module):
    """The loss as a forward pass, for `functional_call`."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, batch):
        return self.model.loss(batch)


def by_autograd(net, tuned, batch, z_G, rows=None):
    """Return the gradients of gates, rows and weights with z inside the graph."""
    whole = _Loss(tuned.model)
    z_G = z_G.clone().requires_grad_()
    rows = {gate: row_R.clone().requires_grad_() for gate, row_R in (rows or {}).items()}
    scaled = {id(s.leaf): s for s in net._scaled}
    values, owned = {}, {}
    for name, parameter in whole.named_parameters(remove_duplicate=False):
        if (of := scaled.get(id(parameter))) is None:
            continue
        own = owned.setdefault(id(of), of.own.detach().clone().requires_grad_())
        moved = own - of.start
        if of.weighed:
            moved = moved * z_G[of.gate]
        if of.cut and of.gate in rows:
            moved = moved * rows[of.gate].reshape(-1, *[1] * (own.dim() - 1))
        values[name] = of.start + moved
    functional_call(whole, values, (batch,)).backward()
    owned = [owned[id(of)].grad for of in net._scaled]
    return z_G.grad, {gate: row_R.grad for gate, row_R in rows.items()}, owned


def check_against_autograd(net, tuned, batch, z_G, rows=None):
    found = net.gradients(batch, z_G, rows)
    own = [of.own.grad.clone() for of in net._scaled]
    gates, by_rows, expected = by_autograd(net, tuned, batch, z_G, rows)

    torch.testing.assert_close(found.gates.float(), gates, rtol=1e-3, atol=1e-5)
    assert gates.abs().max() > 1e-4
    assert found.rows.keys() >= by_rows.keys()
    for gate, row_R in by_rows.items():
        torch.testing.assert_close(found.rows[gate].float(), row_R, rtol=1e-3, atol=1e-5)
    for mine, theirs in zip(own, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("methods", [MIXED, *((m,) for m in WEIGHED if m not in MIXED)], ids=str)
def test_gradients_of_gates_and_weights_are_those_of_autograd(bert, methods):
    if methods == ("dylora",):
        pytest.skip("it draws a rank in every pass")
    space = space_of(bert.backbone, *methods, sizes=(0, 1))
    with gated(bert, space) as (net, tuned, batch, gates):
        z_G = torch.linspace(0.1, 0.9, len(gates))
        check_against_autograd(net, tuned, batch, z_G)


@pytest.mark.slow
@pytest.mark.parametrize("family", some_families())
def test_gradients_are_those_of_autograd_on_every_architecture(tmp_path, family):
    small = tiny(tmp_path, family)
    space = space_of(small.backbone, *MIXED, "prefix", sizes=(0, 1))
    with gated(small, space, spread=0.1) as (net, tuned, batch, gates):
        z_G = torch.linspace(0.1, 0.9, len(gates))
        check_against_autograd(net, tuned, batch, z_G)


@pytest.mark.parametrize("method", [m for m in WEIGHED if METHODS[m].rows and m != "dylora"])
def test_gradients_of_rows_are_those_of_autograd(bert, method):
    space = space_of(bert.backbone, method, sizes=(0, 1, 3))
    with gated(bert, space, sized=True) as (net, tuned, batch, gates):
        several = [place for place, gate in enumerate(gates) if len(gate.sizes) > 1]
        rows = {place: torch.tensor([1.0, 0.6, 0.2]) for place in several}
        check_against_autograd(net, tuned, batch, torch.full((len(gates),), 0.5), rows)


@pytest.mark.parametrize(
    "method", [m for m in WEIGHED if METHODS[m].rows and m not in {"prefix", "lora_fa"}]
)
def test_a_size_that_is_cut_is_the_smaller_size(wide, method):
    """LoRA-FA's first factor is drawn and not trained; a smaller one has other numbers."""
    space = space_of(wide.backbone, method, sizes=(0, 1, 2))
    with gated(wide, space, sized=True) as (net, tuned, batch, gates), torch.no_grad():
        assert all(len(gate.sizes) == 2 for gate in gates)
        net.put(torch.ones(len(gates)), dict.fromkeys(range(len(gates)), torch.tensor([1.0, 0])))
        cut = float(tuned.model.loss(batch))
        net.put(torch.ones(len(gates)))
        whole = float(tuned.model.loss(batch))
        small = everything(space, [replace(gate, sizes=gate.sizes[:1]) for gate in gates])
        corners = {name: value.clone() for name, value in tuned.injection.state().items()}
        head = {name: value.clone() for name, value in tuned.model.head().items()}
    with (
        trainer_on(wide).tuned(space.slots, small, recipe_of(), 0) as plain,
        torch.no_grad(),
    ):
        plain.model.eval()
        for name, parameter in plain.injection.named().items():
            parameter.data = corners[name][tuple(slice(0, n) for n in parameter.shape)].clone()
        for name, parameter in plain.model.head().items():
            parameter.data.copy_(head[name])
        expected = float(plain.model.loss(batch))

    assert cut == pytest.approx(expected, rel=1e-4)
    assert whole != pytest.approx(expected, rel=1e-4)


def test_tied_cells_have_one_gate_with_the_sum_of_their_gradients(bert):
    apart = space_of(bert.backbone, "lora", sizes=(0, 1))
    cells = tuple(gene.cells[0] for gene in apart.genes)
    tied = replace(apart, genes=(Gene(name="all", choices=(0, 1), cells=cells),))
    with gated(bert, apart) as (net, _, batch, gates):
        each = net.gradients(batch, torch.full((len(gates),), 0.4)).gates
    with gated(bert, tied) as (net, _, batch, _):
        together = net.gradients(batch, torch.tensor([0.4])).gates

    torch.testing.assert_close(together, each.sum()[None])


def test_a_sensitivity_is_the_mean_of_how_far_times_how_steep_over_a_cell(bert):
    space, _ = cell(bert, "lora")
    with gated(bert, space) as (net, tuned, batch, _):
        net.gradients(batch, torch.tensor([1.0]))
        found = net.sensitivities()
        down, up = (next(p for n, p in tuned.injection.named().items() if n.endswith(end))
                    for end in ("down", "/up"))  # fmt: skip
        own = net._scaled[0].own
        total = ((down * down.grad).abs().sum() + (own * own.grad).abs().sum()).detach()

    assert found.tolist() == pytest.approx([float(total) / (down.numel() + up.numel())])


def test_a_loss_that_is_no_number_ends_the_pass(bert):
    space, _ = cell(bert, "lora")
    with gated(bert, space) as (net, _, batch, _):
        net._scaled[0].own.data.fill_(float("nan"))

        with pytest.raises(DivergedError, match="the loss of the gated network became nan"):
            net.gradients(batch, torch.tensor([1.0]))
