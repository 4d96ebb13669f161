"""Files of a job: whole, in parts, and only the job's own."""

import hashlib
from datetime import UTC, datetime

import pytest

from autopeft.service.dataset import Artifact
from tests.api.studies import a_job
from tests.api.test_problems import problem

CONTENT = bytes(range(256)) * 400
JOB = "search_bbbb00000001"
PLACE = f"/v1/searches/{JOB}/artifacts"


@pytest.fixture(scope="module")
def ada(server):
    server.add(a_job("bbbb00000001", "file_ada"))
    folder = server.settings.folder / "jobs" / JOB
    folder.mkdir(parents=True)
    (folder / "adapter.safetensors").write_bytes(CONTENT)
    outside = server.settings.folder.parent / "secret"
    outside.write_text("nobody's")
    (folder / "link").symlink_to(outside)
    for name, file in (
        ("adapter.safetensors", f"jobs/{JOB}/adapter.safetensors"),
        ("gone.json", f"jobs/{JOB}/gone.json"),
        ("outside", "../secret"),
        ("absolute", str(outside)),
        ("link", f"jobs/{JOB}/link"),
    ):
        server.service.jobs.add_artifact(
            Artifact(
                job=JOB, name=name, file=file, media_type="application/octet-stream",
                bytes=len(CONTENT), digest=hashlib.sha256(CONTENT).hexdigest(),
                created=datetime.now(UTC),
            )
        )  # fmt: skip
    return server.as_("file_ada")


def test_files_are_listed_with_size_and_digest(ada):
    page = ada.get(PLACE).json()

    assert [each["name"] for each in page["data"]][:2] == ["absolute", "adapter.safetensors"]
    assert page["data"][1]["bytes"] == len(CONTENT)
    assert page["data"][1]["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_a_file_comes_whole_with_its_digest_as_its_tag(ada):
    answer = ada.get(f"{PLACE}/adapter.safetensors")

    assert answer.content == CONTENT
    assert answer.headers["ETag"] == f'"{hashlib.sha256(CONTENT).hexdigest()}"'
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="adapter.safetensors"'
    assert answer.headers["Cache-Control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, len(CONTENT)),
        ("bytes=-50", len(CONTENT) - 50, len(CONTENT)),
        ("bytes=102390-999999", 102_390, len(CONTENT)),
    ],
)
def test_a_part_of_a_file_can_be_asked_for(ada, asked, start, end):
    answer = ada.get(f"{PLACE}/adapter.safetensors", headers={"Range": asked})

    assert answer.status_code == 206
    assert answer.content == CONTENT[start:end]
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(CONTENT)}"


def test_a_download_that_broke_off_goes_on_only_with_the_same_file(ada):
    tag = ada.head(f"{PLACE}/adapter.safetensors").headers["ETag"]
    part = {"Range": "bytes=10-"}

    same = ada.get(f"{PLACE}/adapter.safetensors", headers={**part, "If-Range": tag})
    other = ada.get(f"{PLACE}/adapter.safetensors", headers={**part, "If-Range": '"other"'})

    assert (same.status_code, same.content) == (206, CONTENT[10:])
    assert (other.status_code, other.content) == (200, CONTENT)


def test_a_file_that_is_known_is_not_sent_again(ada):
    tag = ada.get(f"{PLACE}/adapter.safetensors").headers["ETag"]

    answer = ada.get(f"{PLACE}/adapter.safetensors", headers={"If-None-Match": tag})

    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize(
    "asked", ["bytes=5-1", "lines=0-1", "bytes=x", "bytes=", "bytes=-", "bytes=1-2,x", "x", "=1-"]
)
def test_a_range_that_cannot_be_read_is_ignored(ada, asked):
    answer = ada.get(f"{PLACE}/adapter.safetensors", headers={"Range": asked})

    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize("asked", ["bytes=200000-", "bytes=0-1,200000-200001", "bytes=-0"])
def test_a_range_beyond_the_file_is_refused(ada, asked):
    answer = ada.get(f"{PLACE}/adapter.safetensors", headers={"Range": asked})

    problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["Content-Range"] == f"bytes */{len(CONTENT)}"


@pytest.mark.parametrize(
    "name",
    ["nothing", "gone.json", "outside", "absolute", "link", "..%2f..%2fsecret", "%2e%2e", "%00"],
)
def test_what_is_no_file_of_the_job_is_not_found(ada, name):
    problem(ada.get(f"{PLACE}/{name}"), 404, "not_found")


def test_a_training_has_files_too(server):
    client = server.as_("file_ada")

    problem(client.get("/v1/trainings/training_ffffffffffff/artifacts"), 404, "not_found")
