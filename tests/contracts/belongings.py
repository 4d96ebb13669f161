"""What everything that fills ``Service`` promises of keys, data sets and replies."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest

from autopeft.errors import JobError, UnknownError
from autopeft.service.dataset import DatasetState
from autopeft.service.job import (
    JobState,
    cancelled,
)
from autopeft.service.key import Scope, new_key
from tests.contracts.service_records import (
    ODD,
    START,
    a_dataset,
    a_job,
)


class KeysContract:
    """Keys are kept, and who did what."""

    def test_a_key_is_read_back_equal(self, service):
        """It fits its secret and no other; unknown ones are None."""
        key, token = new_key("ann", ODD, Scope.SUBMIT, created=START, expires=START)
        service.keys.add(key)

        assert service.keys.key(key.id) == key
        assert service.keys.key(key.id).fits(token.split("_", 2)[2])
        assert [service.keys.key(name) for name in ("", "\x00", "k")] == [None] * 3
        with pytest.raises(JobError, match=f"there is a key '{key.id}' already"):
            service.keys.add(key)

    def test_keys_are_listed_oldest_first(self, service):
        """All, or those of an owner."""
        made = [
            new_key(owner, "", Scope.READ, created=START + timedelta(seconds=second))[0]
            for second, owner in ((2, "ann"), (1, "bob"), (0, "ann"))
        ]
        for key in made:
            service.keys.add(key)

        assert service.keys.keys() == (made[2], made[1], made[0])
        assert service.keys.keys("ann") == (made[2], made[0])

    def test_a_key_is_revoked_once(self, service):
        """The first time counts."""
        key, _ = new_key("ann", "", Scope.READ, created=START)
        service.keys.add(key)
        for day in (1, 2):
            revoked = service.keys.revoke(key.id, START + timedelta(days=day))

        assert revoked == service.keys.key(key.id)
        assert revoked.revoked == START + timedelta(days=1)
        with pytest.raises(UnknownError, match="there is no key 'x': list the keys"):
            service.keys.revoke("x", START)

    def test_what_was_done_is_listed_latest_first(self, service):
        """In the order in which it was noted, whatever the clocks say."""
        for day in (2, 3, 1):
            service.keys.note("ann", "revoked", f"key {day}\x00", START + timedelta(days=day))

        latest, *others = service.keys.audit(limit=2)
        assert latest == (START + timedelta(days=1), "ann", "revoked", "key 1\ufffd")
        assert [about for *_, about in others] == ["key 3\ufffd"]


class DatasetsContract:
    """Data sets are kept for as long as they are used."""

    def test_a_data_set_is_read_back_equal(self, service):
        """And changed as a whole."""
        service.datasets.add(a_dataset(name=ODD))

        changed = service.datasets.change(
            a_dataset().id,
            lambda known: replace(known, state=DatasetState.READY, found={"rows": 3, "by": ODD}),
        )

        assert service.datasets.dataset(a_dataset().id) == changed
        assert changed == a_dataset(name=ODD, state=DatasetState.READY, found=changed.found)
        with pytest.raises(JobError, match="there is a data set 'dataset_000000000000' already"):
            service.datasets.add(a_dataset())

    def test_an_unknown_data_set_is_said_to_be_so(self, service):
        """Whatever is asked of it."""
        for ask in (
            lambda: service.datasets.dataset("x\x00"),
            lambda: service.datasets.change("x", lambda known: known),
            lambda: service.datasets.remove("x"),
            lambda: service.datasets.page(after="x"),
        ):
            with pytest.raises(UnknownError, match=r"there is no data set '.*': see the list"):
                ask()

    def test_data_sets_are_listed_newest_first_in_pages(self, service):
        """All, or those of an owner; their sizes are added up."""
        for number in range(5):
            owner = "bob" if number == 2 else "ann"
            service.datasets.add(a_dataset(number, owner=owner, bytes=2**40))

        first, more = service.datasets.page(owner="ann", limit=3)
        rest, end = service.datasets.page(owner="ann", limit=3, after=first[-1].id)
        assert [set_.id for set_ in (*first, *rest)] == [a_dataset(n).id for n in (4, 3, 1, 0)]
        assert (more, end) == (True, False)
        assert len(service.datasets.page()[0]) == 5
        assert [service.datasets.bytes(owner) for owner in ("ann", "bob", "eve")] == [
            4 * 2**40,
            2**40,
            0,
        ]

    @pytest.mark.parametrize(
        "request_",
        [
            {"dataset": a_dataset().id},
            {"data": {"dataset": a_dataset(1).id, "test_dataset": a_dataset().id}},
            {"list": [[a_dataset().id]]},
        ],
    )
    def test_a_data_set_that_is_used_is_not_removed(self, service, request_):
        """Wherever in a request it is named, until that job has ended."""
        service.datasets.add(a_dataset())
        service.jobs.add(a_job(request=request_, state=JobState.PAUSED))
        service.jobs.add(a_job(1, request=request_, state=JobState.FAILED))

        used = "data set dataset_000000000000 is used by search_000000000000, which has not ended"
        with pytest.raises(JobError, match=used):
            service.datasets.remove(a_dataset().id)
        service.jobs.change(a_job().id, cancelled)
        service.datasets.remove(a_dataset().id)

        assert service.datasets.page() == ((), False)

    def test_a_data_set_that_somebody_else_names_is_removed(self, service):
        """Nobody else can use it, and nobody is told what others do."""
        service.datasets.add(a_dataset())
        service.jobs.add(a_job(owner="bob", request={"data": {"dataset": a_dataset().id}}))

        service.datasets.remove(a_dataset().id)

        assert service.datasets.page() == ((), False)

    def test_a_data_set_whose_name_is_only_part_of_another_one_is_removed(self, service):
        """Or of any other text."""
        service.datasets.add(a_dataset())
        request = {"dataset": f"{a_dataset().id}0", "note": f"not {a_dataset().id}"}
        service.jobs.add(a_job(request=request))

        service.datasets.remove(a_dataset().id)


class RepliesContract:
    """An answer is made once."""

    def test_an_answer_is_given_again(self, service):
        """Also while it is being made; it belongs to one owner."""
        assert service.replies.begin("ann", ODD, "body") is None
        being_made = service.replies.begin("ann", ODD, "other")
        assert (being_made.body, being_made.status) == ("body", None)
        service.replies.finish("ann", ODD, 202, '{"a": "ä"}')

        kept = service.replies.begin("ann", ODD, "body")
        assert (kept.body, kept.status, kept.content) == ("body", 202, '{"a": "ä"}')
        assert service.replies.begin("bob", ODD, "body") is None

    def test_an_answer_that_came_to_nothing_is_made_again(self, service):
        """As if it had never been asked for."""
        service.replies.begin("ann", "n", "body")
        service.replies.drop("ann", "n")

        assert service.replies.begin("ann", "n", "other") is None

    def test_an_answer_is_kept_for_a_day_and_a_lost_one_for_a_minute(self, service, wait):
        """Whoever began it may have died."""
        for name in ("done", "lost"):
            service.replies.begin("ann", name, "body")
        service.replies.finish("ann", "done", 202, "text")
        wait(50)
        assert service.replies.begin("ann", "lost", "body").status is None
        wait(20)
        assert service.replies.begin("ann", "lost", "anew") is None
        assert service.replies.begin("ann", "done", "body").status == 202
        wait(24 * 3600)
        assert service.replies.begin("ann", "done", "body") is None

    def test_of_those_who_begin_at_once_one_makes_the_answer(self, service):
        """All others are told that it is being made."""
        ready = Barrier(4)

        def begin(_: int) -> bool:
            ready.wait()
            return service.replies.begin("ann", "n", "body") is None

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(begin, range(4))) == 1
