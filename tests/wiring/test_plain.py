"""A model of somebody else's is data, and nothing that runs."""

import json
import pickle

import pytest

from autopeft.errors import BackboneError
from autopeft.wiring.plain import must_be_plain


@pytest.fixture
def model(tmp_path):
    """A folder with what a model needs; ``write`` adds files to it."""
    folder = tmp_path / "models/minilm"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "model.safetensors").touch()
    return folder


def check(folder):
    must_be_plain(folder, folder.name, [folder.parent])


def test_a_model_of_safetensors_is_plain_also_with_pickles_beside_them(model):
    (model / "pytorch_model.bin").write_bytes(pickle.dumps(print))
    (model / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"auto_map": 3}}}))

    check(model)


def test_a_model_of_pickles_alone_is_refused(model):
    (model / "model.safetensors").rename(model / "pytorch_model.bin")

    with pytest.raises(BackboneError, match=r"only pytorch_model\.bin, which may hold code"):
        check(model)


def test_safetensors_under_another_name_do_not_make_pickles_safe(model):
    """The library would look for its own names first, and find the pickle."""
    (model / "model.safetensors").rename(model / "other.safetensors")
    (model / "pytorch_model.bin").touch()

    with pytest.raises(BackboneError, match=r"weights must be in model\.safetensors"):
        check(model)


def test_a_model_without_weights_is_refused(model):
    (model / "model.safetensors").unlink()

    with pytest.raises(BackboneError, match="and there is none"):
        check(model)


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer_config.json", "preprocessor_config.json", "other.json"]
)
@pytest.mark.parametrize("deep", [False, True])
def test_a_model_with_code_of_its_own_is_refused(model, file, deep):
    document = {"model_type": "x", "auto_map": {"AutoModel": "modeling_x.X"}}
    (model / file).write_text(json.dumps({"text_config": [document]} if deep else document))

    with pytest.raises(BackboneError, match=r"names code of its own \(auto_map\)"):
        check(model)


@pytest.mark.parametrize("value", ["owner/kernel", {"": "eager", "text_config": "owner/kernel@v1"}])
def test_a_model_that_would_load_kernels_from_the_hub_is_refused(model, value):
    document = {"model_type": "x", "attn_implementation": value}
    (model / "config.json").write_text(json.dumps(document))

    with pytest.raises(BackboneError, match=r"would load code from the hub"):
        check(model)


def test_usual_attention_is_no_code(model):
    document = {"model_type": "x", "attn_implementation": "sdpa", "auto_map": None}
    (model / "config.json").write_text(json.dumps(document))

    check(model)


def test_an_adapter_that_leads_to_another_model_is_refused(model):
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "/secret"}')

    with pytest.raises(BackboneError, match=r"its adapter_config\.json would load another model"):
        check(model)


def index(model, *shards):
    (model / "model.safetensors").unlink()
    parts = {f"weight{place}": shard for place, shard in enumerate(shards)}
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))


def test_a_model_in_several_files_is_plain(model):
    index(model, "a-1.safetensors", "a-2.safetensors")
    (model / "a-1.safetensors").touch()
    (model / "a-2.safetensors").touch()

    check(model)


@pytest.mark.parametrize(
    "shards", [("../secret.safetensors",), ("missing.safetensors",), ("a.bin",), ("/a",), (3,), ()]
)
def test_an_index_that_names_other_files_is_refused(model, shards):
    (model / "a.bin").touch()
    index(model, *shards)

    with pytest.raises(BackboneError, match=r"names parts that are not \*\.safetensors files"):
        check(model)


def test_a_file_that_is_a_link_out_of_the_roots_is_refused(model, tmp_path):
    (tmp_path / "secret.json").write_text("{}")
    (model / "vocab.json").symlink_to(tmp_path / "secret.json")

    with pytest.raises(BackboneError, match=r"its vocab\.json is a link that leads out"):
        check(model)


def test_links_within_the_roots_are_how_the_hub_keeps_models(model):
    (model / "model.safetensors").rename(model.parent / "blob")
    (model / "model.safetensors").symlink_to(model.parent / "blob")

    check(model)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\x00", '{"a": 1e999999}x'])
def test_a_broken_configuration_is_told(model, text):
    (model / "config.json").write_text(text)

    with pytest.raises(BackboneError, match=r"cannot read its config\.json"):
        check(model)


def test_a_huge_configuration_is_not_read(model, monkeypatch):
    monkeypatch.setattr("autopeft.wiring.plain._MOST_JSON", 5)

    with pytest.raises(BackboneError, match=r"its config\.json is larger than"):
        check(model)


def test_a_folder_without_a_configuration_is_no_model(model):
    (model / "config.json").unlink()

    with pytest.raises(BackboneError, match=r"it has no config\.json"):
        check(model)


def test_a_folder_that_is_gone_is_told(model):
    with pytest.raises(BackboneError, match="cannot read the model 'gone'"):
        must_be_plain(model.parent / "gone", "gone", [model.parent])
