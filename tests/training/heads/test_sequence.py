"""Heads against sums by hand, on a model that returns what it is given."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from autopeft.study import Columns, Task
from autopeft.training.batches import Batch, Encoded
from autopeft.training.heads.sequence import SequenceModel
from tests.models import padded_inputs, tiny

HIDDEN = torch.tensor(
    [[[1.0, 2.0], [3.0, 4.0], [50.0, 60.0]], [[5.0, 6.0], [7.0, 8.0], [9.0, 1.0]]]
)
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])


class Echo(nn.Module):
    """A backbone whose hidden states are its input."""

    config = SimpleNamespace(hidden_size=2)

    def forward(self, hidden, attention_mask):
        return SimpleNamespace(last_hidden_state=hidden, pooler_output=hidden.sum(1))


def task(head="mean", kind="classification"):
    return Task(
        kind=kind,
        metric="accuracy" if kind == "classification" else "spearman",
        columns=Columns(text="text", label="label"),
        labels=("a", "b", "c") if kind == "classification" else (),
        head=head,
        max_length=32,
        digest="",
        split_seed=0,
        examples=(2, 2, 2),
    )


def part(*labels):
    return Encoded(ids=((1,),) * len(labels), types=None, labels=np.array(labels), padding=0)


def model(head="mean", kind="classification", labels=(0, 1, 2), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return SequenceModel(Echo(), task(head, kind), part(*labels), generator)


@pytest.mark.parametrize(
    ("head", "vectors"),
    [
        ("mean", [[2.0, 3.0], [7.0, 5.0]]),
        ("cls", [[1.0, 2.0], [5.0, 6.0]]),
        ("pooler", [[54.0, 66.0], [21.0, 15.0]]),
    ],
)
def test_each_head_scores_its_own_vector(head, vectors):
    """The mean leaves padding out; the pooler is the backbone's own."""
    tasked = model(head)
    with torch.no_grad():
        tasked.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]))
        tasked.bias.copy_(torch.tensor([0.0, 0.5, 1.0]))

    scores = tasked({"hidden": HIDDEN, "attention_mask": MASK})

    assert scores.tolist() == [[x, y + 0.5, x - y + 1] for x, y in vectors]


def test_heads_on_a_real_backbone_take_the_same_vectors(tmp_path):
    small, inputs = tiny(tmp_path, "bert"), padded_inputs()
    with torch.no_grad():
        out = small.model(**inputs)
        expected = {
            "mean": torch.stack(
                [out.last_hidden_state[i, :n].mean(0) for i, n in enumerate((9, 6, 3))]
            ),
            "cls": out.last_hidden_state[:, 0],
            "pooler": out.pooler_output,
        }
        for head, vectors in expected.items():
            tasked = SequenceModel(
                small.model, task(head), part(0, 1), torch.Generator().manual_seed(0)
            )
            found = tasked(inputs)
            torch.testing.assert_close(found, vectors @ tasked.weight.T, rtol=1e-5, atol=1e-6)


def test_the_head_stays_in_single_precision_under_autocast():
    tasked = model("mean")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = tasked({"hidden": HIDDEN.bfloat16(), "attention_mask": MASK})

    assert scores.dtype is torch.float32


def test_the_seed_decides_the_head():
    assert torch.equal(model(seed=1).weight, model(seed=1).weight)
    assert not torch.equal(model(seed=1).weight, model(seed=2).weight)
    assert model().weight.shape == (3, 2)
    assert model(kind="regression").weight.shape == (1, 2)


def test_the_loss_of_classes_is_their_cross_entropy():
    scores = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])

    found = model().loss_of(scores, torch.tensor([2, 1]))

    terms = [-np.log(np.exp(2) / np.exp([0, 1, 2]).sum()), -np.log(1 / np.exp([3, 0, 0]).sum())]
    assert found.item() == pytest.approx(np.mean(terms))


def test_the_loss_of_numbers_is_their_squared_error_in_standard_units():
    """Labels 10, 20, 30: mean 20, spread 8.165."""
    tasked = model(kind="regression", labels=(10.0, 20.0, 30.0))

    found = tasked.loss_of(torch.tensor([[1.0], [0.0]]), torch.tensor([20.0, 30.0]))

    spread = np.std([10, 20, 30])
    assert found.item() == pytest.approx((1**2 + (10 / spread) ** 2) / 2)


@pytest.mark.parametrize("labels", [(10.0, 20.0, 30.0), (-1e-3, 5e-4, 0.0), (5.0, 5.0, 5.0)])
def test_a_perfect_score_becomes_the_label_again(labels):
    """Standardised and back; constant labels have no spread to divide by."""
    tasked = model(kind="regression", labels=labels)
    scores = (torch.tensor(labels)[:, None] - tasked.mean) / tasked.spread

    found = tasked.predictions(scores)

    assert found.dtype is torch.float32
    torch.testing.assert_close(found, torch.tensor(labels), rtol=1e-5, atol=1e-9)
    assert tasked.loss_of(scores, torch.tensor(labels)).item() == pytest.approx(0, abs=1e-9)


def test_the_predicted_class_is_the_one_with_the_highest_score():
    found = model().predictions(torch.tensor([[0.1, 0.3, 0.2], [5.0, -1.0, 4.0]]))

    assert found.tolist() == [1, 0]
    assert found.dtype is torch.int32


def test_the_loss_of_a_batch_is_that_of_its_scores():
    inputs, labels = {"hidden": HIDDEN, "attention_mask": MASK}, torch.tensor([0, 2])
    tasked = model()

    found = tasked.loss(Batch(inputs=inputs, labels=labels, rows=np.arange(2)))

    assert found.item() == tasked.loss_of(tasked(inputs), labels).item()
