"""DyLoRA: a rank drawn for each step."""

from collections import Counter

import torch

from tests.methods.small_models import inside, shake, small

SIZES = {"dylora@attention.query": 4, "dylora@ffn.output": 2}


def ranks_with_gradient(model, injection):
    """Return how many rows of each slot a step has used."""
    model.model.zero_grad()
    model.loss().backward()
    return {
        name.split("/")[1]: int(parameter.grad.ne(0).any(1).sum())
        for name, parameter in injection.named().items()
        if name.endswith("up")
    }


def test_a_step_uses_one_rank_everywhere_and_a_smaller_matrix_all_of_its_own():
    model = small("bert")
    drawn = Counter()
    model.model.train()
    with inside(model, SIZES) as injection:
        shake(injection)
        for step in range(100):
            used = ranks_with_gradient(model, injection)
            drawn[used["dylora@attention.query"]] += 1
            assert used["dylora@ffn.output"] == min(2, used["dylora@attention.query"])
            injection.stepped(step + 1, 100)

    assert set(drawn) == {1, 2, 3, 4}
    assert min(drawn.values()) > 12, "each is drawn about 25 times"


def test_within_a_step_the_rank_stays():
    """A pass that is repeated, as by gradient checkpointing, must see the same."""
    model = small("bert")
    for module in model.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.model.train()
    with inside(model, SIZES) as injection:
        shake(injection)
        for step in range(10):
            assert torch.equal(model.hidden(), model.hidden())
            injection.stepped(step + 1, 10)


def test_evaluation_uses_the_whole_rank():
    model = small("bert")
    with inside(model, SIZES) as injection:
        shake(injection)
        used = ranks_with_gradient(model, injection)

    assert used == SIZES


def test_it_is_lora_when_it_is_evaluated():
    model = small("gpt2")
    with inside(model, {"dylora@attention.value": 3}) as injection:
        state = shake(injection)
        expected = model.hidden()

    with inside(model, {"lora@attention.value": 3}) as injection:
        injection.load({name.replace("dylora@", "lora@"): v for name, v in state.items()})
        assert torch.equal(model.hidden(), expected)


def test_equal_seeds_draw_equal_ranks():
    model = small("bert")
    model.model.train()
    runs = []
    for seed in (0, 0, 1):
        with inside(model, SIZES, seed=seed) as injection:
            shake(injection)
            ranks = []
            for step in range(20):
                ranks.append(ranks_with_gradient(model, injection)["dylora@attention.query"])
                injection.stepped(step + 1, 20)
        runs.append(ranks)

    assert runs[0] == runs[1] != runs[2]
