from dataclasses import replace

import numpy as np
import pytest

from autopeft.errors import SpaceError, StoreError
from autopeft.evaluators.inherited import InheritedScores
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.sampling import Sampler
from autopeft.search_spaces.written.reading import parse_space
from autopeft.training.trainer import Trainer
from tests.models import opinions, recipe_of, save_tiny, study_on, write_rows


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    data = write_rows(folder / "data.csv", opinions(80))
    return study_on(str(save_tiny(folder / "model")), data, recipe_of(epochs=4))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def prepared(study, cache):
    scores = InheritedScores(study, cache, threads=1)
    assert list(scores.prepare())[-1] == 1.0
    return scores


def drawn(study, count=5, seed=0):
    sampler, rng = Sampler(study.space, study.ceiling), np.random.default_rng(seed)
    return [study.space.decode(sampler.draw(rng)) for _ in range(count)]


def no_trainer():
    raise AssertionError("backbone and data are not needed")


def test_scores_are_those_of_the_inherited_weights(prepared, study):
    """The negative loss of what is extracted: of 16 examples, all that there are."""
    configurations = drawn(study)

    found = list(prepared.scores(configurations))

    assert prepared.problem == ""
    assert found == list(prepared.scores(configurations))
    net = prepared._scoring._net
    for configuration, score in zip(configurations, found, strict=True):
        weights, head = net.extract(configuration), net.head()
        with net.trainer.tuned(study.space.slots, configuration, study.recipe, 3) as tuned:
            tuned.injection.load(weights)
            for name, parameter in tuned.model.head().items():
                parameter.data.copy_(head[name])
            _, loss = tuned.predict(net.trainer.parts["validation"])
        assert score == pytest.approx(-loss, rel=1e-6)


def test_what_was_scored_is_remembered_and_needs_no_backbone(prepared, study, cache):
    configurations = drawn(study, seed=1)
    expected = list(prepared.scores(configurations))

    again = InheritedScores(study, cache, threads=1, trainer=no_trainer)

    assert list(again.scores(configurations)) == expected


def test_a_search_that_goes_on_finds_the_supernet_and_scores_alike(prepared, study, cache):
    """A remembered score and a new one of the same configuration are equal."""
    configurations = drawn(study, seed=2)
    expected = list(prepared.scores(configurations))
    (prepared._shelf.folder / "scores.jsonl").unlink()

    fresh = InheritedScores(study, cache, threads=1)

    assert list(fresh.prepare()) == [1.0]
    assert list(fresh.scores(configurations)) == expected


def test_a_study_with_another_seed_finds_the_supernet_too(prepared, study, cache):
    fresh = drawn(study, seed=9)
    expected = list(prepared.scores(fresh))

    other = InheritedScores(replace(study, seed=7), cache, trainer=no_trainer)

    assert list(other.scores(fresh)) == expected


def test_it_scores_without_being_prepared_first(prepared, study, tmp_path):
    configurations = drawn(study, 2)

    assert list(InheritedScores(study, tmp_path, threads=1).scores(configurations)) == list(
        prepared.scores(configurations)
    )


def test_a_resident_trainer_is_taken_where_there_is_one(study, tmp_path):
    trainer = Trainer.open(study.task, study.backbone, study.where, test=False, threads=1)
    scores = InheritedScores(study, tmp_path, trainer=lambda: trainer)

    list(scores.prepare())

    assert scores._scoring._net.trainer is trainer


def test_a_supernet_that_diverges_is_a_problem_and_is_not_tried_again(study, tmp_path):
    wild = replace(study, recipe=recipe_of(epochs=4, head_learning_rate=1e38))
    scores = InheritedScores(wild, tmp_path, threads=1)

    progress = list(scores.prepare())

    assert progress == sorted(progress)
    assert scores.problem.startswith("the supernet's loss became")
    assert list(scores.scores(drawn(study))) == []

    again = InheritedScores(wild, tmp_path, threads=1, trainer=no_trainer)
    assert list(again.prepare()) == []
    assert again.problem == scores.problem
    assert list(again.scores(drawn(study))) == []


@pytest.mark.parametrize(
    ("sizes", "told"), [((8,), "1 configuration"), ((0, 8), "4 configurations")]
)
def test_no_supernet_is_trained_where_all_configurations_are_measured_sooner(
    study, tmp_path, sizes, told
):
    """Two blocks of these sizes: the reason is said, and neither model nor cache is touched."""
    text = f"groups:\n  - {{slots: [lora@attention.query], sizes: {list(sizes)}}}\n"
    small = replace(study, space=parse_space(text, "small.yaml").on(study.backbone))
    scores = InheritedScores(small, tmp_path, trainer=no_trainer)

    assert list(scores.prepare()) == []
    assert list(scores.scores([small.space.largest()])) == []
    assert scores.problem == (
        f"no supernet was trained: a space of {told} is measured sooner without one"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_is_one_configurations_own_matter(study, tmp_path):
    """Where it is that of all, there is a problem; what is remembered says the same later."""
    scores = InheritedScores(study, tmp_path, threads=1)
    list(scores.prepare())
    head = scores._scoring._net.tensors["head/weight"]
    kept = head.clone()
    scores._scoring._net.load({"head/weight": head * np.nan})
    first, *others = drawn(study, 12)

    assert [np.isnan(score) for score in scores.scores([first])] == [True]
    assert scores.problem == ""
    scores._scoring._net.load({"head/weight": kept})
    assert not np.isnan(list(scores.scores(others[:1]))).any()

    scores._known = dict.fromkeys(map(str, range(10)), float("nan"))
    assert "no configuration has a score" in scores.problem
    assert list(scores.scores(others)) == []


def test_a_cache_that_cannot_be_written_to_is_refused(study, tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match=r"cannot write into the cache folder .*AUTOPEFT_CACHE"):
        list(InheritedScores(study, tmp_path / "file", threads=1).prepare())


def test_what_the_space_does_not_hold_is_refused(prepared, study):
    huge = Configuration(tuple((500, *row[1:]) for row in study.space.smallest().sizes))

    with pytest.raises(SpaceError, match="of size 500 in block 0 is in no configuration of the"):
        list(prepared.scores([huge]))


def test_a_damaged_supernet_is_refused(study, tmp_path):
    scores = InheritedScores(study, tmp_path, threads=1)
    list(scores.prepare())
    (scores._shelf.folder / "weights.safetensors").write_bytes(b"?")

    with pytest.raises(StoreError, match="cannot read the supernet"):
        list(InheritedScores(study, tmp_path, threads=1).prepare())
