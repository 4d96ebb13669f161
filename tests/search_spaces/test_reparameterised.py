"""What the reparameterised methods cost, against figures that others have published."""

from dataclasses import replace

import pytest

from autopeft.backbone import Backbone, Site, Stack
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.search_spaces.catalog.reparameterised import factors
from autopeft.search_spaces.configuration import Configuration

WIDTHS = {"attention.qkv": (768, 2304), "ffn.input": (768, 3072), "ffn.output": (3072, 768)}
SITES = (
    *("attention.query", "attention.key", "attention.value", "attention.output", "attention.qkv"),
    *("ffn.input", "ffn.output"),
)
QKV = ("attention.query", "attention.key", "attention.value")
SIX = (*QKV, "attention.output", "ffn.input", "ffn.output")


def site(place, inputs, outputs):
    return Site(
        place=place, kind="linear", path="{block}", blocks=(0, 12), inputs=inputs, outputs=outputs
    )


BASE = Backbone(
    name="base",
    architecture="bert",
    stacks=(Stack(name="", first=0, blocks=12, width=768, heads=12, norm="post"),),
    parameters=109_482_240,
    sites=tuple(site(place, *WIDTHS.get(place, (768, 768))) for place in SITES),
    digest="",
)


def count(method, places, size, blocks=12):
    slots = slots_of(BASE)
    row = tuple(size if s.method == method and s.site in places else 0 for s in slots)
    return Configuration((row,) * blocks).parameters(slots)


@pytest.mark.parametrize(
    ("method", "places", "size", "expected"),
    [
        ("lora", ("attention.query", "attention.value"), 8, 294_912),
        ("lora", ("attention.qkv",), 8, 294_912),
        ("dora", ("attention.query", "attention.value"), 8, 294_912 + 12 * 2 * 768),
        ("lora_fa", ("attention.query", "attention.value"), 8, 294_912 // 2),
        ("vera", ("attention.query", "attention.value"), 1024, 12 * 2 * (1024 + 768)),
        ("loha", ("attention.query", "attention.value"), 4, 294_912),
        ("lokr", ("attention.query",), 8, 12 * (24 * 24 + 8 * (32 + 32))),
        ("krona", ("attention.query",), 1, 12 * (24 * 24 + 32 * 32)),
        ("moslora", ("attention.query", "attention.value"), 8, 294_912 + 12 * 2 * 64),
        ("dylora", ("attention.query", "attention.value"), 8, 294_912),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_the_counts_are_those_of_the_papers(method, places, size, expected):
    """LoRA of rank 8 has 0.29 million on query and value, and as many on NOAH's fused matrix.

    VeRA of rank 1024 on RoBERTa-base has 0.043 million.
    """
    assert count(method, places, size) == expected


@pytest.mark.parametrize("rank", [1, 2, 7])
def test_adalora_has_13_830_for_each_rank_and_block(rank):
    """All six matrices of DeBERTa-base."""
    assert count("adalora", SIX, rank, blocks=1) == 13_830 * rank


@pytest.mark.parametrize("width", [1, 2, 12, 31, 32, 127, 128, 256, 768, 1024, 2304, 3072, 11008])
def test_widths_are_split_as_in_peft(width):
    from peft.tuners.lokr.layer import factorization

    assert factors(width) == factorization(width, -1)


@pytest.mark.parametrize(("inputs", "outputs"), [(768, 768), (768, 3072), (30, 77), (32, 48)])
def test_the_largest_rank_of_lokr_is_the_last_at_which_peft_splits_the_second_factor(
    inputs, outputs
):
    """Or the smaller width of that factor."""
    cost = METHODS["lokr"].cost(BASE, site("ffn.input", inputs, outputs))
    smaller, larger = sorted((factors(inputs)[1], factors(outputs)[1]))

    assert cost.most < larger / 2
    assert cost.most == smaller or cost.most + 1 >= larger / 2


def test_lokr_is_not_offered_where_its_second_factor_has_no_rank():
    """Widths of 4 and 2 split into factors of 2 and 2, of 1 and 2."""
    assert METHODS["lokr"].cost(BASE, site("ffn.input", 4, 2)) is None


def test_a_rank_is_no_larger_than_the_matrix_except_for_vera():
    narrow = replace(BASE, sites=(site("ffn.input", 768, 5),))

    found = {slot.method: slot.most for slot in slots_of(narrow)}

    assert found["vera"] is None
    assert {found[name] for name in ("lora", "dora", "lora_fa", "loha", "moslora")} == {5}
