"""How much of the machine that serves it a request may take."""

import os
from importlib.util import find_spec

from autopeft.resources.requests import RunOf
from autopeft.service.job import Trouble
from autopeft.settings import ServiceSettings


def beyond(run: RunOf, service: ServiceSettings) -> Trouble | None:
    """Say what a request asks for that the service does not give; None where there is nothing."""
    if run.executor == "ray" and find_spec("ray") is None:
        return _trouble(
            "run.executor",
            "this service cannot run several trials at once: leave run.executor out, or ask "
            "whoever runs it to install autopeft[ray]",
        )
    if run.workers > service.workers:
        return _trouble(
            "run.workers",
            f"this service runs at most {service.workers} trials of a search at once, and not "
            f"{run.workers}: ask for fewer",
        )
    return beyond_threads(run.threads, service, "run.threads")


def beyond_threads(threads: int | None, service: ServiceSettings, param: str) -> Trouble | None:
    """Say that these are more threads than the service gives; None where they are not."""
    most = service.threads or os.cpu_count() or 1
    if threads is None or threads <= most:
        return None
    return _trouble(
        param, f"this service gives at most {most} threads, and not {threads}: ask for fewer"
    )


def _trouble(param: str, detail: str) -> Trouble:
    return Trouble(code="invalid_option", detail=detail, param=param)
