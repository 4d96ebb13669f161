"""Records as resources."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from autopeft.api.presenting import Present, place_of
from autopeft.resources.answers import EstimateResource, SearchResource, TrainingResource
from autopeft.resources.requests import SearchRequest
from autopeft.service.dataset import Dataset
from autopeft.service.job import Kind, Trouble
from autopeft.settings import ServiceSettings
from autopeft.wiring.hidden import Hidden
from tests.api.studies import REQUEST, a_job

PRESENT = Present(Hidden(ServiceSettings(files="/srv/peft")))


@pytest.mark.parametrize(
    ("kind", "request_of", "model"),
    [
        (Kind.SEARCH, REQUEST, SearchResource),
        (Kind.ESTIMATE, REQUEST, EstimateResource),
        (Kind.TRAINING, {"search": "search_1", "seed": 1}, TrainingResource),
    ],
)
def test_a_job_becomes_the_resource_of_its_kind(kind, request_of, model):
    job = replace(a_job("1"), kind=kind, id=f"{kind}_1", request=request_of)

    found = PRESENT.job(job)

    assert type(found) is model
    assert (found.object, found.id) == (kind, f"{kind}_1")
    assert place_of(job).startswith("/v1/")


def test_an_older_client_reads_the_request_of_a_newer_service():
    found = PRESENT.search(a_job("1")).model_dump(mode="json")
    newer = found["request"] | {"colour": "blue", "limits": {"trials": 3, "carbon": 1}}

    read = SearchResource.model_validate(found | {"request": newer})

    assert read.request.limits.trials == 3
    assert read.request.data == PRESENT.search(a_job("1")).request.data
    with pytest.raises(ValidationError, match="colour"):
        SearchRequest.model_validate(newer)


def test_a_training_names_its_search_apart_from_its_request():
    job = replace(a_job("1"), kind=Kind.TRAINING, request={"search": "search_9", "seed": 3})

    found = PRESENT.training(job)

    assert (found.search, found.request.seed) == ("search_9", 3)


def test_what_is_no_number_is_null_on_the_wire():
    job = a_job("1", result={"score": math.nan, "best": [math.inf]})

    written = PRESENT.search(job).model_dump_json()

    assert json.loads(written, parse_constant=pytest.fail)["answer"] == {
        "score": None, "best": [None],
    }  # fmt: skip


def test_a_data_set_is_told_without_where_it_is():
    dataset = Dataset(
        id="dataset_1", owner="ada", name="a.csv", file="a.csv", bytes=3, digest="d",
        created=datetime.now(UTC), found={"file": "/srv/peft/datasets/dataset_1/a.csv"},
        trouble=Trouble(code="invalid_data", detail="/srv/peft/datasets/dataset_1/a.csv is empty"),
    )  # fmt: skip

    found = PRESENT.dataset(dataset)

    assert found.found == {"file": "dataset_1/a.csv"}
    assert found.trouble.detail == "dataset_1/a.csv is empty"
    assert found.owner == "ada"


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_a_job_of_an_older_version_can_still_be_looked_at():
    job = replace(a_job("1"), request={"model": "tiny", "flavour": "vanilla"})

    written = json.loads(PRESENT.search(job).model_dump_json())

    assert written["request"]["model"] == "tiny"
