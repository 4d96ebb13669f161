"""Training configurations on one resident backbone, on tiny models and on a real one."""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import torch

from autopeft.errors import BackboneError, DataError
from autopeft.kernels.forms import using
from autopeft.kernels.lora_linear.operator import lora_linear
from autopeft.training.loop import DivergedError
from autopeft.training.trainer import Trainer, _watched
from autopeft.trial import Fidelity, Measurement
from tests.models import (
    ENCODERS,
    FEW,
    MANY,
    MINILM,
    Bench,
    degrees,
    opinions,
    pairs,
    recipe_of,
    save_tiny,
    sentiment_rows,
    write_rows,
)


@pytest.fixture(scope="module")
def tiny_bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    return Bench(save_tiny(folder / "model"), write_rows(folder / "data.csv", opinions(80)))


@pytest.fixture(scope="module")
def real_bench(tmp_path_factory):
    data = write_rows(tmp_path_factory.mktemp("real") / "data.csv", sentiment_rows(120))
    return Bench(MINILM, data)


@pytest.mark.parametrize("bench", ["tiny_bench", "real_bench"])
def test_the_same_seed_gives_the_same_measurement_to_the_bit(bench, request):
    """With dropout, whose randomness is the seed's too; another seed gives another."""
    bench = request.getfixturevalue(bench)
    first, again, other = (bench.run(MANY, seed=seed, dropout=0.1) for seed in (3, 3, 4))

    assert first == again
    assert first.loss != other.loss


def test_trials_leave_nothing_behind_for_those_after_them(tiny_bench):
    """Whatever has run before, whatever has failed before: a trial gives what it gives alone."""
    configurations = [FEW, MANY, {"bitfit@block": 1}, {"prefix@attention": 4}, {}]
    alone = []
    for sizes in configurations:
        bench = Bench(tiny_bench.where.model, tiny_bench.where.data)
        alone.append(bench.run(sizes, dropout=0.1))

    for index in (2, 0, 4, 1, 3, 0, 2):
        with suppress(ZeroDivisionError), tiny_bench.tuned(MANY, dropout=0.4) as tuned:
            next(tiny_bench.trainer.measure(tuned, 0, Fidelity()))
            raise ZeroDivisionError
        assert tiny_bench.run(configurations[index], dropout=0.1) == alone[index]


def test_the_global_random_state_neither_matters_nor_moves(tiny_bench):
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002  # to show that it plays no part
    first, state = tiny_bench.run(dropout=0.1), torch.get_rng_state()
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002  # as above

    assert tiny_bench.run(dropout=0.1) == first


def test_the_measurement_says_what_was_trained(tiny_bench):
    """48 rows to train on in batches of 16, twice."""
    measured = tiny_bench.run(epochs=2)

    assert measured.steps == 6
    assert measured.parameters == tiny_bench.table(FEW).parameters(tiny_bench.slots)
    assert measured.head_parameters == 2 * 32 + 2


def test_what_falls_away_after_training_is_counted_apart(tiny_bench):
    """The scaffold of p_tuning: a seed of width 32 for each prompt, three layers 32 x 33."""
    measured = tiny_bench.run({"p_tuning@embeddings": 4})

    assert measured.parameters == 4 * 32
    assert measured.scaffold_parameters == 4 * 32 + 3 * 32 * 33
    assert tiny_bench.run().scaffold_parameters == 0


def test_the_score_is_that_of_the_predictions(tiny_bench):
    measured = tiny_bench.run()

    predictions = np.frombuffer(measured.predictions, "<i4")
    truth = tiny_bench.trainer.parts["validation"].labels
    assert len(predictions) == len(truth) == tiny_bench.task.examples[1]
    assert measured.score == np.mean(predictions == truth)


def test_the_operators_that_ran_are_recorded_with_their_forms(tiny_bench):
    with using("naive"):
        defined = tiny_bench.run({"lora@attention.query": 2})

    assert "lora_linear (eager)" in tiny_bench.run({"lora@attention.query": 2}).operators
    assert "lora_linear (naive)" in defined.operators
    assert not any("lora_linear" in name for name in tiny_bench.run({}).operators)


def test_the_first_step_of_a_training_is_looked_on_at():
    """Operators that scoring does not run are recorded too."""
    one, ran = torch.ones(1, 1), set()

    def steps():
        for step in (1, 2):
            with using("eager" if step == 1 else "naive"):
                lora_linear(one, one, None, one, one, 1.0)
            yield step

    assert list(_watched(steps(), ran)) == [1, 2]
    assert ran == {"lora_linear (eager)"}


@pytest.mark.parametrize(("share", "steps"), [(1.0, 6), (0.5, 3), (0.34, 2), (0.001, 1)])
def test_a_share_of_the_fidelity_is_a_share_of_the_steps(tiny_bench, share, steps):
    assert tiny_bench.run(epochs=2, fidelity=Fidelity(share=share)).steps == steps


def test_progress_rises_to_one_and_the_measurement_comes_last(tiny_bench):
    with tiny_bench.tuned(epochs=2) as tuned:
        *progress, measured = tiny_bench.trainer.measure(tuned, 0, Fidelity())

    assert progress == [step / 6 for step in range(1, 7)]
    assert isinstance(measured, Measurement)
    assert measured.seconds > 0


def test_dropout_is_that_of_the_recipe_for_the_time_of_the_trial(tiny_bench):
    model = tiny_bench.trainer._model

    def dropouts():
        return [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]

    before = dropouts()
    with tiny_bench.tuned(dropout=0.37):
        assert set(dropouts()) == {0.37}
    assert dropouts() == before
    assert set(before) == {0.1}


def test_a_configuration_that_is_empty_trains_the_head_alone(tiny_bench):
    measured = tiny_bench.run({}, epochs=2)

    assert (measured.parameters, measured.head_parameters) == (0, 66)
    assert measured.loss != tiny_bench.run({}, epochs=1).loss


@pytest.mark.parametrize("family", ENCODERS)
def test_every_architecture_learns_with_every_method(tmp_path, family):
    """A word decides the label: chance is 0.5, and all methods at once find the word."""
    data = write_rows(tmp_path / "data.csv", opinions(120))
    bench = Bench(save_tiny(tmp_path / "model", family), data)
    rates = dict.fromkeys(("lora", "serial_adapter", "parallel_adapter", "prefix", "bitfit"), 5e-3)

    begun = bench.run(MANY, fidelity=Fidelity(share=0.01), learning_rates=rates)
    measured = bench.run(MANY, epochs=8, learning_rates=rates, head_learning_rate=2e-2)

    assert measured.score >= 0.8
    assert measured.loss < 0.8 * begun.loss


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_pairs_are_learned_from_their_second_text(tmp_path, family):
    """The first text tells nothing."""
    data = write_rows(tmp_path / "data.csv", pairs(120))
    bench = Bench(save_tiny(tmp_path / "model", family), data, pair="reply")

    measured = bench.run(
        {"lora@ffn.input": 4, "lora@attention.value": 4},
        epochs=8,
        learning_rates={"lora": 1e-2},
        head_learning_rate=2e-2,
    )

    assert measured.score >= 0.8


def test_numbers_are_learned_in_their_own_scale(tmp_path):
    """Labels lie around 100: the head learns standard units and predictions are brought back."""
    data = write_rows(tmp_path / "data.csv", degrees(160))
    bench = Bench(save_tiny(tmp_path / "model"), data, kind="regression")
    sizes = {"lora@ffn.input": 4, "lora@attention.value": 4}
    rates = {"learning_rates": {"lora": 1e-2}, "head_learning_rate": 1e-2}

    begun = bench.run(sizes, fidelity=Fidelity(share=0.01), **rates)
    measured = bench.run(sizes, epochs=10, **rates)

    predictions = np.frombuffer(measured.predictions, "<f4")
    truth = bench.trainer.parts["validation"].labels
    assert len(predictions) == len(truth)
    assert measured.head_parameters == 33
    assert measured.score > 0.8
    assert measured.loss < 0.5 * begun.loss
    assert np.mean((predictions - truth) ** 2) < 0.5 * np.var(truth)


def test_a_rate_that_is_much_too_high_diverges_and_spoils_nothing(tiny_bench):
    before = tiny_bench.run()

    with pytest.raises(DivergedError, match="the loss became"):
        tiny_bench.run(epochs=50, learning_rates=dict.fromkeys(recipe_of().learning_rates, 1e18))

    assert tiny_bench.run() == before


def test_the_test_part_is_loaded_only_where_it_is_asked_for(tiny_bench):
    asked = Bench(tiny_bench.where.model, tiny_bench.where.data, test=True)

    assert set(tiny_bench.trainer.parts) == {"train", "validation"}
    assert set(asked.trainer.parts) == {"train", "validation", "test"}


def test_data_that_has_changed_is_refused(tmp_path, tiny_bench):
    other = write_rows(tmp_path / "data.csv", opinions(80, seed=1))

    with pytest.raises(DataError, match="the data has changed since the study began"):
        Trainer.open(
            tiny_bench.task,
            tiny_bench.backbone,
            replace(tiny_bench.where, data=other),
            test=False,
            threads=None,
        )


@pytest.mark.parametrize("family", ["electra", "distilbert"])
def test_a_pooler_that_the_model_has_not_is_refused(tmp_path, tiny_bench, family):
    model = save_tiny(tmp_path, family)

    with pytest.raises(BackboneError, match="has no trained pooler: take the head 'mean' or 'cls'"):
        Bench(model, tiny_bench.where.data, head="pooler")


def test_a_pooler_that_the_model_has_is_used(tiny_bench):
    pooled = Bench(tiny_bench.where.model, tiny_bench.where.data, head="pooler")

    assert pooled.run().loss != tiny_bench.run().loss


def test_a_real_model_learns_a_real_task(real_bench):
    """72 rows, two epochs: chance is the share of the larger class."""
    measured = real_bench.run(
        {"lora@attention.query": 8, "lora@attention.value": 8},
        epochs=2,
        batch_size=8,
        head_learning_rate=1e-2,
    )

    truth = real_bench.trainer.parts["validation"].labels
    assert measured.score > max(np.mean(truth), 1 - np.mean(truth)) + 0.15
    assert measured.parameters == 6 * 2 * 8 * 768


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_texts_longer_than_the_model_takes_are_cut(tmp_path, family):
    """The task allows 128 tokens, the tiny model has 40 positions."""
    rows = [row | {"text": " ".join([row["text"]] * 16)} for row in opinions(40)]
    bench = Bench(save_tiny(tmp_path, family), write_rows(tmp_path / "data.csv", rows))

    assert bench.run().steps == 2
    assert bench.trainer.parts["train"].lengths.max() == (40 if family == "bert" else 39)
