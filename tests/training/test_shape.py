"""The shapes of models of every family, read without their weights."""

import resource
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import AttentionInterface, AutoModel

from autopeft.architectures.reading import architecture_of
from autopeft.errors import BackboneError
from autopeft.training.shape import empty_model, read_shape, shape_of
from tests.models import EVERY, config_of, padded_inputs
from tests.shapes import PUBLISHED, published


def meta(family, **changes):
    with torch.device("meta"):
        return AutoModel.from_config(config_of(family, **changes))


def shape(family, *, model=None, **changes):
    model = model or meta(family, **changes)
    architecture = architecture_of(model.config.model_type)
    return shape_of(model, architecture, name="tiny", digest="d")


def widths(backbone, *names):
    sites = [backbone.site(name) for name in names]
    return [(site.inputs, site.outputs) for site in sites]


class TestEveryFamily:
    @pytest.mark.parametrize("family", [*EVERY, "clip"])
    def test_every_site_leads_to_a_module_in_each_of_its_rows(self, family):
        model = meta(family)
        backbone = shape(family, model=model)

        for site in backbone.sites:
            for row in range(*site.blocks) if site.path else ():
                assert model.get_submodule(backbone.module_path(site, row))

    @pytest.mark.parametrize("family", [*EVERY, "clip"])
    def test_no_linear_layer_and_no_bias_of_a_block_is_forgotten(self, family):
        """Except, by design, what normalises single heads, and norms inside the residual."""
        model = meta(family)
        backbone = shape(family, model=model)
        known = {
            backbone.module_path(site, row)
            for site in backbone.sites
            for row in range(*site.blocks)
            if site.path
        }
        inside = [path.format(block="") for path in {s.path.split("{")[0] for s in backbone.sites}]
        blocks = tuple(path for path in inside if path.endswith("."))

        left = {
            name
            for name, module in model.named_modules()
            if name.startswith(blocks) and isinstance(module, nn.Linear) and name not in known
        }

        assert not left

    @pytest.mark.parametrize("family", [*EVERY, "clip"])
    def test_rows_are_numbered_through_the_stacks(self, family):
        backbone = shape(family)

        rows = [row for s in backbone.stacks for row in range(s.first, s.first + s.blocks)]
        assert rows == list(range(backbone.blocks))


class TestNormPlace:
    @pytest.mark.parametrize(
        "family", ["bert", "roberta", "electra", "distilbert", "deberta-v2", "albert", "bart"]
    )
    def test_post_norm(self, family):
        assert {stack.norm for stack in shape(family).stacks} == {"post"}

    @pytest.mark.parametrize(
        "family", ["gpt2", "llama", "gemma2", "phi", "t5", "mbart", "vit", "clip", "modernbert"]
    )
    def test_pre_norm(self, family):
        assert {stack.norm for stack in shape(family).stacks} == {"pre"}

    def test_opt_says_it_in_its_configuration(self):
        """The 350M model is post-norm, closes with no norm, and has narrower embeddings."""
        usual = shape("opt")
        odd = shape("opt", do_layer_norm_before=False, word_embed_proj_dim=16)

        assert (usual.stacks[0].norm, odd.stacks[0].norm) == ("pre", "post")
        assert usual.find("", "final.norm").blocks == (1, 2)
        assert odd.find("", "final.norm") is None
        assert widths(odd, "embeddings") == [(16, 16)]


class TestWidths:
    def test_heads_may_share_keys_and_values(self):
        backbone = shape("llama")

        assert widths(
            backbone, "attention.query", "attention.key", "attention.value", "attention.output"
        ) == [(32, 40), (32, 20), (32, 20), (40, 32)]
        assert widths(backbone, "attention", "ffn") == [(20, 20), (32, 32)]
        assert backbone.width == 32

    def test_a_gated_layer_has_a_gate(self):
        assert widths(shape("llama"), "ffn.gate", "ffn.input", "ffn.output") == [
            *((32, 48), (32, 48), (48, 32))
        ]
        assert shape("mt5").find("decoder", "ffn.gate")
        assert shape("t5").find("decoder", "ffn.gate") is None
        assert shape("dinov2", use_swiglu_ffn=True).find("", "ffn.gate")

    @pytest.mark.parametrize("family", ["electra", "albert"])
    def test_embeddings_may_be_narrower_than_the_blocks(self, family):
        assert widths(shape(family), "embeddings", "block") == [(16, 16), (32, 32)]

    def test_the_first_block_of_modernbert_has_no_attention_norm(self):
        assert shape("modernbert").site("attention.norm").blocks == (1, 2)

    def test_albert_has_one_row_however_often_its_block_runs(self):
        assert shape("albert").blocks == 1
        assert shape("albert", num_hidden_groups=2).blocks == 2

    def test_the_towers_of_clip_have_their_own_widths(self):
        text, vision = shape("clip").stacks

        assert (text.name, text.width, text.first) == ("text", 24, 0)
        assert (vision.name, vision.width, vision.first) == ("vision", 32, 2)

    def test_the_sides_of_bart_have_their_own_heads(self):
        assert [stack.heads for stack in shape("bart").stacks] == [4, 2]

    def test_cross_attention_belongs_to_the_decoder(self):
        backbone = shape("mt5")

        assert backbone.site("decoder.cross.query").blocks == (2, 4)
        assert backbone.find("encoder", "cross.query") is None
        assert widths(backbone, "decoder.cross") == [(40, 40)]


@pytest.mark.parametrize("family", ["gpt2", "phi3", "modernbert"])
def test_the_slices_of_a_fused_matrix_are_what_attention_gets(family):
    """Rotary positions turn queries and keys, which leaves their length as it was."""
    seen = {}

    def attend(module, query, key, value, *_args, **_kwargs):
        lengths = [part.norm(dim=-1).transpose(1, 2) for part in (query, key, value)]
        seen.setdefault(module, dict(zip(("query", "key", "value"), lengths, strict=True)))
        return torch.zeros_like(query).transpose(1, 2), None

    AttentionInterface.register("slices", attend)
    model = AutoModel.from_config(config_of(family), attn_implementation="slices").eval()
    backbone = shape(family, model=model)
    fused = {}
    whole = model.get_submodule(backbone.module_path(backbone.site("attention.qkv"), 0))
    whole.register_forward_hook(lambda _module, _args, output: fused.update(output=output))
    with torch.no_grad():
        model(input_ids=padded_inputs(family)["input_ids"])

    got = seen[model.get_submodule(backbone.module_path(backbone.site("attention"), 0))]
    for part, lengths in got.items():
        site = backbone.site(f"attention.{part}")
        slice_BTO = fused["output"][..., site.start : site.start + site.outputs]
        heads_BTHK = slice_BTO.unflatten(-1, (lengths.shape[-1], -1))
        torch.testing.assert_close(heads_BTHK.norm(dim=-1), lengths, msg=part)


@pytest.mark.parametrize("family", ["phi3", "modernbert"])
def test_the_gate_is_the_half_that_goes_through_the_activation(family):
    model = AutoModel.from_config(config_of(family)).eval()
    backbone = shape(family, model=model)
    gate, ffn = backbone.site("ffn.gate"), backbone.site("ffn.fused")
    activated, fused = [], []
    model.get_submodule(backbone.module_path(ffn, 0)).register_forward_hook(
        lambda _module, _args, output: fused.append(output)
    )
    parent = backbone.module_path(ffn, 0).rpartition(".")[0]
    activation = next(
        m for n, m in model.get_submodule(parent).named_modules() if n.startswith("act")
    )
    activation.register_forward_hook(lambda _module, args, _output: activated.append(args[0]))
    with torch.no_grad():
        model(input_ids=padded_inputs(family)["input_ids"])

    assert torch.equal(fused[0][..., gate.start : gate.start + gate.outputs], activated[0])


class TestRefusals:
    def test_a_site_that_is_not_there_is_named(self):
        model = meta("bert")
        del model.encoder.layer[0].output.dense

        with pytest.raises(
            BackboneError,
            match=r"'tiny' \(from bert.yaml\) has no ffn.output at "
            r"'encoder.layer.0.output.dense', where its architecture expects it",
        ):
            shape("bert", model=model)

    def test_blocks_of_different_widths_are_named(self):
        model = meta("llama")
        model.layers[1].mlp.up_proj = nn.Linear(32, 64, device="meta")

        with pytest.raises(
            BackboneError,
            match=r"the blocks of the model 'tiny' .* differ: ffn.input is 32 to 48 without bias "
            r"in block 0, and 32 to 64 with bias in block 1; autopeft searches models whose",
        ):
            shape("llama", model=model)

    def test_a_module_of_another_kind_is_named(self):
        model = meta("llama")
        model.layers[1].self_attn.q_proj = nn.Identity()

        with pytest.raises(
            BackboneError,
            match=r"has a Identity at 'layers.1.self_attn.q_proj', where a module of the kind "
            "'linear' is expected",
        ):
            shape("llama", model=model)

    def test_a_fused_matrix_that_the_configuration_does_not_describe_is_named(self):
        model = meta("phi3")
        for layer in model.layers:
            layer.self_attn.qkv_proj = nn.Linear(32, 70, device="meta")

        with pytest.raises(
            BackboneError,
            match=r"fused matrix of 70 outputs at attention.query, and its config.json describes "
            r"parts of 32 \+ 16 \+ 16",
        ):
            shape("phi3", model=model)

    def test_a_setting_that_an_architecture_needs_is_named(self):
        with pytest.raises(
            BackboneError,
            match=r"'tiny' \(from albert.yaml\) has inner_group_num 2 in its config.json, and "
            "autopeft knows the sites of this architecture only where it is 1",
        ):
            shape("albert", inner_group_num=2)

    def test_blocks_that_are_not_there_are_named(self):
        architecture = architecture_of("gpt2")

        with pytest.raises(BackboneError, match=r"has no blocks at 'h', where its architecture"):
            shape_of(meta("bert"), architecture, name="tiny", digest="")

    def test_a_number_of_heads_that_is_not_said_is_named(self):
        (stack,) = architecture_of("bert").stacks
        architecture = replace(
            architecture_of("bert"), stacks=(replace(stack, heads="decoder_heads"),)
        )

        with pytest.raises(BackboneError, match=r"config.json of 'tiny' .* say decoder_heads"):
            shape_of(meta("bert"), architecture, name="tiny", digest="")


class TestReadingFromAConfiguration:
    def test_nothing_but_config_json_is_needed(self, tmp_path):
        config_of("llama").save_pretrained(tmp_path)

        by_folder = read_shape(str(tmp_path))
        by_file = read_shape(str(tmp_path / "config.json"))

        assert by_folder == replace(by_file, name=str(tmp_path))
        assert by_folder.sites == shape("llama").sites
        assert len(by_folder.digest) == 64

    def test_a_folder_without_one_is_refused(self, tmp_path):
        with pytest.raises(BackboneError, match=r"has no config.json"):
            read_shape(str(tmp_path))

    def test_a_configuration_with_wrong_values_is_refused(self, tmp_path):
        (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": "wide"}')

        with pytest.raises(BackboneError, match=r"cannot read the configuration of "):
            read_shape(str(tmp_path))

    def test_a_model_of_seventy_billion_needs_no_memory(self):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        backbone = published("llama-3-70b")

        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert backbone.parameters > 69e9
        assert grown_kib < 200 * 1024

    def test_the_model_is_built_where_tensors_take_no_memory(self, tmp_path):
        config_of("llama").save_pretrained(tmp_path)

        model = empty_model(tmp_path, "tiny")

        assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("bert-base", 109_482_240),
        ("roberta-base", 124_645_632),
        ("roberta-large", 355_359_744),
        ("deberta-v3-base", 183_831_552),
        ("t5-base", 222_903_552),
        ("t5-large", 737_668_096),
        ("gpt2", 124_439_808),
        ("llama-7b", 6_738_415_616 - 32_000 * 4096),  # published with its language-model head
        ("vit-b16", 85_798_656 + 768 * 769),  # published without the pooler that transformers adds
    ],
)
def test_the_parameters_of_published_models_are_those_that_papers_state(name, parameters):
    assert published(name).parameters == parameters


def test_t5_large_with_the_vocabulary_of_its_tokenizer_is_that_of_s3delta():
    """Hu et al. 2022 count 32,100 tokens, the checkpoint has 28 rows more."""
    assert published("t5-large").parameters - 28 * 1024 == 737_639_424


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_every_site_in_all_of_its_rows(name):
    backbone = published(name)

    assert all(
        first < last <= backbone.blocks for first, last in (s.blocks for s in backbone.sites)
    )
