"""A service in a folder."""

import pytest

from tests.storage.conftest import postgres, server
from tests.worker.premises import Premises

__all__ = ["postgres", "premises", "server"]


@pytest.fixture
def premises(tmp_path):
    """A service with nothing to do yet."""
    made = Premises(tmp_path)
    yield made
    made.close()
