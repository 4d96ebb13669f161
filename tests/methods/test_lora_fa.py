"""LoRA-FA: LoRA of which one factor is frozen."""

import torch

from tests.methods.small_models import inside, shake, small

DOWNS = ["0/lora_fa@ffn.input/down", "1/lora_fa@ffn.input/down"]


def test_it_is_lora_with_the_same_factors():
    model = small("gpt2")
    with inside(model, {"lora_fa@attention.value": 3}) as injection:
        state = shake(injection)
        expected = model.hidden()

    with inside(model, {"lora@attention.value": 3}) as injection:
        injection.load({name.replace("lora_fa@", "lora@"): v for name, v in state.items()})
        assert torch.equal(model.hidden(), expected)


def test_the_first_factor_is_kept_but_neither_trained_nor_counted():
    model = small("bert")
    with inside(model, {"lora_fa@ffn.input": 3}) as injection:
        shake(injection)
        model.loss().backward()

        assert list(injection.named()) == ["0/lora_fa@ffn.input/up", "1/lora_fa@ffn.input/up"]
        assert set(injection.state()) == {*injection.named(), *DOWNS}
        assert injection.count() == 2 * 3 * 48
        frozen = [p for n, p in model.model.named_parameters() if n.endswith("down")]
        assert len(frozen) == 2
        assert all(p.grad is None and not p.requires_grad for p in frozen)


def test_the_first_factor_is_that_of_lora_with_the_same_seed():
    model, states = small("bert"), []
    for method in ("lora", "lora_fa"):
        with inside(model, {f"{method}@ffn.input": 3}, seed=4) as injection:
            states.append({n.split("@")[1]: v.clone() for n, v in injection.state().items()})

    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
