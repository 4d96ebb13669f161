"""Servers that all tests of the interface share."""

import pytest

from tests.api.serving import serving

UNLIMITED = {"requests": 1e6, "burst": 1_000_000}


@pytest.fixture(scope="session")
def open_server(tmp_path_factory):
    """Run a server without any key: whoever asks on this machine is ``local``."""
    with serving(tmp_path_factory.mktemp("open"), **UNLIMITED) as served:
        yield served


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """Run a server that wants keys: ``server.as_("ada")`` is a client with one."""
    with serving(tmp_path_factory.mktemp("keyed"), **UNLIMITED) as served:
        served.key("root")
        yield served


@pytest.fixture
def client(open_server):
    """Return a client of the server without keys."""
    return open_server.client()


@pytest.fixture(scope="session")
def _raising_server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("raising"), **UNLIMITED) as served:
        raised = []

        def fail():
            raise raised.pop()

        served.app.router.add_api_route("/raises", fail)
        yield served, raised


@pytest.fixture
def raising(_raising_server):
    """Ask a server of something that raises an error."""
    served, raised = _raising_server

    def ask(error):
        raised.append(error)
        return served.client().get("/raises")

    ask.served = served
    return ask
