"""Blocks on bf16 copies of their frozen weights. Axes: B batch, T tokens, D width."""

from contextlib import contextmanager
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity
from transformers.pytorch_utils import Conv1D

from autopeft.kernels.remade import sparing
from autopeft.methods.inject import injected
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.training.engine.blocks import blocks_of, run_on_halves
from autopeft.training.engine.halves import half_of, halves_in
from autopeft.training.recomputing import recomputed
from tests.kinds import bench_of, continued, save_model, write_json
from tests.models import (
    MANY,
    SCALES,
    Bench,
    opinions,
    padded_inputs,
    recipe_of,
    save_tiny,
    seen,
    some_families,
    table,
    tiny,
    write_rows,
)

ALIKE = 0.98
"""The least cosine between all gradients of a method in bf16 and in single precision."""


def bf16():
    return torch.autocast("cpu", dtype=torch.bfloat16)


@pytest.fixture(scope="module", params=some_families())
def small(request, tmp_path_factory):
    found = tiny(tmp_path_factory.mktemp(request.param), request.param)
    run_on_halves(found.model, found.backbone)
    return found


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    found = tiny(tmp_path_factory.mktemp("bert"), "bert")
    run_on_halves(found.model, found.backbone)
    return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    return Bench(save_tiny(folder / "model"), write_rows(folder / "data.csv", opinions(80)))


@contextmanager
def alone(small, sizes):
    slots = slots_of(small.backbone)
    configuration = table(slots, small.backbone.blocks, sizes)
    generator = torch.Generator().manual_seed(0)
    with injected(
        small.model, small.backbone, slots, configuration, SCALES, generator
    ) as injection:
        yield injection


def hidden(small, model=None):
    return (model or small.model)(**padded_inputs(small.backbone.architecture)).last_hidden_state


def shadows(model):
    names = ("weight", "bias", "forward")
    return [
        (path, name)
        for path, module in model.named_modules()
        for name in names
        if type(module) in {nn.Linear, Conv1D} and name in vars(module)
    ]


class TestTheModel:
    def test_it_is_what_it_was_without_autocast(self, small):
        bare = deepcopy(small.model)
        for module in bare.modules():
            module._forward_hooks.clear()
            module._forward_pre_hooks.clear()

        with torch.no_grad():
            assert torch.equal(hidden(small), hidden(small, bare))

    def test_under_autocast_it_gives_the_same_to_rounding(self, small):
        """Its error is at most a few times that of autocast alone, which rounds as often."""
        inputs = padded_inputs(small.backbone.architecture)
        bare = deepcopy(small.model)
        for module in bare.modules():
            module._forward_hooks.clear()
            module._forward_pre_hooks.clear()
        with torch.no_grad():
            exact = seen(hidden(small), inputs)
            with bf16():
                usual, found = seen(hidden(small, bare), inputs), seen(hidden(small), inputs)

        error, allowed = (found - exact).abs().mean(), (usual - exact).abs().mean()
        assert found.dtype is usual.dtype or found.dtype is torch.float32
        assert 0 < error < 3 * allowed

    def test_nothing_of_it_is_left_afterwards(self, small):
        values = {name: value.clone() for name, value in small.model.state_dict().items()}

        with torch.no_grad(), bf16():
            hidden(small)

        assert not shadows(small.model)
        for name, value in small.model.state_dict().items():
            assert torch.equal(value, values[name]), name

    def test_all_frozen_matrices_of_the_blocks_have_a_copy(self, small):
        with torch.no_grad(), bf16():
            hidden(small)

        for block in blocks_of(small.model, small.backbone):
            matrices = [m for m in block.modules() if type(m) in {nn.Linear, Conv1D}]
            copies = {id(copy) for copy in halves_in(block)}
            assert matrices
            assert {id(half_of(layer.weight)) for layer in matrices} <= copies

    def test_what_a_block_raises_takes_the_copies_away_too(self, bert):
        first = blocks_of(bert.model, bert.backbone)[0]
        during = []

        def stop(*_):
            during.extend(shadows(bert.model))
            raise RuntimeError

        hook = first.get_submodule("output").register_forward_hook(stop)
        with pytest.raises(RuntimeError), bf16():
            hidden(bert)
        hook.remove()

        assert len(during) == 3 * 6
        assert not shadows(bert.model)

    def test_parameters_are_the_originals_at_any_time(self, bert):
        kept = {name: id(p) for name, p in bert.model.named_parameters()}
        found = []
        inner = blocks_of(bert.model, bert.backbone)[0].get_submodule("output")
        hook = inner.register_forward_hook(
            lambda *_: found.append({name: id(p) for name, p in bert.model.named_parameters()})
        )

        with torch.no_grad(), bf16():
            hidden(bert)
        hook.remove()

        assert found == [kept]

    def test_the_stream_is_bf16_inside_and_single_precision_behind(self, bert):
        inputs, outputs = [], []
        blocks = blocks_of(bert.model, bert.backbone)
        hooks = [
            block.get_submodule("attention").register_forward_pre_hook(
                lambda _m, args: inputs.append(args[0].dtype)
            )
            for block in blocks
        ]
        hooks += [
            b.register_forward_hook(lambda _m, _a, o: outputs.append(o.dtype)) for b in blocks
        ]

        with torch.no_grad(), bf16():
            hidden(bert)
        for hook in hooks:
            hook.remove()

        assert inputs == [torch.bfloat16, torch.bfloat16]
        assert outputs == [torch.bfloat16, torch.float32]

    def test_a_copy_of_it_has_layers_of_its_own_and_shares_the_copies(self, bert):
        shared = [*bert.model.parameters(), *bert.model.buffers()]
        lane = deepcopy(bert.model, {id(kept): kept for kept in shared})
        run_on_halves(lane, bert.backbone)  # as its trainer does, and nothing happens

        with torch.no_grad(), bf16():
            assert torch.equal(hidden(bert, lane), hidden(bert))
        assert not shadows(lane)
        block = blocks_of(lane, bert.backbone)[0]
        assert len(block._forward_hooks) == 1

    def test_a_second_call_changes_nothing(self, bert):
        before = [len(block._forward_hooks) for block in blocks_of(bert.model, bert.backbone)]

        run_on_halves(bert.model, bert.backbone)

        assert [len(b._forward_hooks) for b in blocks_of(bert.model, bert.backbone)] == before


class TestMethods:
    @pytest.mark.parametrize(
        "method",
        [
            pytest.param(name, marks=pytest.mark.slow if m.family == "opaque" else ())
            for name, m in METHODS.items()
        ],
    )
    @pytest.mark.parametrize("family", ["bert", "gpt2"])
    def test_it_is_trained_as_in_single_precision(self, method, family, both):
        """Same forward, same directions of the gradients, all of them in single precision."""
        small = both[family]
        sizes = _sizes(small, method)
        if not sizes:
            pytest.skip(f"{family} has no place for {method}")
        found = {}
        for precise in (True, False):
            with alone(small, sizes) as injection:
                _shake(injection)
                small.model.zero_grad()
                with torch.autocast("cpu", dtype=torch.bfloat16, enabled=not precise):
                    out = hidden(small)
                out.float().square().mean().backward()
                named = injection.named()
                found[precise] = torch.cat([p.grad.flatten().float() for p in named.values()])
                assert {p.grad.dtype for p in named.values()} == {torch.float32}
                assert all(p.grad is None for p in small.model.parameters() if not p.requires_grad)
        assert not shadows(small.model)
        assert torch.isfinite(found[False]).all()
        assert cosine_similarity(found[True], found[False], dim=0) > ALIKE

    @pytest.mark.parametrize("sizes", [{"full@block": 1}, {"bitfit@block": 1}])
    def test_what_is_trained_in_place_keeps_its_precision(self, bert, sizes):
        name = next(iter(sizes))
        if name not in {slot.name for slot in slots_of(bert.backbone)}:
            pytest.skip("no such place")
        during = []
        block = blocks_of(bert.model, bert.backbone)[0]
        dense = block.get_submodule("output.dense")
        hook = block.get_submodule("output").register_forward_hook(
            lambda *_: during.append((dense.weight.dtype, dense.bias.dtype))
        )

        with alone(bert, sizes), bf16():
            hidden(bert)
        hook.remove()

        weight = torch.float32 if "full" in name else torch.bfloat16
        assert during == [(weight, torch.float32)]

    def test_dora_measures_its_norms_on_the_exact_weights(self, bert):
        with alone(bert, {"dora@attention.query": 2}), torch.no_grad():
            direction = blocks_of(bert.model, bert.backbone)[0].get_submodule(
                "attention.self.query.direction"
            )
            norms, ratios = direction.norms(), []
            hook = direction.register_forward_hook(lambda *_: ratios.append(direction.norms()))
            with bf16():
                hidden(bert)
            hook.remove()

        assert torch.equal(ratios[0], norms)

    def test_merged_weights_are_what_runs_next(self, bert):
        model = deepcopy(bert.model)
        inputs = padded_inputs("bert")
        slots = slots_of(bert.backbone)
        configuration = table(slots, bert.backbone.blocks, {"lora@attention.query": 2})
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad(), bf16():
            before = model(**inputs).last_hidden_state
            with injected(
                model, bert.backbone, slots, configuration, SCALES, generator
            ) as injection:
                _shake(injection)
                tuned = model(**inputs).last_hidden_state
                injection.merge()
            merged = model(**inputs).last_hidden_state

        assert (merged - tuned).abs().mean() < 0.5 * (merged - before).abs().mean()


class TestTraining:
    def test_frozen_weights_are_the_same_bit_for_bit_after_a_trial(self, bench):
        module = bench.trainer.module
        before = {name: value.clone() for name, value in module.state_dict().items()}

        bench.run(MANY, precision="bf16")

        assert all(p.grad is None for p in module.parameters())
        for name, value in module.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_single_precision_makes_no_copies(self, tmp_path):
        bench = Bench(save_tiny(tmp_path / "model"), write_rows(tmp_path / "d.csv", opinions(40)))

        bench.run(precision="fp32")

        assert not list(halves_in(bench.trainer.module))

    def test_nothing_is_kept_below_the_lowest_trained_block(self, bench):
        """Nor is anything there connected to the loss."""
        saved = {0: 0, 1: 0, None: 0}
        rows = [((0,) * len(bench.slots)), _row(bench, {"lora@attention.query": 2})]
        where = [None]
        with bench.trainer.tuned(bench.slots, _configuration(rows), _recipe(), 0) as tuned:
            undo = _following(bench.trainer.blocks, where)
            tuned.model.train()

            def count(tensor):
                saved[where[0]] += 1
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t), bf16():
                tuned.model.loss(bench.trainer.parts["train"].batch(range(8)))
            for hook in undo:
                hook.remove()

        assert saved[0] == 0
        assert saved[1] > 0

    def test_of_the_stream_only_half_precision_is_kept(self, bench):
        """No activation of a block is kept in single precision, and none of them twice."""
        sizes = dict.fromkeys(
            (f"lora@attention.{name}" for name in ("query", "key", "value", "output")), 2
        )
        sizes |= {"lora@ffn.input": 2, "lora@ffn.output": 2}
        saved, where = [], [None]
        with bench.tuned(sizes, precision="bf16") as tuned:
            undo = _following(bench.trainer.blocks, where)
            tuned.model.train()
            batch = bench.trainer.parts["train"].batch(range(8))
            tokens = batch.inputs["input_ids"].numel()

            def keep(tensor):
                if where[0] == 1 and tensor.numel() >= tokens * 32:
                    saved.append(tensor)
                return tensor

            with sparing(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), bf16():
                tuned.model.loss(batch)
            for hook in undo:
                hook.remove()

        assert {tensor.dtype for tensor in saved} == {torch.bfloat16}
        places = {t.data_ptr(): t.untyped_storage().nbytes() for t in saved}
        width, wide = 2 * tokens * 32, 2 * tokens * 48
        weights = 2 * len(batch.rows) * 4 * batch.inputs["input_ids"].shape[1] ** 2
        # the sum before the norm that leads into the block, query, key, value by heads, what
        # attention gives, the sums before both norms, and what goes into GELU
        assert sum(places.values()) <= 7 * width + wide + weights


@pytest.mark.parametrize("family", ["bert", "gpt2", "vit", "llama", "modernbert"])
def test_what_is_made_again_changes_no_gradient(family, tmp_path):
    """Neither where blocks run twice besides, which keeps all that comes into them."""
    found = tiny(tmp_path, family)
    run_on_halves(found.model, found.backbone)
    found.model.config.use_cache = False
    sizes = {slot.name: 2 for slot in slots_of(found.backbone) if slot.method == "lora"}
    with alone(found, sizes) as injection:
        _shake(injection)
        with sparing():
            once = _gradients(found, injection)
            with recomputed(blocks_of(found.model, found.backbone)):
                twice = _gradients(found, injection)
        plain = _gradients(found, injection)

    for name, gradient in plain.items():
        assert torch.equal(once[name], gradient), name
        assert torch.equal(twice[name], gradient), name


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_tied_head_of_a_language_model_runs_on_a_copy_and_embeddings_do_not(family, tmp_path):
    model = save_model(tmp_path / "model", "causal_lm", family)
    data = write_json(tmp_path / "data.jsonl", continued(40))
    bench = bench_of(model, data, "causal_lm")
    whole, dtypes = bench.trainer.whole, []
    whole.get_input_embeddings().register_forward_hook(lambda _m, _a, o: dtypes.append(o.dtype))
    batch = bench.trainer.parts["train"].batch(range(4))

    with bench.tuned({"lora@attention.query": 2}, precision="bf16") as tuned, torch.no_grad():
        exact = tuned.model.loss(batch)
        with bf16():
            found = tuned.model.loss(batch)

    head = whole.get_output_embeddings()
    assert any(half_of(head.weight) is half for half in halves_in(head))
    assert head.weight.dtype is torch.float32
    assert dtypes == [torch.float32, torch.float32]
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0.02)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    found = {name: tiny(tmp_path_factory.mktemp(name), name) for name in ("bert", "gpt2")}
    for small in found.values():
        run_on_halves(small.model, small.backbone)
    return found


def _sizes(small, method):
    from tests.methods.test_each import sizes_of

    return sizes_of(method, slots_of(small.backbone))


def _shake(injection):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        state = injection.state()
        for value in state.values():
            if value.is_floating_point():
                value.add_(0.05 * torch.randn(value.shape, generator=generator))
        injection.load(state)


def _gradients(small, injection):
    with bf16():
        out = hidden(small)
    named = injection.named()
    found = torch.autograd.grad(out.square().mean(), list(named.values()), allow_unused=True)
    return {name: g for name, g in zip(named, found, strict=True) if g is not None}


def _row(bench, sizes):
    return bench.table(sizes).sizes[1]


def _configuration(rows):
    from autopeft.search_spaces.configuration import Configuration

    return Configuration(tuple(rows))


def _recipe():
    return recipe_of(precision="bf16")


def _following(blocks, where):
    """Note which block runs."""

    def enter(number):
        return lambda *_: where.__setitem__(0, number)

    hooks = [block.register_forward_pre_hook(enter(n)) for n, block in enumerate(blocks)]
    return hooks + [b.register_forward_hook(lambda *_: where.__setitem__(0, None)) for b in blocks]
