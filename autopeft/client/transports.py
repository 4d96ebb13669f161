"""The two ways to send a call: one that waits, and one that is awaited.

What is alike in both, and that is every decision, stands in `exchange`, `following` and `landing`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Any, final

import httpx

from autopeft import __version__
from autopeft.client.calls import Answer, Call, Stream
from autopeft.client.exchange import Came, Patience, Reply, exchange
from autopeft.client.following import READ_TIMEOUT, Following
from autopeft.client.landing import Landing
from autopeft.errors import OptionError
from autopeft.resources.answers import EventResource
from autopeft.service.key import parts_of


@final
class Sender:
    """Sends calls and waits for their answers."""

    def __init__(self, url: str, key: str | None, timeout: float, patience: Patience) -> None:
        self.url = _shown(url)
        self._patience = patience
        self._http = httpx.Client(**_options(url, key, timeout))

    def run(self, call: Call[Answer]) -> Answer:
        """Send a call, again if need be, and return its answer."""
        steps, landing = exchange(call, self._patience, self.url), _landing(call)
        came: Came | None = None
        try:
            while True:
                step = steps.send(came)
                if isinstance(step, float):
                    time.sleep(step)
                    came = None
                else:
                    came = self._sent(step, landing)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        finally:
            if landing:
                landing.give_up()

    def follow(self, stream: Stream) -> Iterator[EventResource]:
        """Yield events as they come, over as many connections as it takes."""
        following = Following(stream, self._patience, self.url)
        while not following.ended:
            came: Came | None = None
            try:
                with self._http.stream(**_listening(stream, following)) as response:
                    if not response.is_success:
                        came = _reply(response, response.read())
                    else:
                        for chunk in response.iter_bytes():
                            yield from following.feed(chunk)
                            if following.ended:
                                return
            except httpx.TransportError as error:
                came = error
            time.sleep(following.lost(came))

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def _sent(self, call: Call[Any], landing: Landing | None) -> Came:
        try:
            with (
                ExitStack() as opened,
                self._http.stream(**_request(call, landing, opened)) as response,
            ):
                if not landing or not response.is_success:
                    return _reply(response, response.read())
                landing.begin(response.status_code, response.headers)
                for chunk in response.iter_bytes():
                    landing.write(chunk)
                landing.finish()
                return _reply(response, b"")
        except httpx.TransportError as error:
            return error


@final
class AsyncSender:
    """Sends calls; their answers are awaited."""

    def __init__(self, url: str, key: str | None, timeout: float, patience: Patience) -> None:
        self.url = _shown(url)
        self._patience = patience
        self._http = httpx.AsyncClient(**_options(url, key, timeout))

    async def run(self, call: Call[Answer]) -> Answer:
        """Send a call, again if need be, and return its answer."""
        steps, landing = exchange(call, self._patience, self.url), _landing(call)
        came: Came | None = None
        try:
            while True:
                step = steps.send(came)
                if isinstance(step, float):
                    await asyncio.sleep(step)
                    came = None
                else:
                    came = await self._sent(step, landing)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        finally:
            if landing:
                landing.give_up()

    async def follow(self, stream: Stream) -> AsyncIterator[EventResource]:
        """Yield events as they come, over as many connections as it takes."""
        following = Following(stream, self._patience, self.url)
        while not following.ended:
            came: Came | None = None
            try:
                async with self._http.stream(**_listening(stream, following)) as response:
                    if not response.is_success:
                        came = _reply(response, await response.aread())
                    else:
                        async for chunk in response.aiter_bytes():
                            for event in following.feed(chunk):
                                yield event
                            if following.ended:
                                return
            except httpx.TransportError as error:
                came = error
            await asyncio.sleep(following.lost(came))

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def _sent(self, call: Call[Any], landing: Landing | None) -> Came:
        try:
            with ExitStack() as opened:
                async with self._http.stream(**_request(call, landing, opened)) as response:
                    if not landing or not response.is_success:
                        return _reply(response, await response.aread())
                    landing.begin(response.status_code, response.headers)
                    async for chunk in response.aiter_bytes():
                        landing.write(chunk)
                    landing.finish()
                    return _reply(response, b"")
        except httpx.TransportError as error:
            return error


def _options(url: str, key: str | None, timeout: float) -> dict[str, Any]:
    """Return what both of httpx's clients are made with.

    Raises:
        OptionError: The address or the key cannot be one; the key itself is not shown.
    """
    address = _address(url)
    headers = {"User-Agent": f"autopeft/{__version__}"}
    if key:
        headers["Authorization"] = f"Bearer {_token(key)}"
    # a proxy of the surroundings does not know what listens on this machine
    return {"base_url": address, "headers": headers, "timeout": timeout,
            "trust_env": not _is_here(address.host)}  # fmt: skip


def _address(url: str) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        address = httpx.URL("")
    if address.scheme not in {"http", "https"} or not address.host or address.query:
        raise OptionError(
            f"cannot read the service's address {url!r}: write it as http://HOST:PORT"
        )
    return address


def _shown(url: str) -> str:
    """Return an address without a password that may stand in it."""
    return str(_address(url).copy_with(userinfo=b"")).rstrip("/")


def _token(key: str) -> str:
    stripped = key.strip()
    if parts_of(stripped) is None or not stripped.isascii() or not stripped.isprintable():
        raise OptionError(
            "the key that was given is no API key: one begins with apk_ and is made by "
            "autopeft keys create"
        )
    return stripped


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _landing(call: Call[Any]) -> Landing | None:
    return Landing(call.into) if call.into else None


def _request(call: Call[Any], landing: Landing | None, opened: ExitStack) -> dict[str, Any]:
    """Return the arguments of a request; files are opened anew for each attempt."""
    request: dict[str, Any] = {
        "method": call.method, "url": call.address, "params": list(call.query),
        "headers": call.headers() | (landing.headers() if landing else {}),
    }  # fmt: skip
    if call.upload:
        stream = opened.enter_context(call.upload.open("rb"))
        request["files"] = {"file": (call.upload.name, stream, "application/octet-stream")}
        request["data"] = dict(call.form)
    elif call.body:
        request["content"] = call.body.model_dump_json(exclude_unset=True)
        request["headers"] |= {"Content-Type": "application/json"}
    return request


def _listening(stream: Stream, following: Following) -> dict[str, Any]:
    timeout = httpx.Timeout(READ_TIMEOUT)
    headers = following.headers()
    return {"method": "GET", "url": stream.address, "headers": headers, "timeout": timeout}


def _reply(response: httpx.Response, content: bytes) -> Reply:
    return Reply(status=response.status_code, headers=response.headers, content=content)
