"""Keys are read once for all who wait, and never as they were earlier."""

import asyncio
import threading

import pytest

from autopeft.api.lookups import Lookups
from autopeft.errors import StoreError


class Keys:
    """Keys whose reading can be held up; what is read is how often it was read."""

    def __init__(self):
        self.read = []
        self.may_go = threading.Event()
        self.error = None

    def key(self, key_id):
        assert self.may_go.wait(10)
        self.read.append(key_id)
        if self.error:
            raise self.error
        return len(self.read)


def test_those_who_come_during_a_read_share_the_next_one():
    keys = Keys()

    async def ask():
        lookups = Lookups(keys)
        first = asyncio.create_task(lookups.key("a"))
        await asyncio.sleep(0)  # it is asked for
        while lookups._waiting:  # it is being read
            await asyncio.sleep(0)
        later = [asyncio.create_task(lookups.key("a")) for _ in range(50)]
        other = asyncio.create_task(lookups.key("b"))
        await asyncio.sleep(0)
        keys.may_go.set()
        return await first, set(await asyncio.gather(*later)), await other

    assert asyncio.run(ask()) == (1, {2}, 3)
    assert keys.read == ["a", "a", "b"]


def test_a_store_that_is_away_is_told_to_all_and_the_next_may_find_it_back():
    keys = Keys()
    keys.may_go.set()
    keys.error = StoreError("it is away")

    async def ask():
        lookups = Lookups(keys)
        found = await asyncio.gather(*(lookups.key("a") for _ in range(3)), return_exceptions=True)
        keys.error = None
        return found, await lookups.key("a")

    found, back = asyncio.run(ask())

    assert back
    for error in found:
        with pytest.raises(StoreError, match="it is away"):
            raise error


def test_one_who_leaves_takes_nothing_from_the_others():
    keys = Keys()

    async def ask():
        lookups = Lookups(keys)
        leaving, staying = (asyncio.create_task(lookups.key("a")) for _ in range(2))
        await asyncio.sleep(0)
        leaving.cancel()
        keys.may_go.set()
        return await staying

    assert asyncio.run(ask()) == 1
