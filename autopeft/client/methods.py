"""Turns the description of a call into a method: one that waits, or one that is awaited."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from autopeft.client.calls import Answer, Call, Stream
from autopeft.client.transports import AsyncSender, Sender
from autopeft.resources.answers import EventResource

Way = TypeVar("Way", bound=Sender | AsyncSender)
Given = ParamSpec("Given")


class Group(Generic[Way]):
    """Calls that belong together, and the way in which they are sent."""

    def __init__(self, sender: Way) -> None:
        self._sender = sender

    @property
    def sender(self) -> Way:
        """The way in which calls are sent."""
        return self._sender


class calling(Generic[Given, Answer]):  # noqa: N801  # a decorator
    """Makes a method of the function that describes its call."""

    def __init__(self, describe: Callable[Concatenate[Any, Given], Call[Answer]]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, group: None, owner: type) -> Self: ...
    @overload
    def __get__(self, group: Group[Sender], owner: type) -> Callable[Given, Answer]: ...
    @overload
    def __get__(
        self, group: Group[AsyncSender], owner: type
    ) -> Callable[Given, Awaitable[Answer]]: ...
    def __get__(self, group: Group[Any] | None, owner: type) -> Any:
        """Bind the method to a group, as Python does with functions."""
        if group is None:
            return self

        @wraps(self.describe)
        def send(*given: Given.args, **named: Given.kwargs) -> Any:
            return group.sender.run(self.describe(group, *given, **named))

        return send


class following(Generic[Given]):  # noqa: N801  # a decorator
    """Makes an iterator over events of the function that describes their stream."""

    def __init__(self, describe: Callable[Concatenate[Any, Given], Stream]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, group: None, owner: type) -> Self: ...
    @overload
    def __get__(
        self, group: Group[Sender], owner: type
    ) -> Callable[Given, Iterator[EventResource]]: ...
    @overload
    def __get__(
        self, group: Group[AsyncSender], owner: type
    ) -> Callable[Given, AsyncIterator[EventResource]]: ...
    def __get__(self, group: Group[Any] | None, owner: type) -> Any:
        """Bind the method to a group, as Python does with functions."""
        if group is None:
            return self

        @wraps(self.describe)
        def follow(*given: Given.args, **named: Given.kwargs) -> Any:
            return group.sender.follow(self.describe(group, *given, **named))

        return follow
