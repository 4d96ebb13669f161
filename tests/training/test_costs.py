"""What configurations cost, held against counts by hand.

Axes: B batch, T tokens, D width, F width inside of the feed-forward, O outputs, I inputs.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from autopeft.training.batches import Batch, Encoded
from autopeft.training.costs import costs_of
from autopeft.training.heads.model import Judged
from autopeft.trial import Fidelity
from tests.kinds import bench_of, continued, save_model, write_json, write_pictures
from tests.models import MANY, Bench, opinions, recipe_of, save_tiny, write_rows

COUNTED = ("score", "params", "flops", "memory")
D, F, BLOCKS, CLASSES = 32, 48, 2, 2
"""The tiny model's widths, and the labels of its data."""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return Bench(save_tiny(folder / "model"), write_rows(folder / "data.csv", opinions(80)))


def costs(bench, sizes, objectives=COUNTED, **recipe):
    with bench.tuned(sizes, **recipe) as tuned:
        return costs_in(bench, tuned, objectives)


def costs_in(bench, tuned, objectives=COUNTED):
    parts = bench.trainer.parts
    return costs_of(
        tuned.model, tuned.injection, parts["train"], parts["validation"], tuned.recipe, objectives
    )


class TestFlops:
    """Two for each term of a product, on one example of median length."""

    @staticmethod
    def tokens(bench):
        lengths = sorted(bench.trainer.parts["validation"].lengths)
        return int(lengths[(len(lengths) - 1) // 2])

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_the_backbone_alone_costs_what_its_matrices_do(self, bench, precision):
        """Query, key, value, output; scores and sums of values; feed-forward; pooler; head."""
        T = self.tokens(bench)
        block = 4 * T * D * D + 2 * T * T * D + 2 * T * D * F

        found = costs(bench, {}, ("flops",), precision=precision)

        assert found == {"flops": 2 * (BLOCKS * block + D * D + D * CLASSES)}

    @pytest.mark.parametrize(
        ("sizes", "terms"),
        [
            ({"lora@attention.query": 2}, lambda T: T * (D * 2 + 2 * D)),
            ({"serial_adapter@ffn.norm": 3}, lambda T: T * (D * 3 + 3 * D)),
            ({"prefix@attention": 4}, lambda T: 2 * T * 4 * D),
            ({"bitfit@block": 1}, lambda _: 0),
            ({"ia3@attention.key": 1}, lambda _: 0),
        ],
    )
    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_a_method_adds_its_own_products(self, bench, sizes, terms, precision):
        """Also where bf16 has attention written out, of which torch sees the products."""
        plain, found = (costs(bench, s, ("flops",), precision=precision) for s in ({}, sizes))

        assert found["flops"] - plain["flops"] == 2 * BLOCKS * terms(self.tokens(bench))

    def test_networks_that_fall_away_cost_nothing_at_inference(self, bench):
        network, plain = (
            costs(bench, {f"{name}@attention": 4}) for name in ("prefix_mlp", "prefix")
        )

        assert network["flops"] == plain["flops"]
        assert network["memory"] > plain["memory"]

    def test_what_falls_away_leaves_the_predictions_as_they_were(self, bench):
        with bench.tuned({"prefix_mlp@attention": 4}) as tuned:
            *_, _ = bench.trainer.measure(tuned, 0, Fidelity())
            before, loss = tuned.predict(bench.trainer.parts["validation"])
            costs_in(bench, tuned)
            after, again = tuned.predict(bench.trainer.parts["validation"])

        assert np.array_equal(before, after)
        assert loss == pytest.approx(again, abs=1e-6)


class OneLayer(nn.Module):
    """Squares of ``x Wᵀ``, their sum the loss. W is trained where it is said to be."""

    def __init__(self, *, frozen_weight: bool) -> None:
        super().__init__()
        self.register_buffer("scale_O", torch.full((5,), 2.0))
        self.weight_OI = nn.Parameter(torch.ones(5, 7), requires_grad=not frozen_weight)
        self.shift_I = nn.Parameter(torch.zeros(7))

    def loss(self, batch: Batch) -> torch.Tensor:
        x_BI = batch.inputs["x"] + self.shift_I
        out_BO = linear(x_BI, self.weight_OI) * self.scale_O
        return (out_BO * out_BO).sum()

    def judge(self, batch: Batch) -> Judged:
        loss = self.loss(batch)
        return Judged(predictions=loss, loss=loss, weight=1, finite=True)

    def head(self) -> dict[str, nn.Parameter]:
        return {"shift": self.shift_I}


class Put:
    """An injection that trains what it is given."""

    def __init__(self, *trained: nn.Parameter) -> None:
        self.trained = trained

    def by_method(self):
        return {"lora": self.trained} if self.trained else {}

    def penalty(self):
        return None

    def state(self):
        return {}

    def load(self, state):
        assert state == {}


class Rows:
    """Rows of seven ones, each row number its length."""

    lengths = np.arange(6)

    def batch(self, rows):
        x_BI = torch.ones(len(rows), 7)
        return Batch(inputs={"x": x_BI}, labels=torch.zeros(len(rows)), rows=np.asarray(rows))


class TestMemory:
    """What is trained, four times over, and what is saved for the backward, a storage once."""

    @pytest.mark.parametrize("batch", [2, 4])
    def test_it_is_what_a_step_keeps_counted_by_hand(self, batch):
        """Trained is a shift of 7; saved is the output of 5, twice the same: once counted.

        The frozen weight, the buffer and the input are kept by nobody for the step's sake.
        """
        model = OneLayer(frozen_weight=True)

        found = self.memory(model, Put(), batch)

        assert found == 4 * (4 * 7 + batch * 5)

    @pytest.mark.parametrize("batch", [2, 4])
    def test_a_trained_weight_keeps_its_input_too(self, batch):
        """And itself four times; that it is saved for the gradient of its input adds nothing."""
        model = OneLayer(frozen_weight=False)

        found = self.memory(model, Put(model.weight_OI), batch)

        assert found == 4 * (4 * (7 + 5 * 7) + batch * (7 + 5))

    @staticmethod
    def memory(model, injection, batch):
        recipe = recipe_of(batch_size=batch)
        return costs_of(model, injection, Rows(), Rows(), recipe, ("memory",))["memory"]

    def test_the_longest_examples_of_a_batch_are_taken(self, bench):
        """The embeddings of more tokens are more to keep, in proportion."""
        short, long = (
            Encoded(ids=((4,) * n,) * 2, types=None, labels=np.zeros(2, dtype=int), padding=0)
            for n in (3, 30)
        )
        both = Encoded(
            ids=short.ids + long.ids, types=None, labels=np.zeros(4, dtype=int), padding=0
        )
        with bench.tuned({"lora@attention.query": 2}, batch_size=2) as tuned:
            found = [
                costs_of(tuned.model, tuned.injection, part, part, tuned.recipe, ("memory",))
                for part in (short, long, both)
            ]

        assert found[0]["memory"] < found[1]["memory"] == found[2]["memory"]

    def test_dropout_keeps_its_masks(self, bench):
        none, some = (costs(bench, MANY, ("memory",), dropout=p)["memory"] for p in (0.0, 0.1))

        assert some > none


def test_only_what_is_asked_for_is_measured(bench):
    assert costs(bench, MANY, ("score", "params")) == {}
    assert list(costs(bench, MANY, ("score", "latency"))) == ["latency"]


def test_what_is_counted_comes_out_equal_every_time(bench):
    """Also before and after training: it follows from the configuration alone."""
    with bench.tuned(MANY, dropout=0.1) as tuned:
        before = costs_in(bench, tuned)
        *_, _ = bench.trainer.measure(tuned, 3, Fidelity())
        after = costs_in(bench, tuned)

    assert before == after == costs(bench, MANY, dropout=0.1)


def test_counting_leaves_no_gradient_and_no_random_number_behind(bench):
    with bench.tuned(MANY, dropout=0.1) as tuned:
        state = torch.get_rng_state()
        values = {name: value.clone() for name, value in tuned.injection.state().items()}
        costs_in(bench, tuned, ("flops", "memory", "latency"))

        assert torch.equal(state, torch.get_rng_state())
        assert all(p.grad is None for p in tuned.model.parameters())
        assert all(torch.equal(values[n], v) for n, v in tuned.injection.state().items())


def test_the_latency_is_a_positive_number_of_seconds(bench):
    """It is noisy, so no more is promised than its order: this model takes milliseconds."""
    assert 0 < costs(bench, MANY, ("latency",))["latency"] < 1


@pytest.mark.parametrize(
    ("kind", "family", "task"),
    [
        ("causal_lm", "llama", {"loss": "all"}),
        ("seq2seq", "t5", {}),
        ("image", "vit", {"head": "cls"}),
    ],
)
def test_every_kind_of_task_can_be_counted(tmp_path, kind, family, task):
    data = (
        write_pictures(tmp_path / "data", 40)
        if kind == "image"
        else write_json(tmp_path / "data.jsonl", continued(40))
    )
    bench = bench_of(save_model(tmp_path / "m", kind, family), data, kind, **task)
    small, large = ({s.name: n for s in bench.slots if s.method == "lora"} for n in (1, 2))

    found, more = costs(bench, small), costs(bench, large)

    assert 0 < found["flops"] < more["flops"]
    assert 0 < found["memory"] < more["memory"]
