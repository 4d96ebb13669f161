"""The table of how often probes let a supernet guide."""

from probes import tried


def test_a_perfect_order_always_guides_and_its_interval_holds_one():
    guides, holds, width = tried(0.9999999, probes=6, draws=5)

    assert (guides, holds) == (1.0, 1.0)
    assert 0.4 < width < 0.8
