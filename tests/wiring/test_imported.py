"""Published results as a study of the store."""

import json
from dataclasses import replace

import pytest

from autopeft.budget import Budget
from autopeft.errors import BackboneError, DataError
from autopeft.search_spaces.written.reading import read_space
from autopeft.storage.memory import MemoryStore
from autopeft.training.shape import read_shape
from autopeft.wiring.earlier import earlier_points, named_studies
from autopeft.wiring.imported import add_results, find_results, result_files
from tests.builders import a_study
from tests.wiring.published import LLAMA, PUBLISHED, REAL, a_document, write


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    config = tmp_path_factory.mktemp("llama") / "config.json"
    config.write_text(json.dumps(LLAMA), "utf-8")
    return str(config)


@pytest.fixture
def published(tmp_path):
    """Write one file for each of the published results."""
    return [write(tmp_path, a_document(name)) for name in PUBLISHED]


def test_results_become_complete_trials_of_a_study(published, llama):
    store = MemoryStore()

    done = find_results(published, llama)
    added = add_results(done, store)

    trials = store.trials(done.study.id)
    assert store.study(done.study.id) == done.study
    assert added == len(trials) == 4
    assert all(trial.complete for trial in trials)
    found = {t.proposal.label: (t.score, t.measurement.parameters) for t in trials}
    assert found["lora/llama-3.2-3B-rank32"] == (0.482, 9_175_040)
    assert found["ia3/llama-3.2-3B-default"] == (0.345, 286_720)
    assert [dict(t.proposal.recipe.learning_rates) for t in trials] == [
        {"ia3": 1e-4}, {"layer_norm": 1e-4}, {"lora": 1e-4}, {"prefix": 1e-3},
    ]  # fmt: skip
    for trial in trials:
        counted = trial.proposal.configuration.parameters(done.study.space.slots)
        assert counted == trial.measurement.parameters


def test_the_study_says_where_it_comes_from(published, llama):
    study = find_results(published, llama).study

    assert study.backbone.name == study.where.model == "meta-llama/Llama-3.2-3B"
    assert (study.strategy, study.space.name) == ("imported", "peft-comparison")
    assert (study.task.kind, study.task.metric) == ("causal_lm", "exact_match")
    assert study.ceiling == 11_468_800


def test_what_is_left_out_is_listed_with_its_reason(published, llama):
    done = find_results([*published, REAL], llama)

    assert dict(done.skipped) == {
        "full-finetuning--llama-3.2-3B-lr_0.00001.json": "it trains all weights of the model",
        REAL.name: "it was trained for 1,000 steps of 4 examples, and most for 5,000 of 4",
    }


def test_the_real_file_alone_makes_a_study(llama):
    store = MemoryStore()

    done = find_results([REAL], llama)
    add_results(done, store)

    [trial] = store.trials(done.study.id)
    assert trial.measurement.parameters == 18_350_080
    assert dict(trial.proposal.recipe.scales) == {"lora": 2.0}


def test_importing_again_adds_nothing(published, llama):
    store = MemoryStore()
    first = find_results(published, llama)
    again = find_results(published, llama)

    assert again.study.id == first.study.id
    assert (add_results(first, store), add_results(again, store)) == (4, 0)
    assert len(store.trials(first.study.id)) == 4


def test_equal_tables_with_equal_rates_are_one_trial(published, llama, tmp_path):
    other = a_document(use_rslora=True)
    other["run_info"]["experiment_name"] = "lora/again"
    file = write(tmp_path, other)

    done = find_results([*published, file], llama)

    assert dict(done.skipped)["lora--again.json"] == (
        "it has the same table and rate as lora/llama-3.2-3B-rank32, and no more"
    )


def test_a_search_of_the_same_model_can_begin_with_the_best(published, llama):
    """At 0.1% of the model the share of the budget is kept: LoRA used four fifths of the most."""
    store = MemoryStore()
    read = find_results(published, llama)
    add_results(read, store)
    imported = read.study
    backbone, budget = read_shape(llama), Budget.parse("0.1%")
    study = a_study(
        task=replace(imported.task, digest="f" * 64), backbone=backbone, budget=budget,
        space=read_space("lora").on(backbone), earlier=(imported.id,),
    )  # fmt: skip
    assert named_studies(study, [imported.id], store) == (imported.id,)

    [point] = earlier_points(study, store)  # nothing else than LoRA is in this space

    query, value = (
        [row[column] for row in point.configuration.sizes]
        for column, slot in enumerate(study.space.slots)
        if slot.name in {"lora@attention.query", "lora@attention.value"}
    )
    assert set(query) == set(value) == {8}
    assert dict(point.learning_rates) == {"lora": 1e-4}


def test_another_model_is_refused(published, tmp_path):
    small = tmp_path / "config.json"
    small.write_text(json.dumps(LLAMA | {"num_hidden_layers": 2}), "utf-8")

    with pytest.raises(
        BackboneError, match=r"with 3,212,749,824 parameters, and .* has [0-9,]+: g"
    ):
        find_results(published, str(small))


def test_a_model_that_is_not_at_hand_has_to_be_named(tmp_path):
    document = a_document()
    document["run_info"]["train_config"]["model_id"] = "nobody/has-this"

    message = "of 'nobody/has-this', whose shape is not at hand: give --model with its config.json"
    with pytest.raises(BackboneError, match=message):
        find_results([write(tmp_path, document)], None)


def test_a_model_in_a_folder_of_its_name_need_not_be_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meta-llama/Llama-3.2-3B").mkdir(parents=True)
    (tmp_path / "meta-llama/Llama-3.2-3B/config.json").write_text(json.dumps(LLAMA), "utf-8")

    assert len(find_results([REAL], None).kept) == 1


def test_results_of_several_models_are_refused(published, llama, tmp_path):
    other = a_document()
    other["run_info"]["train_config"]["model_id"] = "gpt2"
    file = write(tmp_path, other, "other")

    with pytest.raises(
        DataError, match=r"of several models, gpt2, meta-llama/Llama-3.2-3B: import"
    ):
        find_results([*published, file], llama)


def test_results_of_which_none_can_be_expressed_are_refused(llama, tmp_path):
    file = write(tmp_path, a_document("full-finetuning/llama-3.2-3B-lr_0.00001"))
    with pytest.raises(DataError, match=r"none of the results can be expressed \(full-finetuning"):
        find_results([file], llama)

    failed = a_document()
    failed["train_info"]["status"] = "cancelled"
    file = write(tmp_path, failed)
    with pytest.raises(
        DataError, match=r"none of the results can be used \(lora--llama.*cancelled"
    ):
        find_results([file], llama)


def test_a_folder_stands_for_its_files(tmp_path, published):
    assert set(result_files([tmp_path])) == set(published)
    assert result_files([published[0], tmp_path])[0] == published[0]


@pytest.mark.parametrize("name", ["missing.json", "empty"])
def test_where_there_is_nothing_it_is_said(tmp_path, name):
    (tmp_path / "empty").mkdir()

    with pytest.raises(DataError, match=r"there are no results at .*: give files of peft's method"):
        result_files([tmp_path / name])
