"""What each method costs, held against the counts that the papers publish."""

from dataclasses import replace

import pytest

from autopeft.errors import SpaceError
from autopeft.search_spaces.baselines import BASELINES, Pattern, fill
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.search_spaces.configuration import Configuration
from tests.builders import BERT_BASE, MINI_LM, TINY

SLOTS = slots_of(BERT_BASE)


def everywhere(**sizes: int) -> int:
    """Count BERT-base with these sizes in all blocks; `__` stands for @ and `_` for a dot."""
    named = {name.replace("__", "@").replace("_", "."): size for name, size in sizes.items()}
    row = tuple(named.pop(slot.name.replace("_", "."), 0) for slot in SLOTS)
    assert not named, f"no such slot: {named}"
    return Configuration((row,) * BERT_BASE.blocks).parameters(SLOTS)


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ({"lora__attention_query": 8, "lora__attention_value": 8}, 294_912),
        ({"serial_adapter__ffn_norm": 48}, 894_528),
        ({"prefix__attention": 10}, 184_320),
        ({"parallel_adapter__ffn": 384}, 12 * (2 * 768 * 384 + 384 + 768)),
        ({"lora__ffn_input": 4, "lora__ffn_output": 4}, 12 * 2 * 4 * (768 + 3072)),
        ({"bitfit__block": 1}, 12 * (4 * 768 + 3072 + 768 + 2 * 768)),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else f"{value:,}",
)
def test_a_method_on_bert_base_costs_what_its_paper_counts(sizes, count):
    """LoRA r8 on query and value, Pfeiffer 48 with biases, prefix 10, PA 384 and others."""
    assert everywhere(**sizes) == count


def test_without_its_biases_pfeiffer_48_is_the_published_count():
    biases = 12 * (48 + 768)

    assert everywhere(serial_adapter__ffn_norm=48) - biases == 884_736


def test_every_method_and_site_of_bert_is_a_slot_once():
    names = [slot.name for slot in SLOTS]

    assert len(names) == len(set(names))
    assert all(slot.place in METHODS[slot.method].places for slot in SLOTS)


def test_a_site_that_the_backbone_lacks_makes_no_slot():
    sites = tuple(site for site in TINY.sites if site.name != "ffn.norm")

    names = {slot.name for slot in slots_of(replace(TINY, sites=sites))}

    assert "serial_adapter@ffn.norm" not in names
    assert "serial_adapter@ffn.output" in names


def test_without_biases_there_is_nothing_for_bitfit_to_train():
    sites = tuple(replace(site, bias=False) for site in TINY.sites)

    assert "bitfit@block" not in {slot.name for slot in slots_of(replace(TINY, sites=sites))}


def test_keys_and_values_may_be_narrower_than_queries():
    """As with grouped heads: a prefix then costs keys and values of those widths."""
    sites = tuple(
        replace(site, inputs=4, outputs=4) if site.kind == "attention" else site
        for site in TINY.sites
    )

    [prefix] = [s for s in slots_of(replace(TINY, sites=sites)) if s.method == "prefix"]
    assert prefix.unit == 8


@pytest.mark.parametrize("ceiling", [20_000, 227_132, 800_000])
@pytest.mark.parametrize("pattern", BASELINES, ids=lambda pattern: pattern.name)
def test_a_filled_pattern_is_the_largest_that_fits(pattern, ceiling):
    slots = slots_of(MINI_LM)

    filled = fill(pattern, MINI_LM.blocks, slots, ceiling)

    larger = Configuration(tuple(tuple(s + 1 if s else 0 for s in row) for row in filled.sizes))
    assert filled.parameters(slots) <= ceiling < larger.parameters(slots)


def test_a_pattern_of_which_not_even_size_one_fits_is_none():
    slots = slots_of(TINY)

    assert fill(BASELINES[0], 2, slots, 63) is None
    assert fill(BASELINES[0], 2, slots, 64) is not None


def test_a_pattern_with_an_unknown_slot_is_refused():
    pattern = Pattern(name="a typo", slots=("lora@attention.kweri",), most=8)

    with pytest.raises(
        SpaceError, match=r"there is no slot 'lora@attention\.kweri' on this backbone"
    ):
        fill(pattern, 2, slots_of(TINY), 1000)


def test_methods_that_change_weights_leave_the_backbone_as_it_was_before_they_are_trained():
    reparameterised = [m for m in METHODS.values() if m.family in {"reparameterised", "selective"}]

    assert all(method.identity for method in reparameterised)
    assert not METHODS["prefix"].identity
