import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertForMaskedLM

from autopeft.errors import BackboneError
from autopeft.training.model_files import default_head, find_model, packaged_models
from autopeft.training.pretrained import (
    check_kind,
    load_backbone,
    load_reader,
    load_tokenizer,
)
from autopeft.training.shape import read_backbone
from tests.kinds import save_causal, save_model, save_translator
from tests.models import (
    ENCODERS,
    FAMILIES,
    MINILM,
    config_of,
    padded_inputs,
    save_tiny,
    save_weights,
)

POSITIONS_AFTER_PADDING = (
    *("data2vec-text", "esm", "layoutlmv3", "lilt", "luke", "markuplm", "mpnet", "roberta"),
    *("roberta-prelayernorm", "xlm-roberta-xl"),
)


@pytest.fixture
def folder(tmp_path):
    return save_tiny(tmp_path / "tiny")


def rewrite(file, **changes):
    """Change keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), "utf-8")


class TestFinding:
    def test_a_directory_is_found_and_its_type_is_read(self, folder):
        files = find_model(str(folder))

        assert (files.path, files.model_type) == (folder, "bert")

    def test_a_relative_directory_becomes_absolute(self, folder, monkeypatch):
        monkeypatch.chdir(folder.parent)

        assert find_model("tiny").path == folder
        assert find_model("./tiny").reference == "./tiny"

    def test_a_model_inside_a_package_is_found(self):
        files = find_model(MINILM)

        assert files.reference == MINILM
        assert (files.path / "model.safetensors").is_file()
        assert MINILM in packaged_models()

    def test_a_missing_configuration_is_named(self, folder):
        (folder / "config.json").unlink()

        with pytest.raises(BackboneError, match=r"has no config\.json; give a directory that"):
            find_model(str(folder))

    @pytest.mark.parametrize("text", ["{", "[]", '"bert"', "{}", "null", "\xff"])
    def test_a_broken_configuration_is_named(self, folder, text):
        (folder / "config.json").write_bytes(text.encode("latin-1"))

        with pytest.raises(BackboneError, match=r"cannot read .*config\.json: .*complete\?"):
            find_model(str(folder))

    def test_missing_weights_are_named(self, folder):
        (folder / "model.safetensors").unlink()

        with pytest.raises(BackboneError, match=r"has no weights: .* holds no"):
            find_model(str(folder))

    def test_a_missing_tokenizer_is_named(self, folder):
        for file in folder.glob("tokenizer*"):
            file.unlink()

        with pytest.raises(BackboneError, match=r"has no tokenizer: .* save the tokenizer into"):
            find_model(str(folder))

    @pytest.mark.parametrize(
        "reference",
        ["/no/such/folder", "./none", "~/no-such-folder-here", "~nobody-at-all/x", "a/b/c", "a b"],
    )
    def test_a_path_that_does_not_exist_is_named(self, reference):
        with pytest.raises(BackboneError, match=f"no model directory '{re.escape(reference)}'"):
            find_model(reference)

    def test_a_file_is_no_model(self, folder, monkeypatch):
        monkeypatch.chdir(folder)

        with pytest.raises(BackboneError, match=r"there is no model directory 'config\.json'"):
            find_model("config.json")

    @pytest.mark.parametrize("reference", ["no-such-model-0f3a", "no-one/no-such-model-0f3a"])
    def test_a_hub_id_without_a_network_is_explained(self, reference, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

        with pytest.raises(BackboneError, match=f"cannot get the model '{reference}' from the hub"):
            find_model(reference)

    @pytest.mark.parametrize("name", ["no-such-package-0f3a", ""])
    def test_a_package_that_is_not_installed_is_named(self, name):
        with pytest.raises(BackboneError, match=f"the package '{name}' is not installed: pip"):
            find_model(f"package:{name}")

    def test_a_package_without_a_model_is_named(self):
        with pytest.raises(BackboneError, match="the package 'pytest' carries no model"):
            find_model("package:pytest")


class TestShape:
    def test_the_shape_of_minilm(self):
        backbone = read_backbone(find_model(MINILM))

        assert (backbone.parameters, backbone.blocks, backbone.width) == (22_713_216, 6, 384)
        assert backbone.architecture == "bert"
        widths = {site.name: (site.inputs, site.outputs, site.bias) for site in backbone.sites}
        assert widths["ffn.input"] == (384, 1536, True)
        assert widths["ffn.norm"] == (384, 384, True)
        assert widths["attention"] == (384, 384, False)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_the_shape_is_that_of_the_loaded_model(self, tmp_path, family):
        files = find_model(str(save_tiny(tmp_path, family)))
        backbone, model = read_backbone(files), load_backbone(files)

        assert backbone.parameters == sum(p.numel() for p in model.parameters())
        assert backbone.width == 32
        for site in backbone.sites:
            for block in range(*site.blocks):
                module = model.get_submodule(backbone.module_path(site, block))
                if site.kind == "linear" and site.start is None:
                    assert sorted(module.weight.shape) == sorted((site.outputs, site.inputs))

    def test_it_is_read_without_the_weights(self, folder):
        """A file of the right name and nothing in it is enough."""
        expected = read_backbone(find_model(str(folder)))
        (folder / "model.safetensors").write_bytes(b"")

        found = read_backbone(find_model(str(folder)))

        assert (found.parameters, found.sites) == (expected.parameters, expected.sites)

    @pytest.mark.parametrize(
        "file", ["model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    )
    def test_the_digest_follows_every_byte_that_decides_a_result(self, folder, tmp_path, file):
        copy = shutil.copytree(folder, tmp_path / "copy")
        before = read_backbone(find_model(str(folder))).digest
        assert read_backbone(find_model(str(copy))).digest == before

        content = bytearray((copy / file).read_bytes())
        content[-1] ^= 1  # in the last weight; the JSON files are not read here
        (copy / file).write_bytes(content)

        assert read_backbone(find_model(str(copy))).digest != before

    def test_the_digest_follows_the_configuration(self, folder):
        before = read_backbone(find_model(str(folder))).digest
        rewrite(folder / "config.json", layer_norm_eps=1e-6)

        assert read_backbone(find_model(str(folder))).digest != before

    def test_an_unknown_architecture_that_is_not_understood_is_named(self, folder):
        rewrite(folder / "config.json", model_type="mamba")

        with pytest.raises(BackboneError, match="no architecture file names the model type 'mamba"):
            read_backbone(find_model(str(folder)))

    @pytest.mark.parametrize(
        "change",
        [
            {"hidden_size": 33},
            {"hidden_size": "wide"},
            {"num_attention_heads": 0},
            {"hidden_act": "?"},
        ],
        ids=str,
    )
    def test_a_configuration_that_contradicts_itself_is_named(self, folder, change):
        rewrite(folder / "config.json", **change)

        with pytest.raises(BackboneError, match=r"cannot read the configuration of '.*tiny'"):
            read_backbone(find_model(str(folder)))

    def test_a_model_without_blocks_lacks_the_first_site(self, folder):
        rewrite(folder / "config.json", num_hidden_layers=0)

        with pytest.raises(BackboneError, match=r"has no attention\.query at 'encoder\.layer\.0\."):
            read_backbone(find_model(str(folder)))


class TestLoading:
    @pytest.mark.parametrize("family", ENCODERS)
    def test_weights_come_in_single_precision_and_frozen(self, tmp_path, family):
        save_tiny(tmp_path, family)
        saved = load_file(tmp_path / "model.safetensors")
        save_file(
            {name: value.half() for name, value in saved.items()},
            tmp_path / "model.safetensors",
            metadata={"format": "pt"},
        )

        model = load_backbone(find_model(str(tmp_path)))

        assert not model.training
        assert not any(parameter.requires_grad for parameter in model.parameters())
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, saved[name].half().float())

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
    def test_truncated_weights_are_named(self, folder, share):
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[: int(share * len(content))])

        with pytest.raises(BackboneError, match=r"cannot load the weights of .* complete"):
            load_backbone(find_model(str(folder)))

    @pytest.mark.parametrize(
        "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: ...")]
    )
    def test_a_lack_of_memory_is_not_the_fault_of_the_model(self, folder, monkeypatch, error):
        """It passes as it is, so that it becomes the outcome of a trial."""

        def short(*_, **__):
            raise error

        monkeypatch.setattr(AutoModel, "from_pretrained", short)

        with pytest.raises(type(error)) as caught:
            load_backbone(find_model(str(folder)))
        assert caught.value is error

    def test_weights_of_another_width_are_named(self, folder):
        rewrite(folder / "config.json", intermediate_size=64)

        with pytest.raises(BackboneError, match="cannot load the weights of"):
            load_backbone(find_model(str(folder)))

    def test_weights_under_other_names_are_not_replaced_by_random_ones(self, folder):
        weights = load_file(folder / "model.safetensors")
        key = "encoder.layer.1.output.dense.weight"
        weights["something.else"] = weights.pop(key)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

        with pytest.raises(BackboneError, match=f"lack 1 tensors, such as '{key}': is this the"):
            load_backbone(find_model(str(folder)))

    def test_weights_of_other_shapes_are_refused(self, folder):
        config = json.loads((folder / "config.json").read_text()) | {"vocab_size": 7}
        (folder / "config.json").write_text(json.dumps(config))

        with pytest.raises(BackboneError, match=r"their shapes are not those that config\.json"):
            load_backbone(find_model(str(folder)))

    def test_a_pooler_that_was_never_trained_is_left_out(self, folder):
        """Checkpoints of masked language models have none; a random one would be no one's."""
        save_weights(BertForMaskedLM(config_of("bert")), folder)

        model = load_backbone(find_model(str(folder)))

        assert model.pooler is None
        assert model(**padded_inputs()).pooler_output is None

    def test_the_tokenizer_is_loaded(self, folder):
        tokenizer = load_tokenizer(find_model(str(folder)))

        assert tokenizer("plain0", "good1")["input_ids"] == [2, 4, 3, 17, 3]

    @pytest.mark.parametrize("family", ENCODERS)
    def test_the_tokenizer_knows_how_long_a_text_the_model_takes(self, tmp_path, family):
        """As long as there are positions for it, and not one token more."""
        files = find_model(str(save_tiny(tmp_path, family)))
        longest, model = load_tokenizer(files).model_max_length, load_backbone(files)

        model(input_ids=torch.full((1, longest), 9))
        with pytest.raises((IndexError, RuntimeError), match=r"size|out of"):
            model(input_ids=torch.full((1, longest + 1), 9))

    @pytest.mark.parametrize("family", POSITIONS_AFTER_PADDING)
    def test_positions_that_are_counted_from_padding_begin_after_it(self, tmp_path, family):
        """With the padding token of their checkpoints, 1, two positions are no text's."""
        own = {
            "esm": {"mask_token_id": 5},
            "layoutlmv3": {"hidden_size": 48, "coordinate_size": 8, "shape_size": 8},
            "lilt": {"hidden_size": 48},
            "luke": {"entity_vocab_size": 5},
        }
        save_tiny(tmp_path, family, pad_token_id=1, **own.get(family, {}))
        files = find_model(str(tmp_path))
        longest, model = load_tokenizer(files).model_max_length, load_backbone(files)

        assert longest == 38
        model(input_ids=torch.full((1, longest), 9))
        with pytest.raises((IndexError, RuntimeError), match=r"size|out of"):
            model(input_ids=torch.full((1, longest + 1), 9))

    def test_a_broken_tokenizer_is_named(self, folder):
        (folder / "tokenizer.json").write_text("{")

        with pytest.raises(BackboneError, match="cannot load the tokenizer of"):
            load_tokenizer(find_model(str(folder)))

    def test_a_tokenizer_without_a_padding_token_is_refused(self, tmp_path):
        save_tiny(tmp_path, "roberta")
        rewrite(tmp_path / "tokenizer_config.json", pad_token=None)

        with pytest.raises(BackboneError, match="has no padding token: set pad_token in its"):
            load_tokenizer(find_model(str(tmp_path)))

    def test_a_tokenizer_pads_with_its_end_token_where_it_has_no_other(self, tmp_path):
        """The attention mask hides it as well as any other."""
        tokenizer = load_tokenizer(find_model(str(save_causal(tmp_path))), "causal_lm")

        assert tokenizer.pad_token == tokenizer.eos_token == "[SEP]"

    def test_an_end_token_is_no_padding_for_a_decoder_that_begins_with_padding(self, tmp_path):
        save_translator(tmp_path)
        rewrite(tmp_path / "tokenizer_config.json", pad_token=None)

        with pytest.raises(BackboneError, match="has no padding token: set pad_token in its"):
            load_tokenizer(find_model(str(tmp_path)), "seq2seq")

    def test_a_model_for_images_has_no_tokenizer_for_texts(self, tmp_path):
        files = find_model(str(save_tiny(tmp_path, "vit")))

        with pytest.raises(BackboneError, match="has no tokenizer, and this task has texts: save"):
            load_reader(files, "classification")

    def test_a_model_for_texts_has_no_image_processor(self, folder):
        with pytest.raises(
            BackboneError, match=r"no image processor: .* preprocessor_config\.json"
        ):
            load_reader(find_model(str(folder)), "image")

    def test_a_broken_image_processor_is_named(self, tmp_path):
        save_tiny(tmp_path, "vit")
        (tmp_path / "preprocessor_config.json").write_text("{")

        with pytest.raises(BackboneError, match="cannot load the image processor of"):
            load_reader(find_model(str(tmp_path)), "image")

    def test_a_language_model_comes_with_its_own_head_all_frozen(self, tmp_path):
        model = load_backbone(find_model(str(save_causal(tmp_path))), "causal_lm")

        assert model.get_output_embeddings() is not None
        assert not any(parameter.requires_grad for parameter in model.parameters())

    @pytest.mark.parametrize("family", ["gpt2", "t5", "bart"])
    def test_sites_of_a_language_model_are_found_from_its_base(self, tmp_path, family):
        kind = "causal_lm" if family == "gpt2" else "seq2seq"
        files = find_model(str(save_model(tmp_path, kind, family)))
        backbone, base = read_backbone(files), load_backbone(files, kind).base_model

        for site in backbone.sites:
            if site.path:
                assert base.get_submodule(backbone.module_path(site, site.blocks[0])) is not None


class TestKinds:
    @pytest.mark.parametrize(
        ("kind", "family"),
        [
            ("classification", "bert"),
            ("classification", "gpt2"),
            ("tokens", "roberta"),
            ("causal_lm", "llama"),
            ("seq2seq", "t5"),
            ("image", "vit"),
        ],
    )
    def test_a_model_that_can_do_a_kind_passes(self, tmp_path, kind, family):
        check_kind(find_model(str(save_model(tmp_path, kind, family))), kind)

    @pytest.mark.parametrize(
        ("kind", "family", "why"),
        [
            ("causal_lm", "bert", r"\(bert\) cannot do causal_lm: its tokens see those after them"),
            ("causal_lm", "bart", r"\(bart\) cannot do causal_lm: its tokens see those after them"),
            ("seq2seq", "gpt2", r"\(gpt2\) cannot do seq2seq: it has no decoder beside an encoder"),
            ("tokens", "t5", r"\(t5\) cannot do tokens: it is an encoder with a decoder: use"),
            ("classification", "bart", "is an encoder with a decoder: use --task seq2seq"),
        ],
    )
    def test_a_model_that_cannot_is_refused_with_the_reason(self, tmp_path, kind, family, why):
        with pytest.raises(BackboneError, match=why):
            check_kind(find_model(str(save_tiny(tmp_path, family))), kind)


class TestDefaultHead:
    def pooling(self, folder: Path, text: str):
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(text)
        return find_model(str(folder))

    def test_a_model_that_says_nothing_takes_the_mean(self, folder):
        assert default_head(find_model(str(folder))) == "mean"
        assert default_head(find_model(MINILM)) == "mean"

    @pytest.mark.parametrize(
        ("text", "head"),
        [
            ('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}', "cls"),
            ('{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}', "mean"),
            ('{"embedding_dimension": 32, "pooling_mode": "cls"}', "cls"),
            ('{"embedding_dimension": 32, "pooling_mode": "mean"}', "mean"),
            ('{"pooling_mode": "lasttoken"}', "mean"),
        ],
    )
    def test_a_sentence_encoder_says_it_itself(self, folder, text, head):
        """Old releases of sentence-transformers write flags, new ones a name."""
        assert default_head(self.pooling(folder, text)) == head

    @pytest.mark.parametrize("text", ["{", "[]"])
    def test_a_broken_pooling_file_is_named(self, folder, text):
        with pytest.raises(BackboneError, match=r"cannot read .*1_Pooling.*complete\?"):
            default_head(self.pooling(folder, text))
