"""The clients that users make."""

from types import TracebackType
from typing import Self

from autopeft.client.calls import Call, get
from autopeft.client.data import Datasets
from autopeft.client.exchange import Patience
from autopeft.client.jobs import Estimates, Searches, Trainings
from autopeft.client.methods import Group, Way, calling
from autopeft.client.transports import AsyncSender, Sender
from autopeft.resources.answers import Answered, Listed
from autopeft.resources.catalog import (
    MethodResource,
    ModelList,
    SpaceResource,
    StrategyResource,
)

_TIMEOUT = 30.0


class Ready(Answered):
    """Whether each part of a service can be used: ``ok``, or what is wrong."""

    ready: bool
    parts: dict[str, str]


class Calls(Group[Way]):
    """All calls of the API."""

    def __init__(self, sender: Way) -> None:
        super().__init__(sender)
        self.searches: Searches[Way] = Searches(sender)
        self.estimates: Estimates[Way] = Estimates(sender)
        self.trainings: Trainings[Way] = Trainings(sender)
        self.datasets: Datasets[Way] = Datasets(sender)

    @property
    def url(self) -> str:
        """The service's address, without a password that may stand in it."""
        return self.sender.url

    @calling
    def spaces(self) -> Call[Listed[SpaceResource]]:
        """List the search spaces that a request may name."""
        return get("/v1/spaces", Listed[SpaceResource])

    @calling
    def methods(self) -> Call[Listed[MethodResource]]:
        """List the methods that spaces are made of."""
        return get("/v1/methods", Listed[MethodResource])

    @calling
    def models(self) -> Call[ModelList]:
        """List the models that a request may name."""
        return get("/v1/models", ModelList)

    @calling
    def strategies(self) -> Call[Listed[StrategyResource]]:
        """List the strategies with their options."""
        return get("/v1/strategies", Listed[StrategyResource])

    @calling
    def health(self) -> Call[Ready]:
        """Ask whether the service is ready to work.

        Raises:
            ServiceError: It is not.
        """
        return get("/readyz", Ready)


class Client(Calls[Sender]):
    """Talks to a service; a call returns when the answer is there.

    Raises:
        OptionError: The address or the key cannot be one.
        ServiceError: From every call: the service cannot be reached, or refuses (`RefusedError`).
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = _TIMEOUT,
        patience: Patience = Patience(),  # noqa: B008  # frozen
    ) -> None:
        super().__init__(Sender(url, key, timeout, patience))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.sender.close()


class AsyncClient(Calls[AsyncSender]):
    """Talks to a service like `Client`; calls are awaited, events iterated with ``async for``."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout: float = _TIMEOUT,
        patience: Patience = Patience(),  # noqa: B008  # frozen
    ) -> None:
        super().__init__(AsyncSender(url, key, timeout, patience))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self.sender.close()
