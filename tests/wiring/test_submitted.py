"""What a request means: the study it makes, for whom, and what is said where it cannot be."""

import json
import shutil
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from autopeft.errors import OutputError, StoreError, UnknownError
from autopeft.resources.requests import SearchRequest
from autopeft.service.dataset import Dataset, DatasetState
from autopeft.service.job import Trouble
from autopeft.settings import ServiceSettings
from autopeft.storage.memory import MemoryStore
from autopeft.study import DataFiles, first_tried
from autopeft.trial import Proposal
from autopeft.wiring.request import Request, study_of
from autopeft.wiring.submitted import (
    RefusedError,
    data_submitted,
    limits_submitted,
    request_submitted,
    study_submitted,
    trouble_of,
)
from tests.builders import a_measurement
from tests.models import opinions, save_tiny, write_rows

SPACE = "{groups: [{slots: [lora@attention.query], sizes: [0, 2, 4]}]}"


class Datasets:
    """Keeps data sets as a store does, as far as a request asks."""

    def __init__(self, *datasets):
        self._kept = {dataset.id: dataset for dataset in datasets}

    def dataset(self, dataset_id):
        if dataset_id not in self._kept:
            raise UnknownError(f"there is no data set {dataset_id!r}")
        return self._kept[dataset_id]


def a_dataset(**changes):
    usual = Dataset(
        id="dataset_1", owner="ada", name="reviews.csv", file="reviews.csv", bytes=10,
        digest="0" * 64, created=datetime.now(UTC), state=DatasetState.READY,
        found={"form": "table"},
    )  # fmt: skip
    return replace(usual, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("service")
    save_tiny(made / "models" / "tiny")
    for place in ("data", "files/datasets/dataset_1"):
        (made / place).mkdir(parents=True)
    write_rows(made / "data" / "opinions.csv", opinions(60))
    write_rows(made / "files" / "datasets" / "dataset_1" / "reviews.csv", opinions(60))
    return made


@pytest.fixture
def service(folder):
    return ServiceSettings(
        files=str(folder / "files"),
        models=(str(folder / "models"),),
        data=(str(folder / "data"),),
        workers=2,
        threads=3,
    )


def a_body(**changes):
    usual = {
        "model": "tiny",
        "data": {"path": "opinions.csv"},
        "budget": "20%",
        "strategy": "random",
    }
    return SearchRequest.model_validate(usual | changes)


def submitted(body, service, *datasets, owner="ada", store=None):
    return study_submitted(body, owner, Datasets(*datasets), service, store or MemoryStore())


def refused(body, service, *datasets, **others):
    with pytest.raises(RefusedError) as caught:
        submitted(body, service, *datasets, **others)
    return caught.value.trouble


def test_a_request_makes_the_study_that_the_command_line_makes(service, folder):
    """Owner and names of places apart; they decide nothing that is measured."""
    study = submitted(a_body(), service)
    request = Request(
        model=str(folder / "models" / "tiny"),
        data=DataFiles(train=str(folder / "data" / "opinions.csv")),
        budget="20%", space="unified", strategy="random", seed=0, epochs=3, finals=3,
    )  # fmt: skip

    assert replace(study, owner="").id == study_of(request).id
    assert (study.owner, study.where) == ("ada", request.where)
    assert study.id != replace(study, owner="").id


def test_every_field_of_a_request_has_its_say(service):
    body = a_body(
        options={}, objectives=["score", "params"], rungs=[0.5], seed=3,
        task={"max_length": 16, "metric": "macro_f1", "head": "cls", "text": "text",
              "label": "label"},
        recipe={"epochs": 2, "batch_size": 8, "precision": "fp32", "rank_scaling": "inverse"},
        limits={"trials": 5, "seconds": 60, "finals": 2},
    )  # fmt: skip

    study = submitted(body, service)

    assert (study.objectives, study.rungs, study.seed) == (("score", "params"), (0.5, 1.0), 3)
    assert (study.task.max_length, study.task.metric, study.task.head) == (16, "macro_f1", "cls")
    assert (study.recipe.epochs, study.recipe.batch_size) == (2, 8)
    assert (study.recipe.precision, study.recipe.rank_scaling) == ("fp32", "inverse")
    assert study.finals == 2


def test_a_model_is_named_as_it_was_asked_for(service):
    assert submitted(a_body(), service).backbone.name == "tiny"


def test_data_is_that_of_a_data_set(service, folder):
    study = submitted(a_body(data={"dataset": "dataset_1"}), service, a_dataset())

    place = folder / "files" / "datasets" / "dataset_1" / "reviews.csv"
    assert study.where.data == DataFiles(train=str(place))


def test_an_archive_is_read_where_it_was_unpacked(service, folder):
    body = a_body(data={"dataset": "dataset_1"})
    images = a_dataset(file="flowers.zip", found={"form": "images"})

    request = request_submitted(body, "ada", Datasets(images), service)

    assert request.data.train == str(folder / "files" / "datasets" / "dataset_1" / "unpacked")


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (a_dataset(owner="bob"), "there is no data set 'dataset_1': GET /v1/datasets lists yours"),
        (a_dataset(id="dataset_2"), "there is no data set 'dataset_1'"),
        (a_dataset(state=DatasetState.VALIDATING), "is still being read: wait until it is ready"),
        (
            a_dataset(
                state=DatasetState.INVALID, trouble=Trouble(code="invalid_data", detail="no rows")
            ),
            "the data set dataset_1 cannot be used: no rows",
        ),
    ],
    ids=["somebody else's", "unknown", "not yet read", "of no use"],
)
def test_a_data_set_that_is_not_the_owners_and_ready_is_refused(service, dataset, words):
    trouble = refused(a_body(data={"dataset": "dataset_1"}), service, dataset)

    assert (trouble.code, trouble.param) == ("invalid_data", "data.dataset")
    assert words in trouble.detail


def test_somebody_elses_data_set_is_said_to_be_as_absent_as_one_that_is(service):
    body = a_body(data={"dataset": "dataset_1"})

    assert refused(body, service, a_dataset(owner="bob")) == refused(body, service)


def test_a_part_is_named_once(service):
    data = {"dataset": "dataset_1", "test_dataset": "dataset_1", "test_path": "opinions.csv"}

    trouble = refused(a_body(data=data), service, a_dataset())

    assert trouble.detail == "name either a test_dataset or a test_path, and not both"


def test_all_parts_may_be_named(service, folder):
    body = a_body(
        data={
            "dataset": "dataset_1",
            "validation_dataset": "dataset_1",
            "test_path": "opinions.csv",
        }
    )

    files = data_submitted(body.data, body.task, "ada", Datasets(a_dataset()), service)

    assert files.test == str(folder / "data" / "opinions.csv")
    assert files.validation == files.train


@pytest.mark.parametrize(
    ("changes", "code", "param", "words"),
    [
        ({"model": "../tiny"}, "invalid_model", "model", "is not one that this service offers"),
        ({"model": "package:none"}, "invalid_model", "model", "is not one that this service"),
        ({"data": {"path": "/etc/passwd"}}, "invalid_data", "data.path", "cannot read the data"),
        ({"budget": "much"}, "invalid_budget", "budget", "cannot read budget 'much'"),
        ({"budget": "1"}, "invalid_budget", "budget", "budget"),
        ({"space": "none"}, "invalid_space", "space", "there is no search space 'none'"),
        ({"space": "/etc/x.yaml"}, "invalid_space", "space", "send one of your own as space_yaml"),
        ({"space_yaml": "{a: 1}"}, "invalid_space", "space_yaml", "space_yaml, line 1: unknown"),
        ({"strategy": "none"}, "invalid_option", "strategy", "there is no strategy 'none'"),
        ({"options": {"a": "b"}}, "invalid_option", "options", "has no options"),
        ({"objectives": ["params"]}, "invalid_option", "objectives", "name score first"),
        ({"rungs": []}, "invalid_option", "rungs", "cannot read the rungs"),
        ({"rungs": [2.0]}, "invalid_option", "rungs", "cannot read the rungs"),
        ({"run": {"workers": 2}}, "invalid_option", "run", "add run.executor ray"),
        ({"run": {"workers": 3}}, "invalid_option", "run.workers", "at most 2 trials of a search"),
        ({"run": {"threads": 4}}, "invalid_option", "run.threads", "at most 3 threads, and not 4"),
        ({"warm_start": "abcdef"}, "invalid_option", "warm_start", "the store is empty"),
        ({"task": {"metric": "spearman"}}, "invalid_option", "task", "spearman"),
        ({"task": {"label": "none"}}, "invalid_data", "data.path", "none"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_field(service, changes, code, param, words):
    trouble = refused(a_body(**changes), service)

    assert (trouble.code, trouble.param) == (code, param)
    assert words in trouble.detail
    assert "--" not in trouble.detail


def test_a_service_without_ray_runs_one_trial_at_a_time(service, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)

    trouble = refused(a_body(run={"executor": "ray"}), service)

    assert trouble.param == "run.executor"
    assert "ask whoever runs it to install autopeft[ray]" in trouble.detail


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    """A model as a download leaves it: links into a folder beside that of the versions."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--owner--tiny"
    version = kept / "snapshots" / ("a" * 40)
    version.mkdir(parents=True)
    shutil.copytree(folder / "models" / "tiny", kept / "blobs")
    for file in (kept / "blobs").iterdir():
        (version / file.name).symlink_to(file)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("a" * 40)
    return kept


def test_what_a_hub_id_brings_is_looked_at_before_it_is_used(service, hub):
    """It may be as bad as any folder; a link out of the download is not followed either."""
    opened = service.model_copy(update={"hub": True})
    study = submitted(a_body(model="owner/tiny"), opened)
    config = hub / "blobs" / "config.json"
    own = config.read_text("utf-8")
    config.write_text(json.dumps(json.loads(own) | {"auto_map": {"AutoModel": "x.Y"}}))
    code = refused(a_body(model="owner/tiny"), opened)
    config.write_text(own)
    shutil.move(config, hub.parent / "config.json")
    config.symlink_to(hub.parent / "config.json")
    link = refused(a_body(model="owner/tiny"), opened)

    assert (study.where.model, study.backbone.name) == ("owner/tiny", "owner/tiny")
    assert (code.code, code.param) == ("invalid_model", "model")
    assert "names code of its own (auto_map)" in code.detail
    assert "is a link that leads out" in link.detail


def test_a_space_of_ones_own_is_read_as_from_a_file(service):
    study = submitted(a_body(space_yaml=SPACE), service)

    assert study.space.name == "space_yaml"
    assert {gene.choices for gene in study.space.genes} == {(0, 2, 4)}


@pytest.fixture
def two_owners(service):
    """A store in which Ada and Bob have searched alike, and another one where that is."""
    store = MemoryStore()
    for owner in ("ada", "bob"):
        study = submitted(a_body(seed=1), service, owner=owner)
        store.add_study(study)
        space = study.space.smallest()
        started = store.start(
            study.id,
            store.add_trial(study.id, Proposal(configuration=space, recipe=study.recipe, seed=0)),
        )
        store.finish(study.id, started.done(a_measurement(0.9)))
    return store


def test_a_search_starts_from_the_studies_of_its_owner_alone(service, two_owners):
    own = {study.owner: study.id for study in two_owners.studies()}

    similar = submitted(a_body(warm_start="auto"), service, store=two_owners)
    named = submitted(a_body(warm_start=own["ada"][:6]), service, store=two_owners)
    latest = submitted(a_body(warm_start="latest"), service, store=two_owners)

    assert similar.earlier == named.earlier == latest.earlier
    assert [first_tried(earlier)[0] for earlier in similar.earlier] == [own["ada"]]


def test_somebody_elses_study_is_not_there(service, two_owners):
    own = {study.owner: study.id for study in two_owners.studies()}

    trouble = refused(a_body(warm_start=own["bob"]), service, store=two_owners)

    assert trouble.param == "warm_start"
    assert f"there is no study '{own['bob']}'" in trouble.detail


def test_limits_count_what_was_spent(service):
    del service
    body = a_body(limits={"trials": 5, "seconds": 60})

    assert limits_submitted(body, 20.0).seconds == 40.0
    assert limits_submitted(body, 80.0).seconds == 0.0
    assert limits_submitted(a_body(), 80.0).seconds is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreError("the store is away"), "store_unavailable"),
        (OutputError("cannot write"), "internal"),
        (RefusedError(Trouble(code="mine", detail="said")), "mine"),
    ],
)
def test_troubles_have_the_codes_that_are_documented(service, error, code):
    assert trouble_of(error, service).code == code
