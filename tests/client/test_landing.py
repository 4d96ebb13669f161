"""Files that come from the service, and files that go there."""

import hashlib

import pytest

from autopeft.client.exchange import RefusedError
from autopeft.errors import OutputError, ServiceError
from tests.client.answering import WAYS, Answer, answering, problem

CONTENT = bytes(range(256)) * 8
TAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'
WHOLE = Answer(body=CONTENT, headers={"ETag": TAG})
pytestmark = pytest.mark.parametrize("run", WAYS)


def downloaded(run, url, into):
    return run(url, lambda client: client.searches.download("search_1", "a.bin", into))


def test_a_file_is_written(run, tmp_path):
    with answering(WHOLE) as (url, asked):
        file = downloaded(run, url, tmp_path / "mine.bin")

    assert file == tmp_path / "mine.bin"
    assert file.read_bytes() == CONTENT
    assert [each.name for each in tmp_path.iterdir()] == ["mine.bin"]
    assert asked[0].path == "/v1/searches/search_1/artifacts/a.bin"


def test_a_connection_that_breaks_goes_on_where_it_was(run, tmp_path):
    rest = Answer(status=206, body=CONTENT[100:], headers={"ETag": TAG})
    cut = Answer(body=CONTENT, headers={"ETag": TAG}, cut=100)
    with answering(cut, rest) as (url, asked):
        file = downloaded(run, url, tmp_path / "a.bin")

    assert file.read_bytes() == CONTENT
    assert (asked[1].headers["range"], asked[1].headers["if-range"]) == ("bytes=100-", TAG)


def test_a_file_that_changed_in_the_meantime_begins_anew(run, tmp_path):
    other = Answer(body=b"other" * 40, headers={"ETag": '"older"'}, cut=100)
    with answering(other, WHOLE) as (url, _):
        assert downloaded(run, url, tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_file_that_is_not_what_was_promised_is_not_there(run, tmp_path):
    wrong = Answer(body=b"?" + CONTENT[1:], headers={"ETag": TAG})
    with (
        answering(wrong) as (url, _),
        pytest.raises(ServiceError, match=r"a\.bin was changed on its way: fetch it again"),
    ):
        downloaded(run, url, tmp_path / "a.bin")

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_refused_is_not_there(run, tmp_path):
    refused = problem(404, "not_found", "there is no file 'a.bin'")
    with answering(refused) as (url, _), pytest.raises(RefusedError, match=r"no file 'a\.bin'"):
        downloaded(run, url, tmp_path / "a.bin")

    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(run, tmp_path):
    with (
        answering(WHOLE) as (url, _),
        pytest.raises(OutputError, match=r"cannot write .*none.a\.bin: No such file"),
    ):
        downloaded(run, url, tmp_path / "none" / "a.bin")


def test_a_place_that_is_taken_by_a_folder_is_told(run, tmp_path):
    (tmp_path / "a.bin").mkdir()
    with answering(WHOLE) as (url, _), pytest.raises(OutputError, match="cannot write"):
        downloaded(run, url, tmp_path / "a.bin")

    assert [each.name for each in tmp_path.iterdir()] == ["a.bin"]


def test_a_file_is_uploaded_with_its_digest_again_if_need_be(run, tmp_path):
    """The second attempt sends the whole file, not what the first has left of it."""
    file = tmp_path / "rows.csv"
    file.write_bytes(b"text,label\nfine,1\n")
    busy = problem(503, "store_unavailable", "away")
    refused = problem(422, "invalid_request", "no")
    with answering(busy, refused) as (url, asked), pytest.raises(RefusedError):
        run(url, lambda client: client.datasets.upload(file, sha256="ab"))

    for each in asked:
        assert b'name="file"; filename="rows.csv"' in each.body
        assert b"text,label\nfine,1\n" in each.body
        assert b'name="sha256"\r\n\r\nab\r\n' in each.body
    assert asked[0].headers["idempotency-key"] == asked[1].headers["idempotency-key"]
