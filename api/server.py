"""The web server, set up for this app."""

import logging
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from autopeft.api.dependencies import Parts
from autopeft.api.logs import ToLog

GRACE = 10
"""Seconds that open requests have when the server stops."""


class Server(uvicorn.Server):
    """Ends the streams of events first when it stops: they would keep it waiting."""

    def __init__(self, app: FastAPI, *, host: str, port: int) -> None:
        self._parts: Parts = app.state.parts
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_config=None,
                access_log=False,  # the app has its own lines
                server_header=False,
                proxy_headers=False,  # who asks is who is connected
                timeout_keep_alive=30,
                timeout_graceful_shutdown=GRACE,
                h11_max_incomplete_event_size=32 * 1024,
                ws="none",
            )
        )
        _log_through(self._parts)

    async def on_tick(self, counter: int) -> bool:
        """Look every 0.1 s whether the server is to stop."""
        stops = await super().on_tick(counter)
        if stops:
            self._parts.streams.close()
        return stops

    @property
    def port(self) -> int:
        """Where it listens, once it has started: of use where any free port was asked for."""
        port: int = self.servers[0].sockets[0].getsockname()[1]
        return port


def _log_through(parts: Parts) -> None:
    """Let the server's own messages be lines of our log."""
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        with suppress(ValueError):
            logger.propagate = False
        logger.handlers = [ToLog(parts.log)] if name == "uvicorn" else []
        if name == "uvicorn.error":
            logger.propagate = True


def serve(app: FastAPI, *, host: str, port: int) -> None:
    """Serve the app until a signal tells to stop; open requests are answered first."""
    Server(app, host=host, port=port).run()
