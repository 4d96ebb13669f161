"""Compacter against Kronecker products that are written out, and against the published counts."""

import torch
from torch.nn.functional import gelu

from autopeft.methods.compacter import CompactAdapter, kronecker
from tests.builders import BERT_BASE
from tests.methods.filling import count, filled, hidden, shake
from tests.models import tiny


def written_out(rules, left, right):
    """Return Σᵢ Aᵢ ⊗ (leftᵢ rightᵢᵀ), shape (4 · S, 4 · Q)."""
    return sum(torch.kron(rules[i], torch.outer(left[:, i], right[:, i])) for i in range(4))


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_factored_product_is_that_of_the_kronecker_sum():
    rules, left, right = drawn(4, 4, 4), drawn(3, 4, seed=1), drawn(5, 4, seed=2)
    x = drawn(2, 7, 20, seed=3)

    found = kronecker(x.reshape(2, 7, 4, 5), rules, left, right).reshape(2, 7, 12)

    torch.testing.assert_close(found, x @ written_out(rules, left, right).T)


def an_adapter(width=20, size=3):
    generator = torch.Generator().manual_seed(0)
    rules = torch.nn.Parameter(torch.randn(4, 4, 4, generator=generator))
    adapter = CompactAdapter(width, size, 0.5, rules, generator)
    with torch.no_grad():
        for value in adapter.parameters():
            value.add_(0.3 * torch.randn(value.shape, generator=generator))
    return adapter


def test_the_adapter_is_a_bottleneck_of_such_matrices():
    adapter = an_adapter()
    x = torch.randn(2, 20, generator=torch.Generator().manual_seed(4))

    down = written_out(adapter.rules, adapter.down_left, adapter.down_right)
    up = written_out(adapter.rules, adapter.up_left, adapter.up_right)
    inside = gelu(x @ down.T + adapter.down_bias.T.flatten())
    expected = 0.5 * (inside @ up.T + adapter.up_bias)

    torch.testing.assert_close(adapter(x), expected)


def test_a_smaller_size_is_the_first_rows_of_a_larger():
    """The larger one with its other units cut off from what comes after."""
    large = an_adapter(size=5)
    small = CompactAdapter(20, 2, 0.5, large.rules, torch.Generator())
    with torch.no_grad():
        for name, value in small.named_parameters():
            if name != "rules":
                value.copy_(large.get_parameter(name)[: len(value)])
        large.up_right[2:] = 0
    x = torch.randn(2, 20, generator=torch.Generator().manual_seed(4))

    torch.testing.assert_close(small(x), large(x))


def test_a_slot_trains_its_rules_once_for_all_blocks(tmp_path):
    small = tiny(tmp_path, "bert")
    with filled(small, {"compacter@attention.output": 2, "compacter@ffn.output": 1}) as injection:
        rules = [name for name in injection.state() if name.endswith("rules")]
        state = shake(injection)
        expected = hidden(small)
        inner = [small.model.encoder.layer[block].output.dense.adapter for block in (0, 1)]

        assert rules == ["0/compacter@attention.output/rules", "0/compacter@ffn.output/rules"]
        assert inner[0].rules is inner[1].rules

    with filled(
        small, {"compacter@attention.output": 2, "compacter@ffn.output": 1}, seed=5
    ) as injection:
        injection.load(state)
        torch.testing.assert_close(hidden(small), expected)


def test_the_counts_are_the_published_ones():
    """Of T5-base, reduction 32: 48 adapters, one set of rules and 62 norms are 0.073%.

    The `adapters` library 1.3 counts 28,576 for Compacter++ on BERT-base, and 57,088 for Compacter,
    whose two places share their rules.
    """
    per_adapter = count(BERT_BASE, {"compacter@ffn.output": 6}) - 64

    assert per_adapter == 12 * (2 * (768 + 24) + 768 + 24) == 28_576 - 64 == (57_088 - 64) / 2
    compacter = 4 * per_adapter + 64 + 62 * 768
    compacter_pp = 2 * per_adapter + 64 + 62 * 768
    assert f"{compacter / 222_903_552:.3%}" == "0.073%"
    assert f"{compacter_pp / 222_903_552:.3%}" == "0.047%"
