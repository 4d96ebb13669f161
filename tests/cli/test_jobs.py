"""The commands that hand searches to a service, look at them, steer them and fetch what they found.

The server is a real one, the worker works in this process.
"""

import json
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from autopeft.cli.app import main
from autopeft.service.event import Happening
from autopeft.service.job import JobState, Lane, Trouble
from tests.api.serving import serving
from tests.journeys.commands import command, environment
from tests.models import opinions, write_rows
from tests.worker.premises import Premises

SEARCH = ("--model", "tiny", "--space", "lora", "--budget", "20%", "--strategy", "random",
          "--epochs", "1", "--precision", "fp32", "--trials", "2", "--finals", "0",
          "--threads", "1")  # fmt: skip


class Shell:
    """Runs commands as a user does, and remembers what they wrote."""

    def __init__(self, monkeypatch, capsys):
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.err = ""

    def __call__(self, *words):
        """Run a command that must go well, and return what it wrote."""
        self._monkeypatch.setattr(sys, "argv", ["autopeft", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = self._capsys.readouterr()
        self.err, self.code = shown.err, ended.value.code
        assert not ended.value.code, shown.err
        return shown.out

    def json(self, *words):
        return json.loads(self(*words, "--json"))

    def refused(self, *words):
        """Run a command that must be refused, and return its sentence."""
        with pytest.raises(AssertionError):
            self(*words)
        assert self.code == 2, self.err
        return self.err.splitlines()[-1].removeprefix("error: ")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A service and the means to do its work."""
    folder = tmp_path_factory.mktemp("service")
    premises = Premises(folder)
    write_rows(folder / "data" / "other.csv", opinions(20))
    with serving(
        folder, models=premises.settings.models, data=premises.settings.data, requests=1e6,
        burst=1_000_000,
    ) as served:  # fmt: skip
        yield served, premises
    premises.close()


@pytest.fixture
def served(place):
    return place[0]


@pytest.fixture
def premises(place):
    return place[1]


@pytest.fixture
def shell(place, tmp_path, monkeypatch, capsys):
    """An empty folder with data, in which commands talk to the service."""
    monkeypatch.chdir(tmp_path)
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("AUTOPEFT_URL", place[0].url)
    monkeypatch.setenv("COLUMNS", "200")
    write_rows(tmp_path / "mine.csv", opinions(40))
    return Shell(monkeypatch, capsys)


@contextmanager
def working(premises, *lanes):
    """Do what is waiting, again and again, in the time of a ``with`` block."""
    over = threading.Event()

    def work():
        while not over.wait(0.01):
            premises.work(*lanes)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def search(shell, premises):
    """A search of the service's own data that waits for a worker."""
    made = shell("submit", *SEARCH, "--data", "opinions.csv").strip()
    premises.work(Lane.CHECKS)
    return made


@pytest.fixture(scope="module")
def done(place):
    """A search that was run to its end."""
    job = place[1].search()
    place[1].work()
    return job.id


def test_a_search_is_handed_over_and_its_id_is_all_that_is_written(shell, served):
    made = shell("submit", *SEARCH, "--data", "opinions.csv")

    assert served.service.jobs.job(made.strip()).state is JobState.VALIDATING
    assert "there is no opinions.csv here: the service will look for it" in shell.err


def test_a_file_that_is_here_is_uploaded_once(shell, served, premises):
    with working(premises, Lane.CHECKS):
        first = shell("submit", *SEARCH, "--data", "mine.csv").strip()
        uploaded = shell.err
        second = shell("submit", *SEARCH, "--data", "mine.csv").strip()

    used = {served.service.jobs.job(job).request["data"]["dataset"] for job in (first, second)}
    assert uploaded == f"uploaded mine.csv: {used.pop()}\n"
    assert used == set()
    assert shell.err.startswith("the service has mine.csv already: dataset_")


def test_a_file_of_no_use_is_told_before_anything_is_submitted(shell, premises, tmp_path):
    (tmp_path / "odd.parquet").write_bytes(b"no parquet at all")
    known = {search["id"] for search in shell.json("status", "--limit", "100")}
    with working(premises, Lane.CHECKS):
        said = shell.refused("submit", *SEARCH, "--data", "odd.parquet")

    assert said.startswith("the service cannot use odd.parquet: ")
    assert {search["id"] for search in shell.json("status", "--limit", "100")} == known


def test_a_folder_of_images_is_packed_always_the_same_way(tmp_path):
    from autopeft.cli.submission import _packed

    for name in ("cats/1.png", "dogs/2.png"):
        file = tmp_path / "pictures" / name
        file.parent.mkdir(parents=True)
        file.write_bytes(name.encode())

    once = _packed(tmp_path / "pictures", tmp_path / "a.zip").read_bytes()
    again = _packed(tmp_path / "pictures", tmp_path / "b.zip").read_bytes()

    assert once == again
    assert b"dogs/2.png" in once


def test_all_that_search_takes_goes_along(shell, tmp_path):
    space = "name: ours\ngroups: [{slots: ['lora@attention.query'], sizes: [0, 4]}]"
    (tmp_path / "space.yaml").write_text(space)

    made = shell.json(
        "submit", "--model", "tiny", "--data", "opinions.csv", "--test", "other.csv", "--budget",
        "3k", "--space", "space.yaml", "--strategy", "evolution", "--option", "evaluations=40",
        "--objective", "score,params", "--rungs", "1/9,1/3", "--warm-start", "auto", "--trials",
        "7", "--time", "1h", "--finals", "2", "--seed", "5", "--text", "text", "--task",
        "classification", "--metric", "macro_f1", "--max-length", "16", "--epochs", "2",
        "--batch-size", "4", "--precision", "bf16", "--rank-scaling", "inverse", "--executor",
        "inline", "--threads", "2", "--metadata", "team=a", "--priority", "3",
    )  # fmt: skip
    asked = made["request"]

    assert asked["data"]["path"] == "opinions.csv"
    assert asked["data"]["test_path"] == "other.csv"
    assert asked["space_yaml"] == space
    assert (asked["strategy"], asked["options"]) == ("evolution", {"evaluations": "40"})
    assert (asked["objectives"], asked["rungs"]) == (["score", "params"], [0.111111, 0.333333])
    assert asked["limits"] == {"trials": 7, "seconds": 3600.0, "finals": 2}
    assert (asked["task"]["metric"], asked["task"]["max_length"]) == ("macro_f1", 16)
    assert (asked["recipe"]["epochs"], asked["recipe"]["rank_scaling"]) == (2, "inverse")
    assert (asked["run"]["threads"], asked["seed"], asked["budget"]) == (2, 5, "3k")
    assert (made["metadata"], made["priority"]) == ({"team": "a"}, 3)


def test_a_name_makes_it_one_search(shell):
    words = ("submit", *SEARCH, "--data", "opinions.csv", "--once", "tonight")

    assert shell(*words) == shell(*words)


def test_search_detached_is_submit(shell, served):
    made = shell("search", *SEARCH, "--data", "opinions.csv", "--detach").strip()

    assert served.service.jobs.job(made).request["limits"]["trials"] == 2


def test_search_detached_takes_the_options_of_submit(shell):
    labels = ("--metadata", "team=a", "--priority", "-2", "--once", "detached")
    words = (*SEARCH, "--data", "opinions.csv", *labels)
    made = shell.json("search", *words, "--detach")

    assert (made["metadata"], made["priority"]) == ({"team": "a"}, -2)
    assert shell.json("submit", *words)["id"] == made["id"]


@pytest.mark.parametrize(
    "words",
    [("--metadata", "a=b"), ("--priority", "1"), ("--once", "x"), ("-f",), ("--url", "http://x")],
)
def test_a_search_that_is_not_detached_refuses_the_options_of_submit(shell, words):
    said = shell.refused("search", *SEARCH, "--data", "opinions.csv", *words)

    assert "add --detach, or leave them out" in said


def test_a_folder_that_is_here_too_is_named_by_its_whole_path(shell, served, premises, tmp_path):
    (tmp_path / "mine").symlink_to(premises.folder / "models" / "tiny")
    words = [*SEARCH, "--data", "opinions.csv", "--model", "mine"]
    made = shell("submit", *words).strip()

    named = served.service.jobs.job(made).request["model"]
    assert named == str((premises.folder / "models" / "tiny").resolve())


def test_a_search_is_followed_to_its_end_and_fetched(shell, premises, tmp_path):
    with working(premises):
        said = shell(
            "submit", *SEARCH, "--data", "mine.csv", "--seed", "3", "--follow", "--out", "out"
        )

    assert "reaches accuracy" in said
    assert "out/plan.json" in said
    assert "trial 1 begins" in shell.err
    assert "search has succeeded" in shell.err
    plan = json.loads((tmp_path / "out" / "plan.json").read_text())
    assert str(premises.folder) not in json.dumps(plan)
    assert (tmp_path / "out" / "report.md").read_text().startswith("# ")


def test_a_followed_search_that_fails_is_an_error(shell, premises):
    with working(premises):
        said = shell.refused(
            "submit", *SEARCH, "--data", "opinions.csv", "--label", "none", "--follow"
        )

    assert "has failed: " in said
    assert "none" in said


def test_all_that_a_service_refuses_is_told_at_once(shell):
    said = shell.refused("submit", *SEARCH, "--data", "nowhere.csv", "--model", "package:none")

    assert "the model 'package:none' is not one that this service offers" in said
    assert "; also data.path: cannot read the data 'nowhere.csv'" in said


def test_a_followed_search_that_was_cancelled_is_an_error(shell):
    """It is the same search, by its name; it was cancelled before anybody followed it."""
    words = ("submit", *SEARCH, "--data", "opinions.csv", "--once", "lost")
    shell("cancel", shell(*words).strip())

    assert shell.refused(*words, "--follow").endswith("was cancelled")


@pytest.mark.slow
def test_control_c_ends_the_view_and_not_the_search(served, tmp_path):
    words = ("submit", *SEARCH, "--data", "opinions.csv", "--follow", "--url", served.url)
    process = subprocess.Popen(
        command(*words), cwd=tmp_path, env=environment(tmp_path), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    search = process.stderr.readline().split(":")[0]
    assert "waits to be validated" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=30)[1]

    assert process.returncode == 130
    assert told == f"the search goes on: autopeft logs -f {search} shows it again\n"
    assert served.service.jobs.job(search).state is JobState.VALIDATING


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget", "much"), "cannot read budget 'much'"),
        (("--trials", "0"), "--trials must be at least 1, not 0"),
        (("--trials", "2000000"), "no service takes 2000000 for trials: "),
        (("--objective", "speed"), "there is no objective 'speed'"),
        (("--rungs", "2"), "cannot read the rungs '2'"),
        (("--time", "soon"), "cannot read the time 'soon'"),
        (("--option", "fast"), "cannot read --option 'fast': write it as KEY=VALUE"),
        (("--metadata", "team"), "cannot read --metadata 'team': write it as KEY=VALUE"),
        (("--executor", "moon"), "no service takes 'moon' for executor: "),
        (("--store", "sqlite:///x.db"), "a service has a store of its own: leave --store out"),
        (("--pack", "400"), "no service takes 400 for pack: "),
        (("--out", "here"), "the results are not there yet: leave --out out"),
        (("--space", "none.yaml"), "cannot read the space file 'none.yaml'"),
    ],
)
def test_what_is_mistyped_is_told_before_anything_is_uploaded(shell, served, words, said):
    before = served.service.datasets.page()

    assert said in shell.refused("submit", *SEARCH, "--data", "mine.csv", *words)
    assert served.service.datasets.page() == before


def test_the_state_of_a_search_is_shown(shell, search):
    shown = shell("status", search)

    for fact in (search, "queued", "tiny", "opinions.csv", "lora"):
        assert fact in shown
    assert shell.json("status", search)["state"] == "queued"
    assert shell.json("status", "latest")["id"] == search


def test_searches_are_listed(shell, search, done):
    listed = shell("status", "--limit", "100")

    assert search in listed
    assert done in listed
    states = {each["state"] for each in shell.json("status", "--state", "succeeded")}
    assert states == {"succeeded"}
    assert len(shell.json("status", "--limit", "1")) == 1


def test_why_a_search_failed_is_shown(shell, served, search):
    trouble = Trouble(code="out_of_memory", detail="it needs more memory than there is")
    served.set(search, state=JobState.FAILED, trouble=trouble)

    assert "it needs more memory than there is" in shell("status", search)


def test_what_happened_is_shown_and_the_command_ends(shell, served, search):
    served.set(search, Happening(kind="message", message="look out", level="warning"))
    shown = shell("logs", search)

    assert "  warning: look out\n" in shown
    events = [json.loads(line) for line in shell("logs", search, "--json").splitlines()]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))


def test_logs_are_followed_to_the_end(shell, premises, search):
    with working(premises):
        shown = shell("logs", "-f", search)

    assert shown.endswith("search has succeeded\n")


def test_a_job_is_paused_resumed_and_cancelled(shell, search):
    assert shell("pause", search) == f"{search} is paused\n"
    assert shell("resume", search) == f"{search} is queued\n"
    assert shell.json("cancel", search)["state"] == "cancelled"
    assert "cannot be paused" in shell.refused("pause", search)


def test_a_search_is_extended(shell, served, search):
    shell("extend", search, "--trials", "9", "--time", "2h")

    limits = served.service.jobs.job(search).request["limits"]
    assert limits == {"trials": 9, "seconds": 7200.0, "finals": 0}


def test_an_extension_names_what_changes(shell, search):
    assert "name what is to change: --trials, --time or --finals" in shell.refused("extend", search)
    assert "at least 1, not 0" in shell.refused("extend", search, "--trials", "0")


def test_what_was_found_is_fetched(shell, served, done, tmp_path):
    shown = shell("fetch", done, "--out", "got")

    names = [line.split("/")[1] for line in shown.splitlines()]
    assert names[:3] == ["plan.json", "report.md", "report.html"]
    artifacts = {each.name for each in served.service.jobs.artifacts(done)}
    assert {each.name for each in (tmp_path / "got").iterdir()} == artifacts
    assert shell.json("fetch", done)["files"][0] == f"autopeft-runs/{done}/plan.json"


def test_a_training_is_fetched(shell, served, premises, done, tmp_path):
    training = served.client().post(f"/v1/plans/{done}/train", json={"threads": 1}).json()["id"]
    assert "has made no files yet" in shell.refused("fetch", training, "--out", "got")
    premises.work()
    shell("fetch", training, "--out", "got")

    assert (tmp_path / "got" / "adapter.safetensors").stat().st_size > 0
    assert "succeeded" in shell("status", training)
    assert shell("logs", training).endswith("training has succeeded\n")


def test_what_is_not_there_yet_leaves_no_folder(shell, tmp_path):
    search = shell("submit", *SEARCH, "--data", "opinions.csv", "--seed", "7").strip()

    assert f"the search {search} is validating and has no plan yet" in shell.refused(
        "fetch", search, "--out", "none"
    )
    assert not (tmp_path / "none").exists()


def test_a_job_that_is_none_is_told(shell):
    assert "is no id of a job" in shell.refused("status", "dataset_1")
    assert "there is no search 'search_000000000000'" in shell.refused(
        "status", "search_000000000000"
    )
    assert "this needs a search" in shell.refused("extend", "training_1", "--trials", "3")
    assert "is an estimate and makes no files" in shell.refused("fetch", "estimate_1")


def test_where_nothing_was_submitted_that_is_said(shell, tmp_path):
    with serving(tmp_path / "empty") as other:
        assert shell("status", "--url", other.url).startswith("there are no searches")
        assert "there is no search yet" in shell.refused("status", "latest", "--url", other.url)


def test_where_there_is_no_service_it_says_what_to_do(shell):
    said = shell.refused("status", "--url", "http://127.0.0.1:1")

    assert said.startswith(
        "no service answers at http://127.0.0.1:1: start one with autopeft serve"
    )


def test_the_service_of_this_machine_is_asked_unless_another_is_named(shell, served, monkeypatch):
    monkeypatch.delenv("AUTOPEFT_URL")
    monkeypatch.setenv("AUTOPEFT_SERVICE__PORT", served.url.rpartition(":")[2])

    assert shell("status", "--limit", "1")


def test_a_service_with_keys_wants_one_that_no_error_shows(shell, tmp_path, monkeypatch):
    with serving(tmp_path / "keyed") as other:
        token = other.key("ada")
        monkeypatch.setenv("AUTOPEFT_URL", other.url)
        assert "without a valid API key" in shell.refused("status")
        assert shell("status", "--key", token).startswith("there are no searches")
        monkeypatch.setenv("AUTOPEFT_KEY", token[:-1])
        said = shell.refused("status")

    assert "without a valid API key" in said
    assert token[:-1] not in shell.err
