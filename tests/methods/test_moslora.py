"""MoSLoRA: a mixer between LoRA's factors."""

import torch

from autopeft.methods.moslora import Mixed
from tests.methods.small_models import inside, shake, small


def test_the_mixer_lies_between_the_factors():
    """By hand: s · Uᵀ M D = 2 · [[1, 0]] [[1, 2], [3, 4]] [[5], [6]] = 2 · (5 + 12)."""
    product = Mixed(1, 1, 2, 2.0, torch.Generator())
    values = {"down": [[5.0], [6.0]], "mixer": [[1.0, 2.0], [3.0, 4.0]], "up": [[1.0], [0.0]]}
    product.load_state_dict({name: torch.tensor(value) for name, value in values.items()})

    assert product.delta().tolist() == [[34.0]]
    assert product(torch.tensor([10.0])).tolist() == [340.0]


def test_with_the_identity_for_a_mixer_it_is_lora():
    model = small("gpt2")
    with inside(model, {"lora@attention.qkv": 3}) as injection:
        state = shake(injection)
        expected = model.hidden()

    with inside(model, {"moslora@attention.qkv": 3}) as injection:
        renamed = {name.replace("lora@", "moslora@"): value for name, value in state.items()}
        mixers = {f"{block}/moslora@attention.qkv/mixer": torch.eye(3) for block in (0, 1)}
        injection.load(renamed | mixers)
        torch.testing.assert_close(model.hidden(), expected, rtol=1e-5, atol=1e-5)


def test_the_mixer_is_drawn_and_the_upper_factor_is_zero():
    """Uniform up to 1 / sqrt(rank), as the authors draw it."""
    product = Mixed(50, 60, 16, 2.0, torch.Generator().manual_seed(0))

    assert 0.9 / 4 < product.mixer.abs().max() <= 1 / 4
    assert product.up.count_nonzero() == 0
