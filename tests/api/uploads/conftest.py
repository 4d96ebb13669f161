"""Real servers whose data sets are gone again before every test."""

import shutil
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace

import pytest

from autopeft.service.job import JobState
from autopeft.service.key import Quota, Scope
from tests.api.serving import serving

UNLIMITED = {"requests": 1e6, "burst": 1_000_000}


def seen(served):
    """Show a server as these tests look at it."""
    return SimpleNamespace(
        served=served,
        service=served.service,
        settings=served.settings,
        log=served.log,
        base=served.url,
        port=served.server.port,
        client=served.client(),
        root=served.settings.folder / "datasets",
    )


def _ended(job):
    return replace(job, state=JobState.CANCELLED)


def emptied(running):
    """Remove all data sets, and cancel the jobs that use them."""
    for job in running.service.jobs.page(limit=1_000).jobs:
        if not job.state.ended:
            running.service.jobs.change(job.id, _ended)
    for dataset in running.service.datasets.page(limit=1_000)[0]:
        running.service.datasets.remove(dataset.id)
    shutil.rmtree(running.root, ignore_errors=True)
    return running


@pytest.fixture(scope="session")
def _without_keys(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("uploads"), **UNLIMITED) as served:
        yield seen(served)


@pytest.fixture(scope="session")
def _with_keys(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("uploads"), **UNLIMITED) as served:
        served.key("root")
        yield seen(served)


@pytest.fixture
def running(request):
    """Run a service: with keys for tests that make clients with one, else without."""
    keys = "client_of" in request.fixturenames
    return emptied(request.getfixturevalue("_with_keys" if keys else "_without_keys"))


@pytest.fixture
def serve(tmp_path):
    """Start a service with other settings."""
    with ExitStack() as stack:
        yield lambda **changes: seen(stack.enter_context(serving(tmp_path, **UNLIMITED, **changes)))


@pytest.fixture
def client_of(running):
    """Make clients that have a key."""
    return lambda owner, scope=Scope.SUBMIT, **quota: running.served.as_(
        owner, scope, quota=Quota(**quota)
    )
