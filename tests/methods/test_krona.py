"""KronA against the `peft` library, whose LoKr has a full second factor at large ranks."""

import pytest
import torch

from autopeft.methods.krona import FullKroneckerProduct
from tests.methods.in_peft import last_names, output_of_peft
from tests.methods.small_models import inside, shake, small

SCALE = 1.7
SITES = ("attention.query", "ffn.input", "ffn.output")


def fill(layer, values):
    layer.lokr_w1["default"].copy_(values["outer"])
    layer.lokr_w2["default"].copy_(values["inner"])


def test_the_same_values_give_the_same_output_as_in_peft():
    from peft import LoKrConfig

    model = small("bert")
    config = LoKrConfig(r=32, alpha=SCALE * 32, target_modules=last_names(model, SITES))
    with inside(model, {f"krona@{site}": 1 for site in SITES}, scales={"krona": SCALE}) as inner:
        state = shake(inner, 0.4)
        found = model.hidden()

    expected = output_of_peft(model, config, state, fill)

    assert (found - model.hidden()).abs().max() > 0.05, "the values must matter"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("inputs", "outputs"), [(12, 35), (32, 48), (7, 6)])
def test_what_runs_is_the_product_written_out(inputs, outputs):
    generator = torch.Generator().manual_seed(0)
    product = FullKroneckerProduct(inputs, outputs, SCALE, generator)
    with torch.no_grad():
        product.outer.normal_(generator=generator)
    x = torch.randn(2, 3, inputs, generator=generator)

    torch.testing.assert_close(product(x), x @ product.delta().T, rtol=1e-4, atol=1e-5)
