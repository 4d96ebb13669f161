"""The calls around jobs: searches, estimates and trainings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from autopeft.client.calls import Call, Stream, get, paged, post
from autopeft.client.methods import Group, Way, calling, following
from autopeft.resources.answers import (
    ArtifactResource,
    EstimateResource,
    EventResource,
    JobResource,
    Listed,
    ParetoResource,
    SearchResource,
    TrainingResource,
    TrialDetail,
    TrialResource,
    TrialState,
)
from autopeft.resources.requests import (
    EstimateRequest,
    ExtendRequest,
    SearchRequest,
    TrainRequest,
)
from autopeft.service.job import JobState

Resource = TypeVar("Resource", bound=JobResource)
Purpose = Literal["baseline", "search", "final"]


class Jobs(Group[Way], Generic[Way, Resource]):
    """What can be done with jobs of any kind; ``job`` is an id."""

    def __init__(
        self, sender: Way, place: str, one: type[Resource], page: type[Listed[Resource]]
    ) -> None:
        super().__init__(sender)
        self._place = place
        self._one = one
        self._page = page

    @calling
    def get(self, job: str) -> Call[Resource]:
        """Find a job."""
        return get(self._place + "/{id}", self._one, id=job)

    @calling
    def list(
        self,
        *,
        limit: int | None = None,
        after: str | None = None,
        state: Sequence[JobState] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Call[Listed[Resource]]:
        """List a page of jobs, the newest first; only those in some states, or with metadata."""
        return get(self._place, self._page, *paged(limit, after, state=state, metadata=metadata))

    @calling
    def cancel(self, job: str) -> Call[Resource]:
        """End a job for good; what a search has measured is kept."""
        return post(self._place + "/{id}/cancel", self._one, id=job)

    @calling
    def pause(self, job: str) -> Call[Resource]:
        """Let a job rest until it is resumed."""
        return post(self._place + "/{id}/pause", self._one, id=job)

    @calling
    def resume(self, job: str) -> Call[Resource]:
        """Let a job go on that rests, has failed or was cancelled."""
        return post(self._place + "/{id}/resume", self._one, id=job)

    @calling
    def history(
        self, job: str, *, limit: int | None = None, after: int | None = None
    ) -> Call[Listed[EventResource]]:
        """List a page of what happened, after the event with a number."""
        path = self._place + "/{id}/events"
        return get(path, Listed[EventResource], *paged(limit, after), id=job)

    @following
    def events(self, job: str, *, after: int = 0) -> Stream:
        """Iterate over what happens until the job has ended.

        A connection that is lost is opened again; no event is told twice or left out.
        """
        return Stream(path=self._place + "/{id}/events", at={"id": job}, after=after)


class Makers(Jobs[Way, Resource]):
    """Jobs that make files."""

    @calling
    def artifacts(self, job: str) -> Call[Listed[ArtifactResource]]:
        """List the files that a job has made."""
        return get(self._place + "/{id}/artifacts", Listed[ArtifactResource], id=job)

    @calling
    def download(self, job: str, name: str, into: Path) -> Call[Path]:
        """Write an artifact to a file, which is there whole or not at all.

        A connection that is lost goes on where it broke off, and the digest is checked.
        """
        path, at = self._place + "/{id}/artifacts/{name}", {"id": job, "name": name}
        return Call(method="GET", path=path, answer=Path, at=at, into=into)


class Searches(Makers[Way, SearchResource]):
    """Searches: ``client.searches``."""

    def __init__(self, sender: Way) -> None:
        super().__init__(sender, "/v1/searches", SearchResource, Listed[SearchResource])

    @calling
    def create(self, request: SearchRequest, *, once: str | None = None) -> Call[SearchResource]:
        """Submit a search.

        ``once`` is an Idempotency-Key: a second call with the same one makes no second search.
        """
        return post(self._place, SearchResource, request, once=once)

    @calling
    def extend(self, job: str, limits: ExtendRequest) -> Call[SearchResource]:
        """Give a search other limits; one that has ended goes on with them."""
        return post(self._place + "/{id}/extend", SearchResource, limits, id=job)

    @calling
    def trials(
        self,
        job: str,
        *,
        limit: int | None = None,
        after: int | None = None,
        state: Sequence[TrialState] = (),
        purpose: Sequence[Purpose] = (),
    ) -> Call[Listed[TrialResource]]:
        """List a page of trials in the order of their numbers."""
        query = paged(limit, after, state=state, purpose=purpose)
        return get(self._place + "/{id}/trials", Listed[TrialResource], *query, id=job)

    @calling
    def trial(self, job: str, number: int) -> Call[TrialDetail]:
        """Find a trial with its table of sizes."""
        return get(self._place + "/{id}/trials/{n}", TrialDetail, id=job, n=str(number))

    @calling
    def pareto(self, job: str) -> Call[ParetoResource]:
        """Return the trials in all objectives, which of them no other beats, and how far."""
        return get(self._place + "/{id}/pareto", ParetoResource, id=job)

    @calling
    def report(self, job: str, *, form: Literal["markdown", "html"] = "markdown") -> Call[str]:
        """Return the report, as Markdown or as one page that needs no network."""
        return get(self._place + "/{id}/report", str, ("format", form), id=job)

    @calling
    def plan(self, job: str) -> Call[dict[str, Any]]:
        """Return the plan: what `autopeft train` takes."""
        return get(self._place + "/{id}/plan", dict[str, Any], id=job)


class Estimates(Jobs[Way, EstimateResource]):
    """What searches would cost: ``client.estimates``."""

    def __init__(self, sender: Way) -> None:
        super().__init__(sender, "/v1/estimates", EstimateResource, Listed[EstimateResource])

    @calling
    def create(
        self, request: EstimateRequest, *, once: str | None = None
    ) -> Call[EstimateResource]:
        """Ask what a search would cost; the answer is the job's ``result`` when it has ended."""
        return post(self._place, EstimateResource, request, once=once)


class Trainings(Makers[Way, TrainingResource]):
    """Plans that the service trains: ``client.trainings``."""

    def __init__(self, sender: Way) -> None:
        super().__init__(sender, "/v1/trainings", TrainingResource, Listed[TrainingResource])

    @calling
    def create(
        self,
        search: str,
        request: TrainRequest = TrainRequest(),  # noqa: B008  # frozen
        *,
        once: str | None = None,
    ) -> Call[TrainingResource]:
        """Train the plan of a search, and score it on the test part."""
        return post("/v1/plans/{id}/train", TrainingResource, request, once=once, id=search)
