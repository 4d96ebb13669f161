"""The architecture files."""

import pytest

from autopeft.architectures.reading import architecture_of, architectures, read_architecture

TYPES = sorted(t for a in architectures() for t in a.model_types)
PLACES = {
    *("attention.query", "attention.key", "attention.value", "attention.qkv", "attention.output"),
    *("cross.query", "cross.key", "cross.value", "cross.output", "attention", "cross"),
    *("ffn.input", "ffn.gate", "ffn.fused", "ffn.output"),
    *("attention.norm", "cross.norm", "ffn.norm", "final.norm", "embeddings"),
}


def kind_of(place: str) -> str:
    if place in {"attention", "cross"}:
        return "attention"
    if place == "embeddings":
        return "embeddings"
    return "norm" if place.endswith(".norm") else "linear"


@pytest.mark.parametrize("architecture", architectures(), ids=lambda a: a.source)
def test_an_architecture_names_known_places_once_with_the_kind_that_belongs_to_them(architecture):
    for stack in architecture.stacks:
        names = [place.name for place in stack.places]

        assert len(names) == len(set(names))
        assert set(names) <= PLACES
        assert {"attention.output", "embeddings"} <= set(names)
        assert {"attention.query"} <= set(names) or {"attention.qkv"} <= set(names)
        assert all(place.kind == kind_of(place.name) for place in stack.places)


@pytest.mark.parametrize("architecture", architectures(), ids=lambda a: a.source)
def test_the_slices_of_a_fused_matrix_stand_beside_the_whole(architecture):
    """The whole carries the bias, and is what is counted once."""
    for stack in architecture.stacks:
        whole = {place.paths for place in stack.places if not place.part}

        assert all(place.paths in whole for place in stack.places if place.part)


@pytest.mark.parametrize(
    ("model_type", "source"),
    [
        *(("bert", "bert"), ("roberta", "bert"), ("xlm-roberta", "bert")),
        *(("distilbert", "distilbert"), ("deberta-v2", "deberta"), ("qwen3", "llama")),
        *(("gemma3_text", "gemma2"), ("mt5", "t5"), ("deit", "vit"), ("clip", "clip")),
    ],
)
def test_an_architecture_is_found_by_the_model_type(model_type, source):
    assert architecture_of(model_type).source == f"from {source}.yaml"


def test_no_model_type_belongs_to_two_architectures():
    assert len(TYPES) == len(set(TYPES))


def test_an_unknown_model_type_has_no_architecture():
    assert architecture_of("mamba") is None


def test_paths_lead_from_the_block_or_after_a_slash_from_the_backbone():
    text = """
    model_types: [new]
    needs: {groups: 1}
    stacks:
      decoder:
        path: decoder.layers
        norm: pre
        norm_if: normalise_first
        config: text_config
        heads: decoder_heads
        sites:
          ffn.input:  {kind: linear, path: [fc1, up], optional: true}
          ffn.norm:   {kind: norm, path: norm, from: 1}
          final.norm: {kind: norm, path: /decoder.norm}
          attention.key: {kind: linear, path: qkv, part: key}
    """
    architecture = read_architecture("new.yaml", text)
    (stack,) = architecture.stacks
    ffn, norm, final, key = stack.places

    assert (architecture.needs, stack.name) == ({"groups": 1}, "decoder")
    assert (stack.norm, stack.norm_if) == ("pre", "normalise_first")
    assert (stack.config, stack.heads) == ("text_config", "decoder_heads")
    assert ffn.paths == ("decoder.layers.{block}.fc1", "decoder.layers.{block}.up")
    assert ffn.optional
    assert norm.first == 1
    assert final.paths == ("decoder.norm",)
    assert key.part == "key"


def test_a_single_stack_has_no_name():
    assert [stack.name for stack in architecture_of("gpt2").stacks] == [""]
    assert [stack.name for stack in architecture_of("clip").stacks] == ["text", "vision"]
