"""Backbones as values."""

from dataclasses import replace

from autopeft.backbone import Stack
from tests.builders import BERT_BASE

TWO = replace(
    BERT_BASE,
    stacks=(
        Stack(name="encoder", first=0, blocks=4, width=64, heads=4, norm="pre"),
        Stack(name="decoder", first=4, blocks=2, width=96, heads=4, norm="pre"),
    ),
    sites=(
        replace(BERT_BASE.site("ffn.input"), stack="encoder", blocks=(0, 4)),
        replace(BERT_BASE.site("ffn.input"), stack="decoder", blocks=(4, 6)),
    ),
)


def test_a_site_is_found_by_name_and_knows_its_module_in_each_block():
    site = BERT_BASE.site("ffn.input")

    assert (site.inputs, site.outputs) == (768, 3072)
    assert BERT_BASE.module_path(site, 11) == "l.11.i"


def test_the_blocks_of_all_stacks_are_rows_of_one_table():
    assert TWO.blocks == 6
    assert [TWO.stack_of(row).name for row in range(6)] == ["encoder"] * 4 + ["decoder"] * 2


def test_the_width_is_that_of_the_widest_stack():
    assert (BERT_BASE.width, TWO.width) == (768, 96)


def test_sites_of_several_stacks_carry_the_name_of_theirs():
    site = TWO.site("decoder.ffn.input")

    assert site is TWO.find("decoder", "ffn.input")
    assert TWO.find("decoder", "cross.query") is None
    assert TWO.module_path(site, 5) == "l.1.i"
