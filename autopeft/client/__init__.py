"""Talks to a service from Python: the same requests and answers, typed.

    with Client("http://127.0.0.1:8700") as client:
        search = client.searches.create(request)
        for event in client.searches.events(search.id):
            print(event.message)

`AsyncClient` has the same methods, to be awaited.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autopeft.client.client import AsyncClient, Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    """Import the clients, and with them httpx, when one is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from autopeft.errors import OptionError

    try:
        from autopeft.client import client
    except ModuleNotFoundError as error:
        if error.name != "httpx":
            raise
        raise OptionError(
            "the client needs the package httpx: pip install 'autopeft[service]'"
        ) from None
    return getattr(client, name)
