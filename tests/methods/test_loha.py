"""LoHa against the `peft` library."""

import pytest
import torch

from autopeft.methods.loha import HadamardProduct
from tests.methods.in_peft import last_names, output_of_peft
from tests.methods.small_models import inside, shake, small

RANK, SCALE = 3, 1.7
SITES = ("attention.query", "ffn.input", "ffn.output")


def fill(layer, values):
    layer.hada_w1_a["default"].copy_(values["first_up"].T)
    layer.hada_w1_b["default"].copy_(values["first_down"])
    layer.hada_w2_a["default"].copy_(values["second_up"].T)
    layer.hada_w2_b["default"].copy_(values["second_down"])


def test_the_same_values_give_the_same_output_as_in_peft():
    """On `nn.Linear`; `peft` has no LoHa for GPT-2's layers."""
    from peft import LoHaConfig

    model = small("bert")
    config = LoHaConfig(r=RANK, alpha=SCALE * RANK, target_modules=last_names(model, SITES))
    with inside(model, {f"loha@{site}": RANK for site in SITES}, scales={"loha": SCALE}) as inner:
        state = shake(inner, 0.4)
        found = model.hidden()

    expected = output_of_peft(model, config, state, fill)

    assert (found - model.hidden()).abs().max() > 0.05, "the values must matter"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_two_of_rank_one_multiply_element_by_element():
    """By hand: [[1], [2]] [3, 4] and [[5], [6]] [7, 8] give [[105, 160], [252, 384]]."""
    product = HadamardProduct(2, 2, 1, 1.0, torch.Generator())
    values = {"first_up": [1, 2], "first_down": [3, 4], "second_up": [5, 6], "second_down": [7, 8]}
    product.load_state_dict({name: torch.tensor([value]) for name, value in values.items()})

    assert product.delta().tolist() == [[105, 160], [252, 384]]
    assert product(torch.tensor([1.0, 10.0])).tolist() == [1705, 4092]


@pytest.mark.parametrize(("name", "fan"), [("first_down", 50), ("first_up", 4), ("second_up", 4)])
def test_it_begins_as_in_peft(name, fan):
    """Uniform up to 1 / sqrt(fan in), which for the upper factors is the rank."""
    product = HadamardProduct(50, 60, 4, 1.0, torch.Generator().manual_seed(0))

    factor = product.get_parameter(name)

    assert 0.95 * fan**-0.5 < factor.abs().max() <= fan**-0.5
    assert product.second_down.count_nonzero() == 0
