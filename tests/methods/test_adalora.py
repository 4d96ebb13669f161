"""AdaLoRA against the `peft` library: output, penalty, importance and the fall of the budget."""

import numpy as np
import pytest
import torch

from autopeft.methods.adalora import Allocation, Triplets
from autopeft.training.loop import fit
from autopeft.trial import Fidelity
from tests.methods.in_peft import last_names, output_of_peft
from tests.methods.small_models import inside, shake, small
from tests.models import Bench, opinions, save_tiny, write_rows

RANK, SCALE = 3, 1.7
SITES = {
    "bert": ("attention.query", "attention.value", "ffn.output"),
    "gpt2": ("attention.qkv", "attention.output", "ffn.input"),
}


def config_of(model, sites, **changes):
    from peft import AdaLoraConfig

    return AdaLoraConfig(
        init_r=RANK, target_r=2, lora_alpha=SCALE * RANK, total_step=100, tinit=10, tfinal=50,
        deltaT=1, target_modules=last_names(model, sites), **changes,
    )  # fmt: skip


def fill(layer, values):
    layer.lora_A["default"].copy_(values["right"])
    layer.lora_E["default"].copy_(values["values"][:, None])
    layer.lora_B["default"].copy_(values["left"].T)


@pytest.mark.parametrize("kind", SITES)
def test_the_same_values_give_the_same_output_as_in_peft(kind):
    """To five digits: peft divides by the rank plus 0.00001."""
    model, sites = small(kind), SITES[kind]
    sizes = {f"adalora@{site}": RANK for site in sites}
    with inside(model, sizes, scales={"adalora": SCALE}) as injection:
        state = shake(injection, 0.4)
        found = model.hidden()

    expected = output_of_peft(model, config_of(model, sites), state, fill)

    assert (found - model.hidden()).abs().max() > 0.05, "the values must matter"
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=5e-5)


def test_it_begins_with_zeros_between_narrow_normal_vectors():
    matrix = Triplets(80, 90, 20, SCALE, torch.Generator().manual_seed(0))

    assert matrix.values.count_nonzero() == 0
    assert matrix.left.std().item() == pytest.approx(0.02, rel=0.05)
    assert matrix.right.std().item() == pytest.approx(0.02, rel=0.05)


def test_the_penalty_is_the_mean_distance_from_orthonormal_vectors():
    """By hand: of four P and Q, one P of rank 1 has length 2, so ‖4 - 1‖ = 3; the rest are 1."""
    allocation = Allocation()
    matrices = [Triplets(2, 2, 1, 1.0, torch.Generator()) for _ in range(2)]
    with torch.no_grad():
        for matrix in matrices:
            allocation.add(matrix)
            matrix.left.copy_(torch.tensor([[0.6, 0.8]]))
            matrix.right.copy_(torch.tensor([[1.0, 0.0]]))
        matrices[0].left.mul_(2)

    penalty = sum(allocation.penalty(matrix) for matrix in matrices)

    assert penalty.item() == pytest.approx(0.1 * 3 / 4)


def test_the_penalty_of_an_injection_is_that_of_peft():
    """The mean over all P and Q times 0.1, here from the injected model's hook."""
    model = small("bert")
    with inside(model, {"adalora@attention.query": 2, "adalora@ffn.input": 3}) as injection:
        state = shake(injection)
        penalty = injection.penalty()

    sides = [value for name, value in state.items() if not name.endswith("values")]
    distances = [(side @ side.T - torch.eye(len(side))).norm() for side in sides]
    assert len(sides) == 8
    torch.testing.assert_close(penalty, 0.1 * torch.stack(distances).mean())


def test_the_budget_falls_as_in_peft():
    """From 30 triplets to 20, whole until step 10 of 100 and least from step 50 on."""
    from peft import AdaLoraConfig
    from peft.tuners.adalora.layer import RankAllocator

    allocation = Allocation()
    for _ in range(10):
        allocation.add(Triplets(4, 4, 3, 1.0, torch.Generator()))
    theirs = RankAllocator(
        torch.nn.Module(), AdaLoraConfig(total_step=100, tinit=10, tfinal=50), "default"
    )
    theirs.init_bgt, theirs.target_bgt = 30, 20

    found = [allocation.budget(step, 100) for step in range(1, 101)]

    assert found == [theirs.budget_schedule(step)[0] for step in range(1, 101)]
    assert (found[9], found[-1]) == (30, 20)


def test_the_triplets_that_are_kept_are_those_that_peft_keeps():
    """Ten steps with the same gradients, pruning after each from the second on."""
    from peft import AdaLoraConfig
    from peft.tuners.adalora.layer import RankAllocator

    generator = torch.Generator().manual_seed(0)
    allocation, theirs = Allocation(), torch.nn.Module()
    matrices = [Triplets(4, 5, 3, 1.0, generator) for _ in range(4)]
    for number, matrix in enumerate(matrices):
        allocation.add(matrix)
        layer = torch.nn.Module()
        layer.lora_A, layer.lora_B, layer.lora_E = (torch.nn.ParameterDict() for _ in range(3))
        layer.lora_A["default"] = matrix.right.detach().clone()
        layer.lora_B["default"] = matrix.left.T.detach().clone()
        layer.lora_E["default"] = matrix.values.detach().clone()[:, None]
        theirs.add_module(f"layer{number}", layer)
    config = AdaLoraConfig(
        init_r=3, target_r=2, total_step=10, tinit=1, tfinal=5, deltaT=1, beta1=0.85, beta2=0.85
    )
    allocator = RankAllocator(theirs, config, "default")

    for step in range(1, 11):
        for number, matrix in enumerate(matrices):
            layer = theirs.get_submodule(f"layer{number}")
            pairs = (
                (matrix.values, layer.lora_E["default"], lambda g: g[:, None]),
                (matrix.right, layer.lora_A["default"], lambda g: g),
                (matrix.left, layer.lora_B["default"], lambda g: g.T),
            )
            for ours, other, turned in pairs:
                ours.grad = torch.randn(ours.shape, generator=generator)
                other.grad = turned(ours.grad).clone()
                with torch.no_grad():
                    ours.sub_(0.1 * ours.grad)
                    other.sub_(0.1 * other.grad)
        allocation.stepped(step, 10)
        allocator.update_and_allocate(theirs, step)
        for number, matrix in enumerate(matrices):
            expected = theirs.get_submodule(f"layer{number}").lora_E["default"][:, 0]
            torch.testing.assert_close(matrix.values, expected, msg=f"after step {step}")

    assert sum(int(matrix.values.count_nonzero()) for matrix in matrices) == 8


def test_all_matrices_share_one_budget():
    """What matters little goes, wherever it is: one matrix loses all, the others nothing."""
    model = small("bert")
    sizes = {"adalora@attention.query": 2, "adalora@ffn.output": 4}
    with inside(model, sizes) as injection:
        shake(injection)
        for step in range(1, 21):
            for name, parameter in injection.named().items():
                weak = "1e-3" if "0/adalora@ffn" in name else "1"
                parameter.grad = torch.full_like(parameter, float(weak)) * (1 + step % 2)
            injection.stepped(step, 20)
        left = {
            name.removesuffix("/values"): int(value.count_nonzero())
            for name, value in injection.state().items()
            if name.endswith("values")
        }

    assert left == {
        "0/adalora@attention.query": 2,
        "0/adalora@ffn.output": 0,
        "1/adalora@attention.query": 2,
        "1/adalora@ffn.output": 4,
    }


def test_a_training_too_short_to_prune_in_is_no_mistake():
    with inside(small("bert"), {"adalora@ffn.output": 1}) as injection:
        shake(injection)
        injection.stepped(1, 1)

        kept = [v for name, v in injection.state().items() if name.endswith("values")]
        assert sum(int(v.count_nonzero()) for v in kept) == 1


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adalora")
    return Bench(save_tiny(folder / "model"), write_rows(folder / "opinions.csv", opinions(48)))


def test_training_prunes_to_two_thirds_of_the_ranks(bench):
    with bench.tuned({"adalora@ffn.output": 3}, epochs=4) as tuned:
        *_, measured = bench.trainer.measure(tuned, 0, Fidelity())
        values = [v for name, v in tuned.injection.state().items() if name.endswith("values")]

    assert measured.parameters == 2 * 3 * (48 + 32 + 1)
    assert sum(int(value.count_nonzero()) for value in values) == 4, "two thirds of six"


def test_a_step_is_told_while_its_gradients_are_there(bench):
    """Without them nothing would have any importance."""
    told = []
    with bench.tuned({"adalora@ffn.output": 3}) as tuned:
        named = tuned.injection.named().values()

        def stepped(step, whole):
            told.append((step, whole, all(p.grad is not None for p in named)))

        list(
            fit(
                tuned.model,
                bench.trainer.parts["train"],
                tuned.recipe,
                tuned.injection.by_method(),
                steps=2,
                rng=np.random.default_rng(0),
                stepped=stepped,
            )
        )

    assert told == [(1, 2, True), (2, 2, True)]
