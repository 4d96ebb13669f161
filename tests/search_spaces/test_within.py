"""What lies within a block, a sub-layer and a fused matrix."""

from dataclasses import replace

import pytest

from autopeft.backbone import Site
from autopeft.search_spaces.within import layers_within, parts
from tests.builders import TINY


def places(backbone, place):
    return [layer.place for layer in layers_within(backbone, backbone.site(place))]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (
            "block",
            ["attention.query", "attention.key", "attention.value", "attention.output",
             "attention.norm", "ffn.input", "ffn.output", "ffn.norm"],
        ),
        (
            "attention",
            ["attention.query", "attention.key", "attention.value", "attention.output"],
        ),
        ("ffn", ["ffn.input", "ffn.output"]),
    ],
)  # fmt: skip
def test_a_block_holds_linear_layers_and_norms_and_a_sub_layer_its_matrices(place, expected):
    assert places(TINY, place) == expected


def slices(*starts):
    return tuple(
        replace(site, path="l.{block}.qkv", start=start)
        for site, start in zip(TINY.sites[:3], starts, strict=True)
    )


def test_a_fused_matrix_is_listed_once_and_whole():
    whole = replace(TINY.sites[0], place="attention.qkv", path="l.{block}.qkv", outputs=24)
    fused = replace(TINY, sites=(*slices(0, 8, 16), whole, *TINY.sites[3:]))

    assert places(fused, "attention") == ["attention.qkv", "attention.output"]


def test_a_fused_matrix_without_a_site_of_its_own_is_made_of_its_slices():
    fused = replace(TINY, sites=(*slices(0, 8, 16), *TINY.sites[3:]))

    first, _ = layers_within(fused, fused.site("attention"))

    assert (first.outputs, first.start, first.path) == (24, None, "l.{block}.qkv")


def test_what_only_some_blocks_have_is_left_out():
    sites = tuple(
        replace(site, blocks=(1, 2)) if site.place == "attention.norm" else site
        for site in TINY.sites
    )
    last = Site(
        place="final.norm", kind="norm", path="n", blocks=(0, 2), inputs=8, outputs=8, bias=True
    )

    found = places(replace(TINY, sites=(*sites, last)), "block")

    assert "attention.norm" not in found
    assert "final.norm" not in found
    assert "ffn.norm" in found


def test_parts_tell_which_places_share_weights():
    assert parts("ffn.norm") == {"ffn.norm"}
    assert parts("cross") == {"cross.query", "cross.key", "cross.value", "cross.output"}
    assert parts("attention.qkv") < parts("attention") < parts("block")
    assert parts("final.norm").isdisjoint(parts("block"))
