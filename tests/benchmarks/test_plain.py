"""The script that autopeft is held against: within the budget whatever is drawn, and sound."""

import json

import pytest

pytest.importorskip("optuna")

pytestmark = pytest.mark.slow  # loads transformers' Trainer and MiniLM


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """MiniLM and a handful of texts."""
    from plain import setup

    folder = tmp_path_factory.mktemp("texts")
    rows = [{"text": "good " * (n % 5 + 1), "label": "yn"[n % 2]} for n in range(8)]
    for part in ("train", "validation", "test"):
        lines = "\n".join(map(json.dumps, rows))
        (folder / f"{part}.jsonl").write_text(lines + "\n", encoding="utf-8")
    return setup(folder, "mean", epochs=1, seed=0)


def trained(model) -> int:
    named = model.named_parameters()
    return sum(p.numel() for name, p in named if p.requires_grad and "classifier" not in name)


@pytest.mark.parametrize("place", ["query and value", "attention", "all"])
def test_the_largest_rank_just_fits_into_the_budget(shared, place):
    import optuna
    from peft import get_peft_model
    from plain import method_of

    most = shared.largest_rank(place)
    drawn = {"method": "lora", "place": place, f"rank {place}": most}
    config = method_of(optuna.trial.FixedTrial(drawn), shared)
    count = trained(get_peft_model(_copy(shared), config))

    assert count <= shared.ceiling < count / most * (most + 1)


def test_the_longest_prefix_just_fits_into_the_budget(shared):
    import optuna
    from peft import get_peft_model
    from plain import method_of

    most = shared.longest_prefix
    config = method_of(optuna.trial.FixedTrial({"method": "prefix", "tokens": most}), shared)
    count = trained(get_peft_model(_copy(shared), config))

    assert count <= shared.ceiling < count / most * (most + 1)


@pytest.mark.parametrize(
    "drawn",
    [
        {"method": "prefix", "tokens": 3, "rate prefix": 1e-2},
        {"method": "ia3", "rate ia3": 1e-2},
    ],
)
def test_padding_changes_no_score(shared, drawn):
    """The mean is of the text's tokens alone, with and without a prefix before them."""
    import optuna
    import torch
    from peft import get_peft_model
    from plain import method_of

    model = get_peft_model(_copy(shared), method_of(optuna.trial.FixedTrial(drawn), shared)).eval()
    rows = [{k: row[k] for k in ("input_ids", "attention_mask")} for row in shared.parts["test"]]
    with torch.no_grad():
        alone = model(**shared.tokenizer.pad(rows[:1], return_tensors="pt"))["logits"]
        padded = model(**shared.tokenizer.pad(rows[:5], return_tensors="pt"))["logits"][:1]

    # single precision, another order of sums
    torch.testing.assert_close(alone, padded, rtol=1e-4, atol=1e-5)


def test_a_trial_is_trained_and_scored_after_every_epoch(shared, tmp_path):
    import optuna
    from plain import USUAL, objective

    study = optuna.create_study(direction="maximize")
    study.enqueue_trial(USUAL)
    study.optimize(lambda trial: objective(trial, shared, str(tmp_path)), n_trials=1)

    assert study.best_params == USUAL
    assert list(study.trials[0].intermediate_values) == [1]
    assert 0.0 <= study.best_value <= 1.0


def _copy(shared):
    import copy

    return copy.deepcopy(shared.model)
