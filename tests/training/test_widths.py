"""The widths of single modules."""

import pytest
from torch import nn
from transformers.pytorch_utils import Conv1D

from autopeft.training.widths import Widths, widths_of


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Linear(3, 5), Widths(3, 5, bias=True)),
        (nn.Linear(3, 5, bias=False), Widths(3, 5)),
        (Conv1D(5, 3), Widths(3, 5, bias=True)),
        (nn.Identity(), None),
        (nn.LayerNorm(3), None),
    ],
    ids=repr,
)
def test_linear_layers_are_measured(module, expected):
    """GPT-2's Conv1D names its outputs first and stores its weight the other way round."""
    assert widths_of(module, "linear") == expected


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.LayerNorm(3), Widths(3, 3, bias=True)),
        (nn.LayerNorm(3, bias=False), Widths(3, 3)),
        (nn.RMSNorm(3), Widths(3, 3)),
        (nn.Identity(), None),
        (nn.Linear(3, 5), None),
    ],
    ids=repr,
)
def test_norms_are_measured_whatever_their_class(module, expected):
    assert widths_of(module, "norm") == expected


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Embedding(9, 4), Widths(4, 4)),
        (nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 6), nn.LayerNorm(6)), Widths(6, 6)),
        (nn.Sequential(nn.Conv2d(3, 7, 2)), Widths(7, 7)),
        (nn.Identity(), None),
    ],
    ids=["table", "projected", "patches", "nothing"],
)
def test_embeddings_have_the_width_of_what_comes_out(module, expected):
    assert widths_of(module, "embeddings") == expected


def test_widths_are_told_in_words():
    assert str(Widths(3, 5, bias=True)) == "3 to 5 with bias"
    assert str(Widths(3, 5)) == "3 to 5 without bias"
