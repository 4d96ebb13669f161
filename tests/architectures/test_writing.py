"""Architectures as text."""

import pytest

from autopeft.architectures.reading import architectures, read_architecture
from autopeft.architectures.writing import write_architecture


@pytest.mark.parametrize("architecture", architectures(), ids=lambda a: a.source)
def test_what_is_written_is_read_back_equal(architecture):
    text = write_architecture(architecture)

    assert read_architecture(architecture.source, text) == architecture
