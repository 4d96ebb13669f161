"""What a user asks for becomes a study, with room for prompts and the tower that is used."""

from dataclasses import replace
from pathlib import Path

import pytest

from autopeft.errors import OptionError
from autopeft.search_spaces.baselines import BASELINES
from autopeft.training.trainer import Trainer
from autopeft.trial import Fidelity, Measurement
from autopeft.wiring.request import Request, study_of
from tests.kinds import write_pictures
from tests.models import opinions, save_tiny, table, write_rows

LORA = "groups: [{slots: ['lora@*'], sizes: [0, 1]}]"
PROMPTS = "groups: [{{slots: ['prompt_tuning@*'], sizes: [0, 1, {}]}}]"


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A model of 40 positions."""
    return str(save_tiny(tmp_path_factory.mktemp("bert"), "bert"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Towers of widths 24 for texts and 32 for images, two blocks each."""
    return str(save_tiny(tmp_path_factory.mktemp("clip"), "clip"))


@pytest.fixture
def asked(tmp_path):
    """Return a request for a space that is written out."""

    def request(model: str, space: str, **changes) -> Request:
        file = tmp_path / "space.yaml"
        file.write_text(f"name: ours\n{space}\n")
        rows = [row | {"text": f"{row['text']} " * 8} for row in opinions(40)]
        usual = {
            "model": model, "data": write_rows(tmp_path / "data.csv", rows), "budget": "90%",
            "space": str(file), "strategy": "random", "seed": 0, "epochs": 1, "finals": 0,
        }  # fmt: skip
        return Request(**(usual | changes))

    return request


def measured(study, sizes):
    """Train a configuration of a study and return what it gave."""
    trainer = Trainer.open(study.task, study.backbone, study.where, test=False, threads=1)
    slots, recipe = study.space.slots, replace(study.recipe, learning_rates={})
    rates = {slot.method: 1e-3 for slot in slots}
    configuration = table(slots, study.backbone.blocks, sizes)
    recipe = replace(recipe, learning_rates=rates, precision="fp32")
    with trainer.tuned(slots, configuration, recipe, 0) as tuned:
        *_, found = trainer.measure(tuned, 0, Fidelity())
    assert isinstance(found, Measurement)
    return found, trainer


def test_all_that_decides_the_training_is_in_the_recipe(bert, asked):
    request = asked(
        bert, LORA, batch_size=4, max_length=9, rank_scaling="inverse", gate_mean="all",
        precision="bf16",
    )  # fmt: skip
    study = study_of(request)
    recipe = study.recipe

    assert (recipe.batch_size, recipe.rank_scaling, recipe.gate_mean) == (4, "inverse", "all")
    assert (recipe.precision, recipe.epochs, study.task.max_length) == ("bf16", 1, 9)
    assert study.id != study_of(asked(bert, LORA)).id


def test_data_is_found_from_whatever_folder(bert, asked, monkeypatch):
    request = asked(bert, LORA)
    file = Path(request.data.train)
    monkeypatch.chdir(file.parent)

    where = replace(request, data=replace(request.data, train=file.name, test=file.name)).where

    assert (where.data.train, where.data.validation) == (str(file), None)
    assert where.data.test == str(file)


def test_texts_are_cut_so_that_the_longest_prompt_of_the_space_has_its_place(bert, asked):
    """Of 40 positions, 10 are for prompts; all trials see the same texts."""
    study = study_of(asked(bert, PROMPTS.format(10)))

    assert study.task.max_length == 30
    for sizes in ({"prompt_tuning@embeddings": 10}, {}):
        _, trainer = measured(study, sizes)
        assert trainer.parts["train"].lengths.max() == 30


def test_several_prompts_need_room_together(bert, asked):
    space = "groups: [{slots: ['prompt_tuning@*', 'p_tuning@*'], sizes: [0, 4, 6]}]"
    study = study_of(asked(bert, space))

    assert study.task.max_length == 28
    measured(study, {"prompt_tuning@embeddings": 6, "p_tuning@embeddings": 6})


@pytest.mark.parametrize(
    ("space", "length"), [(LORA, 128), (PROMPTS.format(10), 20), (PROMPTS.format(20), 20)]
)
def test_texts_that_leave_room_already_stay_as_they_are(bert, asked, space, length):
    study = study_of(asked(bert, space, max_length=length))

    assert study.task.max_length == length


def test_prompts_that_leave_hardly_a_position_are_refused(bert, asked):
    with pytest.raises(
        OptionError,
        match=r"up to 33 prompts in front of a text leave 7 of the model's 40 positions for the "
        r"text itself, which needs 8: allow fewer, or leave prompt_tuning, p_tuning and cpt out",
    ):
        study_of(asked(bert, PROMPTS.format(33)))


def test_where_the_budget_decides_sizes_it_limits_prompts(bert, asked):
    """A prompt of BERT costs 32, so that 320 parameters are 10 of them at most."""
    space = "groups: [{slots: ['prompt_tuning@*'], sizes: budget}]"

    assert study_of(asked(bert, space, budget="320")).task.max_length == 30


@pytest.mark.parametrize("kind", ["classification", "image"])
def test_of_two_towers_only_the_one_that_sees_the_data_is_searched(clip, asked, kind, tmp_path):
    data = {"data": write_pictures(tmp_path / "images", 40)} if kind == "image" else {}
    study = study_of(asked(clip, LORA, **data))
    tower, width = ("vision", 32) if kind == "image" else ("text", 24)

    assert study.task.kind == kind
    assert (study.backbone.blocks, study.backbone.width) == (2, width)
    assert {slot.stack for slot in study.space.slots} == {tower}
    for baseline in BASELINES:
        assert baseline.columns(study.space.slots)
    found, _ = measured(study, {f"lora@{tower}.attention.query": 1})
    assert found.parameters == 2 * (width + width)


def test_a_tower_takes_the_place_of_no_other(clip, asked, tmp_path):
    """Whatever is trained in the tower for images changes what is seen in them."""
    study = study_of(asked(clip, LORA, data=write_pictures(tmp_path / "images", 40)))
    some = {"lora@vision.attention.value": 1, "serial_adapter@vision.ffn.output": 1}

    assert measured(study, some)[0].loss != measured(study, {})[0].loss


def test_noahs_mutation_in_a_space_without_depths_is_refused_with_the_options(bert, asked):
    request = replace(asked(bert, LORA), strategy="evolution", options=("mutation=noah",))

    with pytest.raises(OptionError, match="mutation=noah changes nothing but depths"):
        study_of(request)
