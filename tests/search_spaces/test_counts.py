"""Published numbers: what configurations train and how large spaces are, without weights."""

import pytest

from autopeft.search_spaces.catalog import slots_of
from autopeft.search_spaces.configuration import Configuration
from autopeft.search_spaces.written.named import named_configuration
from autopeft.search_spaces.written.reading import read_space
from tests.models import table
from tests.shapes import published


def count(model: str, **sizes: int) -> int:
    """Count these sizes in every block that has the slot; `__` stands for @ and `_` for a dot."""
    backbone = published(model)
    slots = slots_of(backbone)
    named = {_slot(name): size for name, size in sizes.items()}
    return table(slots, backbone.blocks, named).parameters(slots)


def _slot(name: str) -> str:
    method, _, site = name.partition("__")
    return f"{method}@{site.replace('_', '.')}"


def trained(model: str, name: str, ceiling: int | None = None) -> int:
    backbone = published(model)
    slots = slots_of(backbone)
    return named_configuration(name).on(backbone, slots, ceiling).parameters(slots)


@pytest.mark.parametrize(
    ("model", "name", "published_count"),
    [
        ("bert-base", "lora-r8-qv", 294_912),
        ("bert-base", "pfeiffer-48", 894_528),
        ("bert-base", "prefix-10", 184_320),
        ("bert-base", "unipelt-ap", 1_078_848 + 24 * 769),
        ("bert-base", "unipelt-apl", 1_410_672),
        ("vit-b16", "noah-lora-8", 294_912),
        ("vit-b16", "noah-adapter-8", 156_768),
        ("llama-7b", "llm-adapters-lora-r32", 56_098_816),
    ],
)
def test_a_published_configuration_trains_what_its_paper_counts(model, name, published_count):
    """The papers of UniPELT leave the gates out: 769 parameters each, two or four in a block."""
    assert trained(model, name) == published_count


@pytest.mark.parametrize(
    ("sizes", "published_count"),
    [
        ({"serial_adapter__ffn_norm": 48, "prefix__attention": 10}, 1_078_848),
        (
            {"serial_adapter__ffn_norm": 48, "prefix__attention": 10, "lora__attention_query": 8,
             "lora__attention_value": 8},
            1_373_760,
        ),
    ],
    ids=["AP", "APL"],
)  # fmt: skip
def test_without_gates_unipelt_trains_what_its_paper_counts(sizes, published_count):
    assert count("bert-base", **sizes) == published_count


@pytest.mark.parametrize(("prefix", "share"), [(0, 0.06465), (30, 0.06970)])
def test_without_biases_the_defaults_of_adapterhub_are_the_published_shares(prefix, share):
    """AutoPEFT's comparison prints 6.46% and 6.97% of BERT-base; biases are 12 · (384 + 768)."""
    sizes = {"parallel_adapter__ffn": 384} | ({"prefix__attention": prefix} if prefix else {})

    without = count("bert-base", **sizes) - 12 * (384 + 768)

    assert without / published("bert-base").parameters == pytest.approx(share, abs=5e-6)


def test_lora_on_the_six_matrices_of_deberta_costs_13824_a_rank_and_block():
    """AdaLoRA's 13,830 has one singular value more for each of the six."""
    names = ("query", "key", "value", "output")
    sizes = {f"lora__attention_{name}": 1 for name in names}

    assert count("deberta-v3-base", **sizes, lora__ffn_input=1, lora__ffn_output=1) == 12 * 13_824
    adalora = {name.replace("lora", "adalora"): size for name, size in sizes.items()}
    counted = count("deberta-v3-base", **adalora, adalora__ffn_input=1, adalora__ffn_output=1)
    assert counted == 12 * 13_830


def test_a_low_rank_adapter_of_t5_large_trains_2112_and_its_biases():
    """Reduction 32 and rank 1: twice 1,024 + 32, and biases of 32 and 1,024."""
    slots = [s for s in slots_of(published("t5-large")) if s.method == "low_rank_adapter"]

    assert {(s.unit, s.fixed) for s in slots} == {(2_112, 1_056)}


@pytest.mark.parametrize(("sizes", "module"), [("noah", 551_880), ("noah-100", 17_043_520)])
def test_noah_has_the_published_number_of_configurations(sizes, module):
    """Of each of three modules: the sum of sizes to the power of depth, over depths 3, 6, 9, 12."""
    assert read_space(sizes).on(published("vit-b16")).size == module**3


def test_autopeft_has_the_published_number_of_configurations():
    assert read_space("autopeft").on(published("bert-base")).size == 5_451_776
    assert read_space("autopeft").on(published("roberta-large")).size == 11**3 * 2**24


def test_s3pet_has_916_switches_on_t5_large():
    """18 in each of 24 blocks of the encoder, 20 in those of the decoder, and two final norms."""
    space = read_space("s3pet").on(published("t5-large"))

    assert space.size == 2**916
    assert len(space.genes) == 24 * 18 + 24 * 20 + 4


def test_s3pet_with_lora_alone_has_288_switches_and_884736_parameters():
    space = read_space("s3pet-lora").on(published("t5-large"))

    assert space.size == 2**288
    assert space.largest().parameters(space.slots) == 884_736


def test_s4_has_fifteen_frames_and_four_sets_of_four_methods():
    space = read_space("s4").on(published("bert-base"), 547_411)

    assert space.size == 5 * 3 * 2**16


def test_s4_of_t5_base_divides_both_stacks_by_a_spindle_and_keeps_its_budget():
    """2, 4, 4 and 2 of twelve blocks; adapter and LoRA, adapter and prefix, and so on."""
    backbone = published("t5-base")
    slots = named_configuration("s4-t5-base").slots(slots_of(backbone))
    ceiling = backbone.parameters // 200

    found = named_configuration("s4-t5-base").on(backbone, slots, ceiling)

    present = [
        {slot.method for slot, size in zip(slots, row, strict=True) if size} for row in found.sizes
    ]
    stack = (
        [{"serial_adapter", "lora"}] * 2
        + [{"serial_adapter", "prefix"}] * 4
        + [{"serial_adapter", "prefix", "bitfit"}] * 4
        + [{"prefix", "bitfit", "lora"}] * 2
    )
    assert present == stack * 2
    assert 0.9 * ceiling < found.parameters(slots) <= ceiling


def test_the_rule_of_s3pet_takes_the_blocks_of_its_table_on_t5_large():
    """Norm biases from decoder blocks 7 and 1 on, from encoder block 21 on; queries from 19 on."""
    backbone = published("t5-large")
    slots = named_configuration("s3pet-rule").slots(slots_of(backbone))
    found = named_configuration("s3pet-rule").on(backbone, slots, None)

    def rows(name: str) -> list[int]:
        [column] = [i for i, slot in enumerate(slots) if slot.name == name]
        return [row for row, sizes in enumerate(found.sizes) if sizes[column]]

    assert rows("bitfit@decoder.attention.norm") == list(range(24 + 7, 48))
    assert rows("bitfit@decoder.cross.norm") == list(range(24 + 1, 48))
    assert rows("lora@encoder.attention.query") == list(range(19, 24))
    assert rows("lora@decoder.attention.query") == list(range(24 + 19, 48))
    assert found.parameters(slots) < 102_458  # the budget of 0.0139% in the paper


@pytest.mark.parametrize("model", ["bert-base", "gpt2", "vit-b16", "t5-base", "llama-7b"])
@pytest.mark.parametrize("name", ["s4-t5-base", "s4-t5-3b", "s3pet-rule", "mam-glue", "bitfit"])
def test_a_published_configuration_can_be_had_on_other_backbones(model, name):
    backbone = published(model)

    assert trained(model, name, backbone.parameters // 100) > 0


def test_an_empty_table_trains_nothing_on_any_backbone():
    slots = slots_of(published("t5-base"))

    assert Configuration(((0,) * len(slots),) * 24).parameters(slots) == 0
