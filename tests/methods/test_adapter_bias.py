"""AdapterBias by hand, against the published counts, and as the rank-one change that it is."""

from dataclasses import replace

import torch

from autopeft.methods.adapter_bias import TokenShift
from tests.builders import BERT_BASE, bert_shaped
from tests.methods.filling import count

BERT_LARGE = bert_shaped(
    "bert-large", blocks=24, width=1024, feedforward=4096, parameters=335_141_888
)
SLOT = {"adapter_bias@ffn.output": 1}


def a_shift(*, bias=True):
    shift = TokenShift(3, 2, 2.0, torch.Generator().manual_seed(0), bias=bias)
    with torch.no_grad():
        shift.weight.copy_(torch.tensor([[1.0, 0.0, -1.0]]))
        shift.vector.copy_(torch.tensor([1.0, -3.0]))
        if bias:
            shift.bias.fill_(0.5)
    return shift


def test_each_token_gets_the_vector_as_much_as_it_asks_for():
    """2 · (4 - 1 + 0.5) · v, and 2 · (0 - 1 + 0.5) · v."""
    found = a_shift()(torch.tensor([[4.0, 9.0, 1.0], [0.0, 9.0, 1.0]]))

    assert found.tolist() == [[7.0, -21.0], [-1.0, 3.0]]


def test_it_merges_because_it_is_linear():
    shift, base = a_shift(), torch.nn.Linear(3, 2)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    expected = base(x) + shift(x)

    shift.merge_into(base.weight.detach(), base.bias.detach())

    torch.testing.assert_close(base(x), expected)


def test_without_a_bias_the_number_that_could_not_be_merged_is_left_out():
    shift, base = a_shift(bias=False), torch.nn.Linear(3, 2, bias=False)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    expected = base(x) + shift(x)

    shift.merge_into(base.weight.detach(), None)

    torch.testing.assert_close(base(x), expected)
    sites = tuple(replace(site, bias=False) for site in BERT_BASE.sites)
    assert count(replace(BERT_BASE, sites=sites), SLOT) == 12 * (768 + 3072)


def test_with_the_norm_after_it_the_count_is_the_published_one():
    """0.06M on BERT-base and 0.17M on BERT-large, of which the norms are 2 · width a block."""
    assert count(BERT_BASE, SLOT) == 12 * (768 + 3072 + 1) == 46_092
    assert count(BERT_BASE, SLOT) + 12 * 2 * 768 == 64_524
    assert count(BERT_LARGE, SLOT) + 24 * 2 * 1024 == 172_056
