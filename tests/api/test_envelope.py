"""What every answer carries."""

import pytest

from tests.api.serving import SEARCH, serving

PATHS = ("/", "/healthz", "/docs/problems", "/openapi.json", "/v1/searches", "/nothing")
CORS = "https://peft.example"


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_tells_browsers_to_trust_nothing_else(client, path):
    headers = client.get(path).headers

    assert headers["Content-Security-Policy"].startswith("default-src 'self';")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Request-Id"]
    assert "Server" not in headers


def test_answers_about_jobs_are_kept_by_nobody(client):
    assert client.get("/v1/searches").headers["Cache-Control"] == "no-store"


def test_other_sites_may_not_ask(server):
    answer = server.as_("ada").get("/v1/searches", headers={"Origin": CORS})

    assert not [name for name in answer.headers if name.startswith("access-control")]
    preflight = server.client().options(
        "/v1/searches", headers={"Origin": CORS, "Access-Control-Request-Method": "POST"}
    )
    assert preflight.status_code in {401, 405}


def test_a_site_that_was_named_may_ask(tmp_path):
    with serving(tmp_path, cors=(CORS,)) as served:
        client = served.client(headers={"Origin": CORS})
        preflight = client.options(
            "/v1/searches",
            headers={
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,idempotency-key",
            },
        )
        without_key = client.post("/v1/searches", json=SEARCH)
        refused = served.client(headers={"Origin": "https://other.example"}).get("/v1/searches")

    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == CORS
    assert without_key.status_code == 202
    assert without_key.headers["Access-Control-Allow-Origin"] == CORS
    assert "Location" in without_key.headers["Access-Control-Expose-Headers"]
    assert refused.status_code == 403
    assert "Access-Control-Allow-Origin" not in refused.headers
