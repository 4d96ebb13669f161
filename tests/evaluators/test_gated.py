"""Structures that are searched once, kept, and read again."""

import json
from dataclasses import replace

import pytest

from autopeft.budget import Budget
from autopeft.errors import OptionError, OutputError, SpaceError
from autopeft.evaluators.finetune import FinetuneEvaluator
from autopeft.evaluators.gated import GatedStructures
from autopeft.search_spaces.written.reading import read_space
from autopeft.strategies.bipeft import BipeftStrategy
from autopeft.strategies.s3pet import S3petStrategy
from autopeft.supernet.gating.structures import equal_chances
from autopeft.trial import Trial
from tests.models import (
    MINILM,
    opinions,
    recipe_of,
    save_tiny,
    sentiment_rows,
    study_on,
    write_rows,
)

STEPS = {"steps": "3"}
OPTIONS = {"s3pet": STEPS, "bipeft": {"steps": "6", "prune_steps": "2"}}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    data = write_rows(folder / "data.csv", opinions(80))
    return study_on(str(save_tiny(folder / "model")), data, recipe_of())


def study_of(base, strategy="s3pet", space="s3pet", budget="300", **changes):
    return replace(
        base,
        space=read_space(space).on(base.backbone),
        strategy=strategy,
        budget=Budget.parse(budget),
        recipe=replace(base.recipe, learning_rates={}),
        **({"options": OPTIONS[strategy]} | changes),
    )


@pytest.fixture(scope="module")
def trainer(base):
    return FinetuneEvaluator(base, threads=1).resident


def forbidden():
    raise AssertionError("nothing should be trained")


def prepared(study, folder, trainer):
    structures = GatedStructures(study, folder, threads=1, trainer=trainer)
    assert "not run yet" in structures.problem
    progress = list(structures.prepare())
    return structures, progress


@pytest.mark.parametrize("strategy", ["s3pet", "bipeft"])
def test_a_search_yields_progress_and_ends_with_chances_and_a_structure(
    base, trainer, tmp_path, strategy
):
    study = study_of(base, strategy)

    structures, progress = prepared(study, tmp_path, trainer)

    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    assert structures.problem == ""
    [found] = structures.found()
    assert 0 < found.parameters(study.space.slots) <= 300
    assert [len(row) for row in structures.chances()] == [2] * len(study.space.genes)
    assert structures.chances() != equal_chances(study.space)
    assert structures.moved > 0


@pytest.mark.parametrize("strategy", ["s3pet", "bipeft"])
def test_what_was_found_is_read_again_and_nothing_is_trained(base, trainer, tmp_path, strategy):
    study = study_of(base, strategy)
    first, _ = prepared(study, tmp_path, trainer)

    again, progress = prepared(study, tmp_path, forbidden)

    assert progress == [1.0]
    assert (again.chances(), again.found()) == (first.chances(), first.found())
    assert (again.expected, again.moved, again.problem) == (first.expected, first.moved, "")


def test_preparing_twice_searches_once(base, trainer, tmp_path):
    structures, _ = prepared(study_of(base), tmp_path, trainer)

    assert list(structures.prepare()) == []


def test_what_makes_no_difference_finds_the_same_file(base, tmp_path):
    study = study_of(base)

    for change in ({"finals": 9}, {"rungs": (0.5, 1.0)}, {"objectives": ("score", "params")}):
        assert GatedStructures(replace(study, **change), tmp_path).file == (
            GatedStructures(study, tmp_path).file
        )


def test_what_makes_a_difference_is_another_file(base, tmp_path):
    study = study_of(base)
    others = [
        study_of(base, "bipeft"),
        study_of(base, budget="301"),
        study_of(base, space="s3pet-lora"),
        replace(study, seed=1),
        replace(study, recipe=replace(study.recipe, epochs=7)),
        replace(study, task=replace(study.task, digest="f" * 64)),
        replace(study, backbone=replace(study.backbone, digest="f" * 64)),
        replace(study, options={"steps": "3", "order": "2"}),
    ]

    files = {GatedStructures(other, tmp_path).file for other in (study, *others)}

    assert len(files) == 9


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"chances": [[1]]}', '{"chances": 3, "found": []}']
)
def test_a_file_that_cannot_be_read_is_as_good_as_none(base, trainer, tmp_path, content):
    study = study_of(base)
    GatedStructures(study, tmp_path).file.write_text(content)

    structures, progress = prepared(study, tmp_path, trainer)

    assert len(progress) > 1
    assert structures.found()
    assert json.loads(structures.file.read_text("utf-8"))["found"]


def test_a_search_that_was_killed_begins_again_and_finds_the_same(base, trainer, tmp_path):
    study = study_of(base)
    whole, _ = prepared(study, tmp_path / "whole", trainer)
    killed = GatedStructures(study, tmp_path / "killed", trainer=trainer)
    steps = killed.prepare()
    next(steps)
    steps.close()
    assert not killed.file.exists()

    again, _ = prepared(study, tmp_path / "killed", trainer)

    assert (again.chances(), again.found()) == (whole.chances(), whole.found())


def test_a_search_leaves_nothing_behind_in_the_resident_model(base, trainer, tmp_path):
    before = {name: value.clone() for name, value in trainer()._whole.state_dict().items()}

    prepared(study_of(base), tmp_path, trainer)

    after = trainer()._whole.state_dict()
    assert after.keys() == before.keys()
    assert all(value.equal(before[name]) for name, value in after.items())


@pytest.mark.parametrize("strategy", ["s3pet", "bipeft"])
def test_a_search_that_diverges_is_a_problem_and_nothing_is_kept(base, trainer, tmp_path, strategy):
    study = study_of(base, strategy)
    study = replace(study, recipe=replace(study.recipe, head_learning_rate=3e37))

    structures, _ = prepared(study, tmp_path, trainer)

    assert structures.problem.startswith("the search for structures diverged: the loss of the")
    assert structures.found() == ()
    assert structures.chances() == equal_chances(study.space)
    assert list(tmp_path.iterdir()) == []
    assert list(structures.prepare()) == []


def test_the_control_searches_nothing_and_has_no_problem(base, tmp_path):
    study = study_of(base, options={"structure": "random"})

    structures, progress = prepared(study, tmp_path, forbidden)

    assert (progress, structures.problem, structures.found()) == ([1.0], "", ())


def test_a_space_that_cannot_be_gated_is_refused_at_once(base, tmp_path):
    with pytest.raises(SpaceError, match="the strategy s3pet cannot search the space 'noah'"):
        GatedStructures(study_of(base, space="noah"), tmp_path)


def test_options_are_checked_at_once(base, tmp_path):
    with pytest.raises(OptionError, match="the option order of s3pet must be 1 or 2, not 7"):
        GatedStructures(study_of(base, options={"order": "7"}), tmp_path)


def test_a_folder_that_cannot_be_made_is_said(base, trainer, tmp_path):
    (tmp_path / "file").write_text("")
    structures = GatedStructures(study_of(base), tmp_path / "file" / "cache", trainer=trainer)

    with pytest.raises(OutputError, match="cannot write into the output directory"):
        list(structures.prepare())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "build"), [("s3pet", S3petStrategy), ("bipeft", BipeftStrategy)]
)
def test_a_study_on_a_tiny_model_measures_the_structure_that_was_found(
    base, tmp_path, strategy, build
):
    study = study_of(base, strategy, options={})
    evaluator = FinetuneEvaluator(study, threads=1)
    structures = GatedStructures(study, tmp_path, trainer=evaluator.resident)
    proposer = build(study, structures)

    for number in range(4):
        trial = Trial(number=number, proposal=proposer.ask()).started()
        *_, trial = evaluator.evaluate([trial])
        assert trial.measurement.parameters <= 300
        proposer.tell(trial)

    assert structures.problem == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "space", "options"),
    [
        ("s3pet", "s3pet", {"order": "1"}),
        ("s3pet", "s3pet", {"order": "2"}),
        ("bipeft", "s3pet", {}),
    ],
)
def test_minilm_is_searched_within_its_budget(tmp_path, strategy, space, options):
    """0.05% of MiniLM: 11,356 parameters of the 120,000 that all cells have together."""
    data = write_rows(tmp_path / "data.csv", sentiment_rows(200))
    base = study_on(MINILM, data, recipe_of(epochs=1))
    study = study_of(base, strategy, space, "0.05%", options={"steps": "8", **options})

    structures, _ = prepared(study, tmp_path / "cache", None)

    ceiling = study.ceiling
    [found] = structures.found()
    assert 0.9 * ceiling < found.parameters(study.space.slots) <= ceiling
    assert structures.moved > 0.01
    if strategy == "s3pet":
        assert structures.expected == pytest.approx([ceiling] * 8, rel=1e-6)
    else:
        assert structures.expected[-1] <= ceiling < structures.expected[0]
