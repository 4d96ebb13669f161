"""Who is let in."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from autopeft.api.access import Access, is_loopback
from autopeft.api.lookups import Lookups
from autopeft.api.problems import ProblemError
from autopeft.service.key import Scope, new_key
from tests.api.serving import SEARCH, serving
from tests.api.studies import a_job
from tests.api.test_problems import problem

NOW = datetime.now(UTC)


def verified(access, token, address):
    """Verify a token in an event loop of its own."""
    access._lookups = Lookups(access._keys)
    return asyncio.run(access._verified(token, address))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic YWRhOnNlY3JldA==",
        "Bearer nonsense",
        "Bearer apk_0123456789ab_wrong",
        "Bearer apk__",
        "apk_0123456789ab_wrong",
    ],
)
def test_whoever_is_not_known_gets_the_same_answer(server, header):
    answer = server.client(headers={"Authorization": header} if header is not None else {}).get(
        "/v1/searches"
    )

    found = problem(answer, 401, "unauthenticated")
    assert found["detail"] == "the request came without a valid API key"
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_wrong_secret_and_an_unknown_key_give_the_same_answer(server):
    key_id = server.key("ada").split("_")[1]
    answers = [
        server.client(token).get("/v1/searches").json()
        for token in (f"apk_{key_id}_wrong", "apk_ffffffffffff_wrong")
    ]

    for answer in answers:
        answer.pop("request_id")
    assert answers[0] == answers[1]


def test_nothing_of_a_request_is_read_before_the_caller_is_known(server):
    answer = server.client().post(
        "/v1/searches", content=b"{", headers={"Content-Type": "application/json"}
    )

    problem(answer, 401, "unauthenticated")
    problem(server.client().get("/v1/nothing"), 401, "unauthenticated")


def test_a_revoked_key_is_refused_at_the_next_request(server):
    token = server.key("ada")
    client = server.client(token)
    assert client.get("/v1/searches").status_code == 200

    server.service.keys.revoke(token.split("_")[1], NOW)

    problem(client.get("/v1/searches"), 401, "unauthenticated")


def test_an_expired_key_is_refused(server):
    token = server.key("ada", expires=NOW - timedelta(seconds=1))

    problem(server.client(token).get("/v1/searches"), 401, "unauthenticated")


def test_a_key_is_refused_from_the_moment_in_which_it_expires(server):
    time = {"now": NOW}
    keys = server.service.keys
    access = Access(keys, host="127.0.0.1", now=lambda: time["now"])
    token = server.key("ada", expires=NOW + timedelta(seconds=1))
    assert verified(access, token, "1.2.3.4").owner == "ada"

    time["now"] += timedelta(seconds=1)

    with pytest.raises(Exception, match="without a valid API key"):
        verified(access, token, "1.2.3.4")


def test_a_secret_is_hashed_once_and_then_remembered_for_a_while(server, monkeypatch):
    hashed = []
    monkeypatch.setattr("autopeft.service.key._hash", _counting(hashed))
    tick = {"now": 0.0}
    key, token = new_key("ada", "test", Scope.READ, created=NOW)
    server.service.keys.add(key)
    access = Access(server.service.keys, host="127.0.0.1", tick=lambda: tick["now"])
    hashed.clear()

    for _ in range(5):
        verified(access, token, "1.2.3.4")
    assert len(hashed) == 1

    tick["now"] += 301
    verified(access, token, "1.2.3.4")
    assert len(hashed) == 2


def test_another_secret_of_a_key_that_is_remembered_is_wrong(server):
    access = Access(server.service.keys, host="127.0.0.1")
    token = server.key("ada")
    verified(access, token, "1.2.3.4")

    with pytest.raises(Exception, match="without a valid API key"):
        verified(access, f"{token}x", "1.2.3.4")


def test_an_unknown_key_costs_as_many_hashes_as_a_wrong_secret(server, monkeypatch):
    hashed = []
    token = server.key("ada")
    access = Access(server.service.keys, host="127.0.0.1")
    monkeypatch.setattr("autopeft.service.key._hash", _counting(hashed))

    for wrong in (f"{token}x", "apk_ffffffffffff_x", "nonsense"):
        hashed.clear()
        with pytest.raises(Exception, match="without a valid API key"):
            verified(access, wrong, "1.2.3.4")
        assert len(hashed) == 1


def test_who_guesses_too_often_has_to_wait(server):
    access = Access(server.service.keys, host="127.0.0.1", tick=lambda: 0.0)
    access._guesses._burst = 2
    access._guesses._left.clear()

    for _ in range(2):
        with pytest.raises(Exception, match="without a valid API key"):
            verified(access, "apk_ffffffffffff_x", "1.2.3.4")
    with pytest.raises(Exception, match="more requests than"):
        verified(access, "apk_ffffffffffff_x", "1.2.3.4")


def _counting(hashed):
    def count(secret, _salt):
        hashed.append(secret)
        return secret

    return count


def test_each_scope_allows_what_it_says(server):
    reader, submitter = server.as_("ada", Scope.READ), server.as_("ada")
    admin = server.as_("root", Scope.ADMIN)

    assert reader.get("/v1/searches").status_code == 200
    found = problem(reader.post("/v1/searches", json=SEARCH), 403, "forbidden")
    assert "scope submit" in found["detail"]
    made = submitter.post("/v1/searches", json=SEARCH)
    assert made.status_code == 202
    place = made.headers["Location"]
    problem(reader.post(f"{place}/cancel"), 403, "forbidden")
    problem(submitter.get("/metrics"), 403, "forbidden")
    assert admin.get("/metrics").status_code == 200


PATHS = (
    "", "/trials", "/trials/0", "/pareto", "/report", "/plan", "/artifacts", "/artifacts/x",
    "/events",
)  # fmt: skip


def test_a_tenant_finds_nothing_of_another_one(server):
    server.add(a_job("0000000000a1", "ada"))
    ada, bob = server.as_("ada"), server.as_("bob")
    place = "/v1/searches/search_0000000000a1"

    assert ada.get(place).status_code == 200
    for path in PATHS:
        problem(bob.get(place + path), 404, "not_found")
    for verb in ("cancel", "pause", "resume"):
        problem(bob.post(f"{place}/{verb}"), 404, "not_found")
    problem(bob.post(f"{place}/extend", json={"trials": 50}), 404, "not_found")
    assert bob.get("/v1/searches").json()["data"] == []
    problem(bob.get("/v1/searches?after=search_0000000000a1"), 422, "invalid_request", "after")


def test_an_administrator_sees_everybodys(server):
    server.add(a_job("0000000000a2", "ada"))
    admin = server.as_("root", Scope.ADMIN)

    assert admin.get("/v1/searches/search_0000000000a2").status_code == 200
    ids = {each["id"] for each in admin.get("/v1/searches?limit=100").json()["data"]}
    assert "search_0000000000a2" in ids


def test_without_keys_everybody_on_this_machine_is_local(client):
    made = client.post("/v1/searches", json=SEARCH)

    assert made.status_code == 202
    assert client.get("/metrics").status_code == 200


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({"Host": "evil.example"}, "the Host 'evil.example' is not this machine"),
        ({"Host": "evil.example:8700"}, "is not this machine"),
        ({"Host": "127.0.0.1.evil.example"}, "is not this machine"),
        ({"Origin": "https://evil.example"}, "the Origin 'https://evil.example' is another site"),
        ({"Origin": "null"}, "is another site"),
        ({"Origin": "http://127.0.0.1:1"}, "is another site"),
        ({"Sec-Fetch-Site": "cross-site"}, "made by another site"),
        ({"X-Forwarded-For": "1.2.3.4"}, "came through a proxy"),
        ({"Forwarded": "for=1.2.3.4"}, "came through a proxy"),
    ],
)
def test_without_keys_what_may_come_from_elsewhere_is_refused(client, headers, detail):
    for answer in (
        client.get("/v1/searches", headers=headers),
        client.post("/v1/searches", json=SEARCH, headers=headers),
    ):
        assert detail in problem(answer, 403, "forbidden")["detail"]


def test_without_keys_the_page_itself_may_ask(open_server):
    host = open_server.url.removeprefix("http://")
    same = {"Origin": open_server.url, "Host": host, "Sec-Fetch-Site": "same-origin"}

    assert open_server.client(headers=same).get("/v1/searches").status_code == 200
    local = {"Host": f"localhost:{host.partition(':')[2]}"}
    assert open_server.client(headers=local).get("/v1/searches").status_code == 200


def test_with_a_key_the_host_may_be_any_name(server):
    client = server.as_("ada")

    assert client.get("/v1/searches", headers={"Host": "peft.example"}).status_code == 200


def test_a_service_for_other_machines_wants_a_key_from_the_start(tmp_path):
    with serving(tmp_path, host="0.0.0.0") as served:
        answer = served.client().get("/v1/searches")

    assert "answers only to this machine" in problem(answer, 401, "unauthenticated")["detail"]


def test_from_the_first_key_on_a_key_is_needed_even_if_it_was_revoked(tmp_path):
    with serving(tmp_path) as served:
        client = served.client()
        assert client.get("/v1/searches").status_code == 200
        token = served.key("ada")
        problem(client.get("/v1/searches"), 401, "unauthenticated")
        served.service.keys.revoke(token.split("_")[1], NOW)
        problem(client.get("/v1/searches"), 401, "unauthenticated")


@pytest.mark.parametrize(
    ("name", "here"),
    [
        ("localhost", True), ("LOCALHOST.", True), ("127.0.0.1", True), ("127.8.8.8", True),
        ("::1", True), ("[::1]", True), ("0.0.0.0", False), ("10.0.0.1", False), ("", False),
        ("localhost.evil.example", False), ("127.0.0.1.nip.io", False), ("::", False),
    ],
)  # fmt: skip
def test_an_address_of_this_machine_is_told_from_others(name, here):
    assert is_loopback(name) == here


def test_many_requests_at_once_with_a_new_key_are_one_guess(server, monkeypatch):
    hashed = []
    key, token = new_key("ada", "test", Scope.READ, created=NOW)
    server.service.keys.add(key)
    access = Access(server.service.keys, host="127.0.0.1")
    monkeypatch.setattr("autopeft.service.key._hash", lambda *_: hashed.append(1) or key.hashed)

    async def ask():
        return await asyncio.gather(*(access._verified(token, "1.2.3.4") for _ in range(100)))

    assert {each.id for each in asyncio.run(ask())} == {key.id}
    assert len(hashed) == 1


def test_who_guesses_through_a_proxy_does_not_shut_out_the_keys_of_others(server):
    key, token = new_key("ada", "test", Scope.READ, created=NOW)
    server.service.keys.add(key)
    access = Access(server.service.keys, host="127.0.0.1", tick=lambda: 0.0)
    for guess in range(20):
        with pytest.raises(ProblemError, match="without a valid API key"):
            verified(access, f"apk_ffffffffffff_{guess}", "10.0.0.1")
    with pytest.raises(ProblemError, match="more requests than"):
        verified(access, "apk_ffffffffffff_once-more", "10.0.0.1")

    assert verified(access, token, "10.0.0.1").id == key.id
