"""The quick form of ``benchmarks/faults.py``: kill -9 of a service that works on searches."""

import pytest

from tests.postgres import PG_CTL, a_server


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_what_was_accepted_ends_as_if_nobody_had_killed_anything(tmp_path, store):
    """No job is lost, no trial is there twice, and each plan is that of an uninterrupted run."""
    pytest.importorskip("httpx")
    from faults import Soak, soak

    how = Soak(kills=6, every=2.0, most=2, seed=1)
    if store == "sqlite":
        outcome = soak(tmp_path / "service", f"sqlite:///{tmp_path / 'store.db'}", how)
    else:
        if PG_CTL is None:
            pytest.skip("there is no PostgreSQL server")
        with a_server() as server:
            outcome = soak(tmp_path / "service", server.new_database(), how)

    assert outcome.wrong == []
    assert (sum(outcome.killed.values()), outcome.jobs > 0) == (6, True)
