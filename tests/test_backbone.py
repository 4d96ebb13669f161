"""Backbones as values, and the architectures that are known."""

import pytest

from autopeft.architectures.reading import architecture_of, architectures
from autopeft.errors import BackboneError
from tests.builders import BERT_BASE

SITES = {
    "attention.query", "attention.key", "attention.value", "attention.output", "attention",
    "attention.norm", "ffn.input", "ffn.output", "ffn.norm",
}  # fmt: skip


@pytest.mark.parametrize("architecture", architectures(), ids=lambda a: a.name)
def test_an_architecture_names_every_site_once_and_leads_to_it_in_every_block(architecture):
    names = [place.name for place in architecture.places]

    assert sorted(names) == sorted(SITES)
    for place in architecture.places:
        assert place.path.startswith(f"{architecture.blocks}.{{block}}.")
        assert place.kind == {"prefix": "attention", "norm": "norm"}.get(
            place.name.split(".")[1], "linear"
        )


@pytest.mark.parametrize(
    ("model_type", "name"),
    [("bert", "bert"), ("roberta", "bert"), ("xlm-roberta", "bert"), ("distilbert", "distilbert")],
)
def test_an_architecture_is_found_by_the_model_type(model_type, name):
    assert architecture_of(model_type).name == name


def test_no_model_type_belongs_to_two_architectures():
    types = [model_type for a in architectures() for model_type in a.model_types]

    assert len(types) == len(set(types))


def test_an_unknown_model_type_is_refused_with_the_known_ones_and_the_way_to_add_it():
    with pytest.raises(
        BackboneError,
        match=r"no sites are known for the architecture 'mamba': known are bert, camembert, .*"
        r"another one is added by a YAML file in autopeft/architectures",
    ):
        architecture_of("mamba")


def test_a_site_is_found_by_name_and_knows_its_module_in_each_block():
    site = BERT_BASE.site("ffn.input")

    assert (site.inputs, site.outputs) == (768, 3072)
    assert BERT_BASE.module_path(site, 11) == "l.11.i"
