"""Vectors of examples on disk: whole or absent, and read back as they were written."""

import json
import os

import numpy as np
import pytest
import torch
from safetensors import safe_open

from autopeft.training.memory import resident_bytes
from autopeft.training.trunk.row_file import opened, written


def states(*lengths, dtype=torch.float32, width=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, width, generator=generator).to(dtype) for count in lengths]


def write(file, examples, name="it"):
    with written([file], [name], len(examples)) as (writing,):
        for number in reversed(range(len(examples))):  # in any order
            writing.add(number, examples[number])
    return file


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_examples_are_read_back_to_the_bit_padded_with_zeros(tmp_path, dtype):
    """An odd width and odd lengths: nothing depends on how bytes are aligned."""
    examples = states(5, 1, 4, dtype=dtype)
    file = opened(write(tmp_path / "it", examples), "it")

    found = file.batch(np.array([2, 1, 2]), 6)

    assert found.dtype is dtype
    assert found.shape == (3, 6, 3)
    for state, number in zip(found, (2, 1, 2), strict=True):
        count = len(examples[number])
        assert torch.equal(state[:count], examples[number])
        assert not state[count:].any()


def test_where_all_examples_have_as_many_tokens_that_is_the_width(tmp_path):
    file = opened(write(tmp_path / "it", states(4, 4)), "it")

    assert file.batch(np.array([1]), None).shape == (1, 4, 3)


def test_it_is_a_safetensors_file_that_says_what_it_is(tmp_path):
    with safe_open(write(tmp_path / "it", states(2, 3)), framework="pt") as stored:
        about = stored.metadata()
        shapes = {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118  # no dict

    assert (about["format"], about["name"]) == ("autopeft-trunk/1", "it")
    assert shapes == {"rows": (5, 3), "spans": (2, 2)}


def test_what_holds_another_thing_is_not_opened(tmp_path):
    file = write(tmp_path / "it", states(2), name="another")

    assert opened(file, "it") is None
    assert opened(file, "another") is not None


def test_every_byte_of_the_content_counts(tmp_path):
    file = write(tmp_path / "it", states(2, 3))
    content = file.read_bytes()
    for place in range(4096, len(content)):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert opened(file, "it") is None


@pytest.mark.parametrize("place", [0, 7, 8, 100, 4096, -1])
def test_what_was_cut_off_is_not_opened(tmp_path, place):
    file = write(tmp_path / "it", states(2, 3))
    file.write_bytes(file.read_bytes()[:place])

    assert opened(file, "it") is None


def test_a_safetensors_file_of_another_kind_is_not_opened(tmp_path):
    header = json.dumps({"__metadata__": {"format": "pt"}}).encode()
    (tmp_path / "it").write_bytes(len(header).to_bytes(8, "little") + header)

    assert opened(tmp_path / "it", "it") is None


def test_one_that_is_not_there_is_told_from_a_damaged_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="it"):
        opened(tmp_path / "it", "it")


def test_nothing_is_left_of_what_did_not_end(tmp_path):
    begun = []

    def stopped():
        with written([tmp_path / "it"], ["it"], 2) as (writing,):
            writing.add(0, states(2)[0])
            begun.extend(tmp_path.iterdir())
            writing.add(9, states(2)[0])

    with pytest.raises(IndexError, match="out of bounds"):
        stopped()

    assert len(begun) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="elsewhere what is open cannot be removed")
def test_what_is_open_stays_readable_when_it_is_removed(tmp_path):
    examples = states(2, 3)
    file = opened(path := write(tmp_path / "it", examples), "it")
    path.unlink()

    assert torch.equal(file.batch(np.array([1]), 3)[0], examples[1])


def test_a_file_that_is_cut_off_while_it_is_read_is_an_error(tmp_path):
    file = opened(path := write(tmp_path / "it", states(5, 4)), "it")
    os.truncate(path, path.stat().st_size - 1)

    assert file.batch(np.array([1]), None).shape == (1, 4, 3)
    with pytest.raises(OSError, match="has become shorter since it was opened: leave its folder"):
        file.batch(np.array([0]), None)  # it was written last


def test_what_was_read_is_no_memory_of_the_process(tmp_path):
    """Mapped into memory, 32 MiB would count as its own, and against a limit."""
    file = opened(write(tmp_path / "it", states(*[2**10] * 32, width=2**8)), "it")
    file.batch(np.arange(2), None)
    before = resident_bytes()

    for first in range(0, 32, 2):
        file.batch(np.arange(first, first + 2), None)

    assert resident_bytes() - before < 2**23
