"""SSF by hand, and merged with what lies inside it."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from autopeft.methods.ssf import Modulated, _one_of
from tests.builders import BERT_BASE
from tests.methods.filling import count, filled, hidden, shake
from tests.models import tiny


def modulated(base, scale, shift=None, start=0):
    shift = None if shift is None else nn.Parameter(torch.tensor(shift))
    return Modulated(base, nn.Parameter(torch.tensor(scale)), shift, start)


def test_what_a_layer_returns_is_scaled_and_shifted():
    layer = modulated(nn.Identity(), [2.0, -1.0], [0.5, 4.0])

    assert layer(torch.tensor([3.0, 1.0])).tolist() == [6.5, 3.0]


def test_of_a_fused_matrix_only_the_slice_changes():
    layer = modulated(nn.Identity(), [2.0], [10.0], start=1)

    assert layer(torch.ones(4)).tolist() == [1.0, 12.0, 1.0, 1.0]


def test_without_a_bias_there_is_no_shift_because_it_could_not_be_merged():
    sites = tuple(replace(site, bias=False) for site in BERT_BASE.sites)

    assert count(BERT_BASE, {"ssf@ffn.input": 1}) == 12 * 2 * 3072
    assert count(replace(BERT_BASE, sites=sites), {"ssf@ffn.input": 1}) == 12 * 3072


def test_after_every_operation_it_costs_what_the_paper_counts():
    """ViT-B/16: with patches, last norm and CIFAR-100's head the published 0.28M."""
    places = (
        *("attention.norm", "attention.query", "attention.key", "attention.value"),
        *("attention.output", "ffn.norm", "ffn.input", "ffn.output"),
    )
    blocks = count(BERT_BASE, {f"ssf@{place}": 1 for place in places})

    assert blocks == 12 * 2 * (7 * 768 + 3072) == 202_752
    assert blocks + 2 * 2 * 768 + 769 * 100 == 282_724


@pytest.mark.parametrize(
    ("norm", "one"),
    [(nn.LayerNorm(4), 0.0), (LlamaRMSNorm(4), 0.0), (GemmaRMSNorm(4), 1.0)],
    ids=["LayerNorm", "RMSNorm", "Gemma's"],
)
def test_a_norm_that_adds_one_to_its_weight_is_told_from_others(norm, one):
    assert _one_of(norm) == one


INSIDE = {"lora@attention.value": 2, "adapter_bias@ffn.output": 1}
AROUND = {
    "ssf@attention.value": 1,
    "ia3@attention.value": 1,
    "ssf@ffn.output": 1,
    "ia3@ffn.output": 1,
    "ssf@ffn.norm": 1,
}


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama", "gemma2"])
def test_what_lies_inside_is_merged_first(tmp_path, family):
    """LoRA and AdapterBias add to the matrix that is scaled; (IA)³ rescales what comes of it."""
    small = tiny(tmp_path, family)
    model = deepcopy(small.model)
    with filled(small, INSIDE | AROUND, model=model) as injection:
        shake(injection)
        expected = hidden(small, model)
        injection.merge()

    torch.testing.assert_close(hidden(small, model), expected, rtol=1e-4, atol=1e-4)
    assert (expected - hidden(small)).abs().max() > 0.1


@pytest.mark.parametrize("selective", ["bitfit@block", "bitfit@attention.value"])
def test_biases_that_are_trained_in_place_are_scaled_when_merged(tmp_path, selective):
    small = tiny(tmp_path, "bert")
    model = deepcopy(small.model)
    with filled(small, {"ssf@attention.value": 1, selective: 1}, model=model) as injection:
        shake(injection)
        expected = hidden(small, model)
        injection.merge()

    torch.testing.assert_close(hidden(small, model), expected, rtol=1e-4, atol=1e-4)
