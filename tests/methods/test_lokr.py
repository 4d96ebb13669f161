"""LoKr against the `peft` library."""

import pytest
import torch

from autopeft.methods.lokr import KroneckerProduct
from tests.methods.in_peft import last_names, output_of_peft
from tests.methods.small_models import inside, shake, small

RANK, SCALE = 3, 1.7
SITES = ("attention.query", "ffn.input", "ffn.output")


def fill(layer, values):
    layer.lokr_w1["default"].copy_(values["outer"])
    layer.lokr_w2_a["default"].copy_(values["up"].T)
    layer.lokr_w2_b["default"].copy_(values["down"])


def test_the_same_values_give_the_same_output_as_in_peft():
    """On `nn.Linear`; `peft` has no LoKr for GPT-2's layers. Rank 3 is the largest at 32 x 32."""
    from peft import LoKrConfig

    model = small("bert")
    config = LoKrConfig(r=RANK, alpha=SCALE * RANK, target_modules=last_names(model, SITES))
    with inside(model, {f"lokr@{site}": RANK for site in SITES}, scales={"lokr": SCALE}) as inner:
        state = shake(inner, 0.4)
        found = model.hidden()

    expected = output_of_peft(model, config, state, fill)

    assert (found - model.hidden()).abs().max() > 0.05, "the values must matter"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_the_product_is_one_of_blocks():
    """By hand: [[1, 2]] ⊗ ([[1], [3]] [5, 7]) = [[5, 7, 10, 14], [15, 21, 30, 42]]."""
    product = KroneckerProduct(4, 2, 1, 1.0, torch.Generator())
    values = {"outer": [[1.0, 2.0]], "up": [[1.0, 3.0]], "down": [[5.0, 7.0]]}
    product.load_state_dict({name: torch.tensor(value) for name, value in values.items()})

    assert product.delta().tolist() == [[5, 7, 10, 14], [15, 21, 30, 42]]
    assert product(torch.tensor([1.0, 0.0, 0.0, 1.0])).tolist() == [19, 57]


@pytest.mark.parametrize(("inputs", "outputs"), [(12, 35), (32, 48), (7, 6)])
def test_what_runs_is_the_product_written_out(inputs, outputs):
    generator = torch.Generator().manual_seed(0)
    product = KroneckerProduct(inputs, outputs, 2, SCALE, generator)
    with torch.no_grad():
        product.outer.normal_(generator=generator)
    x = torch.randn(2, 3, inputs, generator=generator)

    torch.testing.assert_close(product(x), x @ product.delta().T, rtol=1e-4, atol=1e-5)
