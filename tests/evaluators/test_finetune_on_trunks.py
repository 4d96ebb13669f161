"""Trials of an evaluator that keeps what frozen lower blocks give."""

import pickle
from dataclasses import replace

import pytest

from autopeft.errors import OptionError
from autopeft.evaluators.finetune import FinetuneEvaluator
from autopeft.search_spaces.configuration import Configuration
from autopeft.settings import settings
from autopeft.wiring.sockets import evaluator_of
from tests.models import opinions, recipe_of, save_tiny, study_on, table, trial_of, write_rows


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    data = write_rows(folder / "data.csv", opinions(80))
    return study_on(str(save_tiny(folder / "model")), data, recipe_of(epochs=2))


@pytest.fixture
def trial(study):
    first, *others = table(study.space.slots, study.backbone.blocks, {"lora@ffn.input": 2}).sizes
    upper = Configuration(((0,) * len(first), *others))
    return trial_of(upper, study.recipe)


def outcome(evaluator, trial):
    *_, done = evaluator.evaluate([trial])
    return replace(done.measurement, seconds=0.0)


def test_a_trial_is_the_same_and_it_is_told_from_where_it_starts(study, trial, tmp_path):
    plain = FinetuneEvaluator(study, threads=1)
    kept = FinetuneEvaluator(study, threads=1, trunks=tmp_path / "trunks")

    expected, found = outcome(plain, trial), outcome(kept, trial)

    assert found.loss == pytest.approx(expected.loss, rel=1e-4)  # rounding
    assert replace(found, loss=0) == replace(expected, loss=0)
    assert plain.told == ()
    assert kept.told == ("trials start from cached block 1 of 2",)


def test_the_evaluator_of_another_process_finds_what_is_kept(study, trial, tmp_path):
    kept = evaluator_of(study, 1, 1, cache=tmp_path)
    first = outcome(kept, trial)
    files = sorted((file.name, file.stat().st_ino) for file in (tmp_path / "trunks").iterdir())

    later = pickle.loads(pickle.dumps(kept))

    assert later.told == ()
    assert outcome(later, trial) == first
    assert sorted((f.name, f.stat().st_ino) for f in (tmp_path / "trunks").iterdir()) == files


def test_nothing_is_kept_where_the_setting_is_zero(study, trial, tmp_path):
    evaluator = evaluator_of(study, 1, 1, cache=tmp_path, block_cache=0)

    outcome(evaluator, trial)

    assert list(tmp_path.iterdir()) == []
    assert evaluator.told == ()


def test_the_setting_is_a_number_of_gib_and_not_below_zero(monkeypatch):
    assert settings().block_cache == 4.0
    monkeypatch.setenv("AUTOPEFT_BLOCK_CACHE", "0.5")
    assert settings().block_cache == 0.5
    monkeypatch.setenv("AUTOPEFT_BLOCK_CACHE", "-1")

    with pytest.raises(OptionError, match=r"'block_cache' .* is wrong: Input should be greater"):
        settings()
