"""What the client's tests share."""

import socket

import pytest


@pytest.fixture
def silent():
    """The address of something that takes connections and never says a word."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
