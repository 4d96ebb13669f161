"""Sizes of memory as users write them."""

import pytest

from autopeft.errors import OptionError
from autopeft.settings import bytes_of, settings


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GiB", 8 * 2**30), ("500MB", 500_000_000), ("1.5 gib", 3 * 2**29), ("12b", 12)],
)
def test_a_size_is_read_with_its_unit(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["8", "0GiB", "GiB", "-1GB", "8iB", "much"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(OptionError, match=r"cannot read the memory '.*': write 8GiB or 500MB"):
        bytes_of(text)


def test_memory_is_a_setting_and_without_it_there_is_no_limit(monkeypatch):
    assert settings().memory_bytes is None

    monkeypatch.setenv("AUTOPEFT_MEMORY", "2GiB")

    assert settings().memory_bytes == 2 * 2**30
    assert settings(memory="1GiB").memory_bytes == 2**30
