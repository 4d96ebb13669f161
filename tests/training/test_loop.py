import itertools
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from autopeft.methods.inject import injected
from autopeft.search_spaces.catalog import slots_of
from autopeft.tasks.parts import Texts
from autopeft.training.batches import Encoded, encode
from autopeft.training.heads.sequence import SequenceModel
from autopeft.training.loop import DivergedError, dropout, fit, predict, steps_of
from tests.models import (
    SCALES,
    opinions,
    padded_inputs,
    recipe_of,
    table,
    task_of,
    tiny,
    tokenizer_of,
    write_rows,
)

TEXTS = opinions(60)


def part(rows=TEXTS):
    labels = np.array([row["label"] == "good" for row in rows], dtype=np.int64)
    texts = tuple(row["text"] for row in rows)
    return encode(tokenizer_of("bert"), Texts(texts=texts, pairs=None, labels=labels), 32)


class Slope(nn.Module):
    """A task whose gradients are always 1: each step of Adam is as long as its learning rate."""

    def __init__(self, slope=1.0):
        super().__init__()
        self.own = nn.Parameter(torch.zeros(1))
        self.inner = nn.ParameterDict({"lora": torch.zeros(1), "bitfit": torch.zeros(1)})
        self.slope = slope

    def head(self):
        return {"weight": self.own}

    def trained(self):
        return {name: [parameter] for name, parameter in self.inner.items()}

    def loss(self, _batch):
        return self.slope * (self.own + self.inner["lora"] + self.inner["bitfit"]).sum()


def rates(recipe, *, examples=40, steps=10):
    """Return how far the head, LoRA and BitFit move in each step."""
    model = Slope()
    data = Encoded(ids=((1,),) * examples, types=None, labels=np.zeros(examples), padding=0)
    places = [[0.0, 0.0, 0.0]]
    moving = (model.own, model.inner["lora"], model.inner["bitfit"])
    done = fit(model, data, recipe, model.trained(), steps=steps, rng=np.random.default_rng(0))
    places.extend([parameter.item() for parameter in moving] for _ in done)
    return -np.diff(places, axis=0)


RATES = {"learning_rates": {"lora": 0.1, "bitfit": 0.01}, "head_learning_rate": 0.001}


def test_rates_rise_over_the_warm_up_and_fall_linearly_to_zero():
    """Ten steps, two of them warm-up."""
    recipe = recipe_of(**RATES, epochs=2, batch_size=8, warmup=0.2)

    head, lora, bitfit = rates(recipe).T

    factors = [0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    np.testing.assert_allclose(lora, np.multiply(factors, 0.1), rtol=1e-4)
    np.testing.assert_allclose(bitfit, np.multiply(factors, 0.01), rtol=1e-4)
    np.testing.assert_allclose(head, np.multiply(factors, 0.001), rtol=1e-4)


def test_without_warm_up_the_first_step_has_the_full_rate():
    recipe = recipe_of(**RATES, epochs=1, batch_size=8, warmup=0.0)

    factors = rates(recipe, steps=5)[:, 1] / 0.1

    np.testing.assert_allclose(factors, [1, 1, 3 / 4, 2 / 4, 1 / 4], rtol=1e-4)


def test_fewer_steps_are_the_first_ones_of_the_whole_recipe():
    """So that a trial of low fidelity is the beginning of the trial, not a shorter one."""
    recipe = recipe_of(**RATES, epochs=2, batch_size=8)

    np.testing.assert_array_equal(rates(recipe, steps=4), rates(recipe)[:4])


def test_a_recipe_of_one_step_trains_at_its_full_rate():
    recipe = recipe_of(**RATES, epochs=1, batch_size=64)

    np.testing.assert_allclose(rates(recipe, steps=1)[0], [0.001, 0.1, 0.01], rtol=1e-4)


def test_large_gradients_are_clipped_to_a_norm_of_one():
    """As seen by the optimiser."""
    model, seen = Slope(1e6), []
    data = Encoded(ids=((1,),) * 8, types=None, labels=np.zeros(8), padding=0)
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad))
    recipe = recipe_of(**RATES)

    for _ in fit(model, data, recipe, model.trained(), steps=1, rng=np.random.default_rng(0)):
        pass

    assert torch.cat(seen).norm().item() == pytest.approx(1)


@pytest.mark.parametrize(("examples", "batch", "epochs", "steps"), [(10, 5, 1, 2), (11, 5, 3, 9)])
def test_an_incomplete_batch_is_a_step_too(examples, batch, epochs, steps):
    assert steps_of(examples, recipe_of(batch_size=batch, epochs=epochs)) == steps


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return tiny(tmp_path_factory.mktemp("bert"), "bert")


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    return task_of(write_rows(tmp_path_factory.mktemp("data") / "data.csv", TEXTS))


def trained(small, task, recipe, steps, seed=0):
    """Train LoRA and return the losses before and after, and the predictions after."""
    data = part()
    slots = slots_of(small.backbone)
    lora = table(slots, 2, {"lora@attention.query": 4, "lora@ffn.input": 4})
    generator = torch.Generator().manual_seed(seed)
    with injected(small.model, small.backbone, slots, lora, SCALES, generator) as injection:
        model = SequenceModel(small.model, task, data, generator)
        before = predict(model, data, recipe)
        rng = np.random.default_rng(seed)
        for _ in fit(model, data, recipe, injection.by_method(), steps=steps, rng=rng):
            pass
        return before, predict(model, data, recipe)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_lowers_the_loss(small, task, precision):
    recipe = recipe_of(
        learning_rates={"lora": 1e-2}, head_learning_rate=3e-2, epochs=10, precision=precision
    )

    (_, before), (predictions, after) = trained(small, task, recipe, steps=40)

    assert after < 0.7 * before
    assert np.mean(predictions == part().labels) > 0.85


def test_half_precision_predicts_about_what_single_precision_does(small, task):
    """A few steps in, before small differences have grown."""
    losses = [
        trained(small, task, recipe_of(precision=precision), steps=3)[1][1]
        for precision in ("fp32", "bf16")
    ]

    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_predictions_come_in_the_order_of_the_part(small, task):
    """They are made in the order of length."""
    data, recipe = part(), recipe_of()
    numbers = replace(task, kind="regression", labels=())
    model = SequenceModel(small.model, numbers, data, torch.Generator().manual_seed(0))

    predictions, loss = predict(model, data, recipe)

    alone = [predict(model, part([row]), recipe) for row in TEXTS]
    np.testing.assert_allclose(predictions, [value[0] for value, _ in alone], rtol=1e-4)
    assert len(set(predictions.tolist())) > 50, "there is something to mix up"
    assert loss == pytest.approx(np.mean([loss for _, loss in alone]), rel=1e-5)


def test_a_rate_that_is_much_too_high_diverges(small, task):
    recipe = recipe_of(
        learning_rates={"lora": 1e18}, head_learning_rate=1e18, epochs=100, warmup=0.0
    )

    with pytest.raises(DivergedError, match=r"the loss became (nan|inf) at step \d+ of 100"):
        trained(small, task, recipe, steps=100)


def test_scores_that_are_no_numbers_are_not_predictions(small, task):
    model = SequenceModel(small.model, task, part(), torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.weight[0, 0] = torch.inf

    with pytest.raises(DivergedError, match="the scores of the trained model are not finite"):
        predict(model, part(), recipe_of())


class Functional(nn.Module):
    """A module as newer models write them: the probability is a number, used by a function."""

    def __init__(self):
        super().__init__()
        self.attention_dropout = 0.3
        self.dropout_prob = 0
        self.layerdrop = 0.2
        self.drop_path = nn.Dropout(0.5)
        self.use_dropout = True
        self.scaling = 0.125


def test_dropout_reaches_layers_and_numbers_and_is_as_before_afterwards():
    """What drops whole layers is switched off; what is no probability stays as it is."""
    module = Functional()
    before = {name: value for name, value in vars(module).items() if not name.startswith("_")}

    with dropout(module, 0.1):
        assert (module.attention_dropout, module.dropout_prob, module.drop_path.p) == (0.1,) * 3
        assert (module.layerdrop, module.use_dropout, module.scaling) == (0.0, True, 0.125)

    assert {n: v for n, v in vars(module).items() if not n.startswith("_")} == before
    assert module.drop_path.p == 0.5


@pytest.mark.parametrize("family", ["bert", "llama", "bart", "vit", "t5"])
def test_without_dropout_training_mode_changes_nothing(tmp_path, family):
    small, inputs = tiny(tmp_path, family), padded_inputs(family)
    with torch.no_grad():
        expected = small.model.eval()(**inputs).last_hidden_state
        with dropout(small.model.train(), 0.0):
            plain = small.model(**inputs).last_hidden_state
        with dropout(small.model, 0.5):
            dropped = small.model(**inputs).last_hidden_state

    torch.testing.assert_close(plain, expected)
    assert not torch.allclose(dropped, expected)


def test_a_penalty_is_added_to_the_loss_and_methods_are_told_each_step():
    """A penalty on the head alone pulls it the other way."""
    model, told = Slope(), []
    data = Encoded(ids=((1,),) * 24, types=None, labels=np.zeros(24), padding=0)
    steps = fit(
        model, data, recipe_of(**RATES, batch_size=8), model.trained(),
        steps=2, rng=np.random.default_rng(0), penalty=lambda: -3 * model.own.sum(),
        stepped=lambda step, whole: told.append((step, whole)),
    )  # fmt: skip

    assert list(steps) == [1, 2]
    assert told == [(1, 3), (2, 3)]
    assert model.own.item() > 0 > model.inner["lora"].item()


def test_where_nothing_is_trained_there_is_no_step():
    model = SimpleNamespace(head=dict)
    steps = fit(model, part(), recipe_of(), {}, steps=3, rng=np.random.default_rng(0))

    assert list(steps) == []


def test_the_caller_decides_when_training_goes_on(small, task):
    """Training is a generator: nothing happens between two steps unless it is asked for."""
    data = part()
    model = SequenceModel(small.model, task, data, torch.Generator().manual_seed(0))
    small.model.requires_grad_(requires_grad=False)
    steps = fit(model, data, recipe_of(), {}, steps=3, rng=np.random.default_rng(0))

    assert list(itertools.islice(steps, 2)) == [1, 2]
    held = model.weight.detach().clone()
    assert list(steps) == [3]
    assert not torch.equal(model.weight, held)
