"""Kill -9 of a service's processes at random moments, while it works on a set of searches.

    python benchmarks/faults.py --kills 200
    python benchmarks/faults.py --kills 200 --store postgresql     # a server is started for it
    python benchmarks/faults.py --kills 6 --every 3 --most 4       # the quick form

An `autopeft serve` is started anew as soon as it has died, as systemd does. Small searches (a tiny
BERT, 200 texts) are submitted over HTTP all the while, each with its Idempotency-Key until it was
accepted. Every few seconds one process is killed: the API, the supervisor, or the process of one of
the lanes. One to four kills follow each other, whatever the service is at, and then it has the time
to measure a trial: what is killed for ever while it imports torch gets nowhere. After the last kill
the jobs have time to end. Then each of them must have succeeded, each of its trials must be there
once, and its trials, its finals and its plan must be equal to those of the same request that nobody
has interrupted, in a store of its own.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from autopeft.service.job import JobState  # noqa: E402
from autopeft.storage.service.sql import SqlService  # noqa: E402
from autopeft.storage.sql import SqlStore  # noqa: E402
from tests.worker.premises import Premises, a_body  # noqa: E402

ROWS = 200
WEIGHTS = {"api": 2, "supervisor": 2, "checks": 1, "runs": 5}
"""How often which process is the one that is killed, where it lives."""
_MARK = "AUTOPEFT_SOAK"
_AGAIN = 0.3
_BURST = 4
_CALM = 60.0


@dataclass
class Outcome:
    """What was done, and all that is wrong."""

    killed: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    trials: int = 0
    begun: int = 0
    lost: int = 0
    doubled: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)


@dataclass
class Soak:
    """What is killed how often: ``every`` are the seconds between two kills, on average.

    ``most`` searches wait or run at a time; after the last kill there are ``patience`` seconds.
    """

    kills: int
    every: float = 5.0
    most: int = 3
    patience: float = 300.0
    seed: int = 0
    minutes: float = 1e9


def request(number: int) -> dict[str, Any]:
    """Return the body of a search: without rungs, with them, and with a supernet, in turn."""
    kinds: list[dict[str, Any]] = [
        {"strategy": "random"},
        {"strategy": "random", "rungs": [0.5]},
        {"strategy": "autopeft", "limits": {"trials": 6, "finals": 1}},
    ]
    recipe = {"epochs": 2, "batch_size": 8}
    return a_body(recipe=recipe, seed=number, **kinds[number % len(kinds)])


def soak(folder: Path, store: str, how: Soak) -> Outcome:
    """Kill and look what has become of the searches."""
    outcome, began = Outcome(), time.monotonic()
    place = Premises(folder, rows=ROWS)
    place.close()
    with served(place, store, folder / "log") as address:
        accepted = _through(address, store, how, outcome)
        _await(store, accepted, how.patience)
        outcome.seconds = time.monotonic() - began
        downloaded = {job: _plan(address, job) for job in accepted}
    with SqlService(store).closing() as service:
        place.service, place.store = service, SqlStore(store)
        for job_id, number in accepted.items():
            _check(place, job_id, number, downloaded[job_id], outcome)
        place.store.close()
    outcome.jobs = len(accepted)
    return outcome


@contextmanager
def served(place: Premises, store: str, log: Path) -> Iterator[str]:
    """Keep a service alive, whatever happens to it; yield its address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    words = [sys.executable, "-m", "autopeft", "serve", "--port", str(port), "--store", store]
    for name, folder in (("files", "files"), ("models", "models"), ("data", "data")):
        words += [f"--{name}", str(place.folder / folder)]
    token = uuid.uuid4().hex
    environment = os.environ | {
        _MARK: token, "AUTOPEFT_CACHE": str(place.folder / "cache"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    over, alive = threading.Event(), []

    def keep() -> None:
        with log.open("ab") as stream:
            while not over.is_set():
                process = subprocess.Popen(
                    words, env=environment, stdout=stream, stderr=stream, start_new_session=True
                )
                alive[:] = [process]
                process.wait()
                over.wait(_AGAIN)

    thread = threading.Thread(target=keep, daemon=True)
    os.environ[_MARK] = token
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        over.set()
        for process in alive:
            process.terminate()
        thread.join(90)
        for pid in living(token).values():
            os.kill(pid, signal.SIGKILL)


def living(token: str) -> dict[str, int]:
    """Return the processes of the service by what they do; one of each kind."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{_MARK}={token}".encode() not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            words = (folder / "cmdline").read_bytes().decode().split("\0")
        except OSError:
            continue
        if "--only" in words:
            found[words[words.index("--only") + 1]] = int(folder.name)
        elif "autopeft.worker" in words:
            found["supervisor"] = int(folder.name)
        elif "serve" in words:
            found["api"] = int(folder.name)
    return found


def _through(address: str, store: str, how: Soak, outcome: Outcome) -> dict[str, int]:
    """Submit and kill, until the last kill; return the jobs that were accepted."""
    rng = random.Random(how.seed)
    accepted: dict[str, int] = {}
    token, end = os.environ[_MARK], time.monotonic() + 60 * how.minutes
    over = threading.Event()

    def submit() -> None:
        with SqlService(store).closing() as service:
            while not over.is_set():
                going = [job for job in accepted if not service.jobs.job(job).state.ended]
                if len(going) < how.most:
                    number = len(accepted)
                    accepted[_accepted(address, request(number), outcome)] = number
                over.wait(_AGAIN)

    submitting = threading.Thread(target=submit, daemon=True)
    submitting.start()
    left = 0
    while sum(outcome.killed.values()) < how.kills and time.monotonic() < end:
        if left == 0:
            left = rng.randint(1, _BURST)
            _calm(store, min(end, time.monotonic() + _CALM))
        time.sleep(rng.uniform(0.1, 2 * how.every - 0.1))
        left -= 1
        processes = living(token)
        kinds = sorted(processes)
        if not kinds:
            continue
        kind = rng.choices(kinds, [WEIGHTS[each] for each in kinds])[0]
        try:
            os.kill(processes[kind], signal.SIGKILL)
        except ProcessLookupError:
            continue
        outcome.killed[kind] += 1
        count = sum(outcome.killed.values())
        if count % 10 == 0:
            note(f"{count} kills, {len(accepted)} searches accepted")
    over.set()
    submitting.join(60)
    return accepted


def _calm(store: str, end: float) -> None:
    """Wait until one more trial has been measured."""
    with closing(SqlStore(store)) as kept:

        def measured() -> int:
            studies = kept.studies()
            return sum(trial.ended for study in studies for trial in kept.trials(study.id))

        before = measured()
        while measured() == before and time.monotonic() < end:
            time.sleep(_AGAIN)


def _accepted(address: str, body: dict[str, Any], outcome: Outcome) -> str:
    """Submit a search; return its id, which a repeated request must tell too."""
    key = uuid.uuid4().hex
    first, again = (_post(address, body, key) for _ in range(2))
    if first != again:
        outcome.wrong.append(f"a repeated request made {again} beside {first}")
    return first


def _post(address: str, body: dict[str, Any], key: str) -> str:
    """Submit until it is accepted; return the job's id."""
    while True:
        try:
            answer = httpx.post(
                f"{address}/v1/searches", json=body, headers={"Idempotency-Key": key}, timeout=20
            )
        except httpx.TransportError:
            time.sleep(0.1)
            continue
        if answer.status_code == 202:
            return str(answer.json()["id"])
        busy = answer.status_code == 503 or (
            answer.status_code == 409 and answer.json()["code"] == "idempotency_in_progress"
        )
        assert busy, f"{answer.status_code}: {answer.text}"
        time.sleep(0.5)


def _await(store: str, accepted: dict[str, int], patience: float) -> None:
    end = time.monotonic() + patience
    with SqlService(store).closing() as service:
        while time.monotonic() < end:
            if all(service.jobs.job(job).state.ended for job in accepted):
                return
            time.sleep(0.5)


def _plan(address: str, job_id: str) -> Any:
    """Download a plan, as soon as the service answers."""
    for _ in range(60):
        try:
            answer = httpx.get(f"{address}/v1/searches/{job_id}/plan", timeout=20)
        except httpx.TransportError:
            time.sleep(0.5)
            continue
        return answer.json() if answer.status_code == 200 else answer.status_code
    return None


def _check(place: Premises, job_id: str, number: int, plan: Any, outcome: Outcome) -> None:
    """Compare a search with the same one that nobody has interrupted."""
    job = place.service.jobs.job(job_id)
    if job.state is not JobState.SUCCEEDED:
        outcome.wrong.append(f"{job_id} ({number}) is {job.state}: {job.trouble}")
        return
    told = place.events(job, "trial")
    begun = Counter((h.data["number"], h.data["share"]) for h in told if h.data["score"] is None)
    ended = Counter((h.data["number"], h.data["share"]) for h in told if h.data["score"])
    outcome.begun += sum(begun.values())
    outcome.doubled += sum(count - 1 for count in ended.values())
    messages = [h.message for h in place.events(job, "message")]
    outcome.lost += sum(" was lost " in message for message in messages)
    trials, kept = place.measured(job), place.plan(job)
    outcome.trials += len(trials)
    if len({trial.number for trial in trials}) != len(trials):
        outcome.wrong.append(f"{job_id} ({number}) has a trial twice")
    for place_of, *both in differences((trials, kept), uninterrupted(number)):
        outcome.wrong.append(f"{job_id} ({number}) differs in {place_of}: {both}")
    if not isinstance(plan, dict):
        outcome.wrong.append(f"{job_id} ({number}) answers {plan} when asked for its plan")
        return
    for place_of, *both in differences(_found(plan), _found(kept.to_json())):
        outcome.wrong.append(f"{job_id} ({number}) gives another {place_of} in its plan: {both}")


def _found(plan: dict[str, Any]) -> dict[str, Any]:
    """Leave out of a plan where and when it was made, and from which commit."""
    evidence = {name: part for name, part in (plan.get("evidence") or {}).items() if name != "code"}
    left_out = {"where", "provenance", "digest", "evidence"}
    return {name: part for name, part in plan.items() if name not in left_out} | evidence


def differences(found: Any, wanted: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield where two values differ, and how."""
    if found == wanted:
        return
    if is_dataclass(found):
        for each in fields(found):
            both = getattr(found, each.name), getattr(wanted, each.name)
            yield from differences(*both, f"{path}.{each.name}")
    elif isinstance(found, (list, tuple)) and len(found) == len(wanted):
        for number, both in enumerate(zip(found, wanted, strict=True)):
            yield from differences(*both, f"{path}[{number}]")
    elif isinstance(found, dict) and found.keys() == wanted.keys():
        for name, value in found.items():
            yield from differences(value, wanted[name], f"{path}.{name}")
    else:
        yield path, str(found)[:300], str(wanted)[:300]


def uninterrupted(number: int) -> tuple[Any, Any]:
    """Run a search in this process, in a store of its own; return its trials and its plan."""
    with tempfile.TemporaryDirectory() as name:
        place = Premises(Path(name) / "alone", rows=ROWS)
        job = place.search(**request(number))
        place.work()
        found = place.measured(job), place.plan(job)
        place.close()
    return found


def note(text: str) -> None:
    """Say how far it is."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def table(outcome: Outcome) -> str:
    """Return what was found, in Markdown."""
    rows = {
        "killed": ", ".join(f"{kind} {n}" for kind, n in sorted(outcome.killed.items())),
        "kills": sum(outcome.killed.values()),
        "seconds": f"{outcome.seconds:.0f}",
        "searches accepted": outcome.jobs,
        "workers lost at them": outcome.lost,
        "trials (and how often one was begun)": f"{outcome.trials} ({outcome.begun})",
        "ends of a trial that were told twice": outcome.doubled,
        "wrong": len(outcome.wrong),
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *lines, *outcome.wrong])


def main() -> None:
    """Run it, and say what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--every", type=float, default=5.0)
    parser.add_argument("--most", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", help="a file, unless an address or postgresql is given")
    parser.add_argument("--folder", help="kept afterwards, with the log")
    options = parser.parse_args()
    how = Soak(
        kills=options.kills, every=options.every, most=options.most, seed=options.seed,
        minutes=options.minutes,
    )  # fmt: skip
    with ExitStack() as stack:
        folder = Path(options.folder or stack.enter_context(tempfile.TemporaryDirectory()))
        store = options.store or f"sqlite:///{folder / 'store.db'}"
        if store == "postgresql":
            from tests.postgres import a_server

            store = stack.enter_context(a_server()).new_database()
        outcome = soak(folder / "service", store, how)
    print(table(outcome))
    sys.exit(bool(outcome.wrong))


if __name__ == "__main__":
    main()
