"""Architectures that no file describes, found by their structure."""

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from autopeft.architectures.reading import architecture_of, read_architecture
from autopeft.architectures.writing import write_architecture
from autopeft.errors import BackboneError
from autopeft.methods.inject import injected
from autopeft.search_spaces.catalog import slots_of
from autopeft.training.model_files import ModelFiles
from autopeft.training.pretrained import load_backbone
from autopeft.training.shape import read_shape, shape_of
from autopeft.training.structure import analyse
from tests.models import EVERY, SCALES, config_of, padded_inputs, save_weights, seen, table

SLICED = {"gpt2", "phi3", "modernbert"}
COMMON = {
    "vocab_size": 20, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 4, "intermediate_size": 48, "max_position_embeddings": 40,
    "pad_token_id": 0, "bos_token_id": 2,
    "eos_token_id": 3,
}  # fmt: skip
SEPARATE = ("attention.query", "attention.key", "attention.value", "attention.output")
UNKNOWN = {
    "mpnet": ("post", "", {*SEPARATE, "ffn.input", "ffn.output", "attention.norm", "ffn.norm"}),
    "roformer": ("post", "", {*SEPARATE, "ffn.input", "ffn.output", "attention.norm", "ffn.norm"}),
    "stablelm": (
        "pre",
        "attention",
        {*SEPARATE, "ffn.gate", "ffn.input", "ffn.output", "attention.norm", "ffn.norm",
         "final.norm"},
    ),
    "gpt_neox": (
        "pre",
        "attention",
        {"attention.qkv", "attention.output", "ffn.input", "ffn.output", "attention.norm",
         "ffn.norm", "final.norm"},
    ),
    "bloom": (
        "pre",
        "",
        {"attention.qkv", "attention.output", "ffn.input", "ffn.output", "attention.norm",
         "ffn.norm", "final.norm"},
    ),
    "falcon": (
        "pre",
        "",
        {"attention.qkv", "attention.output", "ffn.input", "ffn.output", "attention.norm",
         "final.norm"},
    ),
    "cohere": (
        "pre",
        "attention",
        {*SEPARATE, "ffn.gate", "ffn.input", "ffn.output", "attention.norm", "final.norm"},
    ),
    "olmo2": (
        "pre",
        "attention",
        {*SEPARATE, "ffn.gate", "ffn.input", "ffn.output", "final.norm"},
    ),
}  # fmt: skip
"""Where norms are, whether attention can take a prefix, and the sites with weights.

Read off the models' code: of Falcon and Cohere one norm serves attention and the feed-forward layer
side by side; those of OLMo 2 stand between a sub-layer and its sum, where no site is.
"""


def meta(config):
    with torch.device("meta"):
        return AutoModel.from_config(config)


def unknown(model_type, **changes):
    return AutoConfig.for_model(model_type, **(COMMON | changes))


def analysed(model, name="tiny"):
    return shape_of(model, analyse(model, name), name=name, digest="")


def by_name(backbone):
    return {site.name: site for site in backbone.sites}


class TestKnownFamilies:
    @pytest.mark.parametrize("family", [f for f in [*EVERY, "clip"] if f not in SLICED])
    def test_what_is_found_is_what_the_file_says(self, family):
        model = meta(config_of(family))
        known = shape_of(model, architecture_of(family), name="tiny", digest="")
        found = analysed(model)

        assert found.stacks == known.stacks
        assert by_name(found) == by_name(known)

    @pytest.mark.parametrize("family", sorted(SLICED))
    def test_all_but_the_slices_of_fused_matrices_is_found(self, family):
        model = meta(config_of(family))
        known = shape_of(model, architecture_of(family), name="tiny", digest="")
        found = analysed(model)
        sliced = {site.name for site in known.sites if site.start is not None}
        missing = {name for name in by_name(known) if name not in by_name(found)}

        assert found.stacks == known.stacks
        assert missing - {"ffn"} == sliced
        assert all(by_name(known)[name] == site for name, site in by_name(found).items())

    def test_a_norm_that_the_first_block_lacks_is_found_in_the_second(self):
        assert analysed(meta(config_of("modernbert"))).site("attention.norm").blocks == (1, 2)

    @pytest.mark.parametrize(
        "changes", [{"do_layer_norm_before": False}, {"word_embed_proj_dim": 16}], ids=str
    )
    def test_variants_of_a_family_are_told_apart(self, changes):
        model = meta(config_of("opt", **changes))
        known = shape_of(model, architecture_of("opt"), name="tiny", digest="")

        assert by_name(analysed(model)) == by_name(known)
        assert analysed(model).stacks == known.stacks


class TestUnknownFamilies:
    @pytest.mark.parametrize("model_type", UNKNOWN)
    def test_sites_are_those_that_its_code_has(self, model_type):
        norm, attention, expected = UNKNOWN[model_type]
        backbone = analysed(meta(unknown(model_type)))
        with_weights = {s.name for s in backbone.sites if s.kind in {"linear", "norm"}}

        assert backbone.stacks[0].norm == norm
        assert with_weights == expected
        assert (backbone.find("", "attention") is not None) == bool(attention)
        assert backbone.site("embeddings").outputs == 32

    @pytest.mark.parametrize("model_type", UNKNOWN)
    def test_lora_at_every_site_is_counted_and_gets_a_gradient(self, model_type):
        config = unknown(model_type)
        backbone = analysed(meta(config))
        model = AutoModel.from_config(config).eval()
        slots = slots_of(backbone)
        sizes = {slot.name: 2 for slot in slots if slot.method == "lora"}
        configuration = table(slots, backbone.blocks, sizes)
        generator = torch.Generator().manual_seed(0)
        with injected(model, backbone, slots, configuration, SCALES, generator) as injection:
            trained = [p for p in model.parameters() if p.requires_grad]
            for parameter in trained:
                parameter.data.add_(0.1)
            out = model(input_ids=torch.arange(4, 12)[None]).last_hidden_state
            (out * torch.randn(out.shape, generator=generator)).sum().backward()

            assert sizes
            assert injection.count() == configuration.parameters(slots)
            assert sum(p.numel() for p in trained) == injection.count()
            assert all(p.grad is not None and p.grad.ne(0).any() for p in trained)

    @pytest.mark.parametrize("model_type", UNKNOWN)
    def test_the_model_is_loaded_to_compute_what_it_did(self, model_type, tmp_path):
        """Where a model attends by itself, masks made for our attention would mislead it."""
        save_weights(AutoModel.from_config(unknown(model_type)), tmp_path)
        files = ModelFiles(reference="tiny", path=tmp_path, model_type=model_type)
        ours = load_backbone(files)
        theirs = AutoModel.from_pretrained(tmp_path, attn_implementation="eager").eval()
        inputs = padded_inputs(model_type)
        inputs["input_ids"] %= COMMON["vocab_size"]
        with torch.no_grad():
            expected = seen(theirs(**inputs).last_hidden_state, inputs)
            found = seen(ours(**inputs).last_hidden_state, inputs)

        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    def test_what_is_found_can_be_written_down_as_a_file(self):
        model = meta(unknown("mpnet"))
        found = analyse(model, "tiny")

        assert read_architecture(found.source, write_architecture(found)) == found

    def test_a_model_without_a_file_is_read_like_any_other(self, tmp_path):
        unknown("stablelm").save_pretrained(tmp_path)

        assert read_shape(str(tmp_path)).site("ffn.gate").outputs == 48

    def test_names_of_stacks_are_those_of_the_modules_that_hold_them(self):
        model = meta(unknown("pegasus", d_model=32, encoder_layers=2, decoder_layers=2,
                             encoder_attention_heads=4, decoder_attention_heads=4,
                             encoder_ffn_dim=48, decoder_ffn_dim=48))  # fmt: skip

        assert [stack.name for stack in analysed(model).stacks] == ["encoder", "decoder"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("model_type", "changes", "message"),
        [
            (
                "mamba",
                {},
                r"mixer.in_proj .* and .*mixer.x_proj .* do not fit together as attention",
            ),
            ("xlnet", {}, r"XLNetLayer\) have no linear layers for query, key and value, but ff.*"),
            ("fnet", {}, r"the blocks in encoder.layer \(FNetLayer\) have no linear layers for q"),
            ("convnext", {}, r"ConvNextStage\) have no linear layers for query, key and value"),
            ("swin", {}, r"\(SwinStage\) have 2 layers of self-attention and 0 of cross-attention"),
            ("resnet", {}, "it has no list of blocks with linear layers"),
            ("whisper", {}, "it cannot be followed without its weights"),
        ],
    )
    def test_what_is_no_transformer_of_equal_blocks_is_refused(self, model_type, changes, message):
        model = meta(AutoConfig.for_model(model_type, **changes))

        with pytest.raises(
            BackboneError,
            match=rf"of 'tiny' are: no architecture file names the model type '{model_type}', and "
            rf"of its structure this is not understood: .*{message}.*; write a file for it in "
            "autopeft/architectures, as docs/architectures.md explains",
        ):
            analyse(model, "tiny")

    def test_blocks_of_several_kinds_are_refused(self):
        class OtherLayer(nn.Module):
            def __init__(self, inner):
                super().__init__()
                self.inner = inner

            def forward(self, *args, **kwargs):
                return self.inner(*args, **kwargs)

        model = meta(config_of("bert"))
        model.encoder.layer[0] = OtherLayer(model.encoder.layer[0])

        with pytest.raises(
            BackboneError, match=r"blocks in encoder.layer are of several kinds \(BertLayer, Other"
        ):
            analyse(model, "tiny")

    def test_lists_of_blocks_without_names_of_their_own_are_refused(self):
        class Pair(nn.Module):
            config = config_of("bert")

            def __init__(self):
                super().__init__()
                self.both = nn.ModuleDict({"a": meta(self.config), "b": meta(self.config)})

            def forward(self, input_ids):
                return self.both["a"](input_ids), self.both["b"](input_ids)

        with pytest.raises(
            BackboneError,
            match=r"blocks \(both.a.encoder.layer, both.b.encoder.layer\) have no names of their",
        ):
            analyse(Pair(), "tiny")

    def test_attention_that_nothing_closes_is_refused(self):
        model = meta(unknown("mpnet"))
        for layer in model.encoder.layer:
            layer.attention.attn.o = nn.Identity()
            layer.intermediate.dense, layer.output.dense = nn.Identity(), nn.Identity()

        with pytest.raises(
            BackboneError,
            match=r"nothing follows encoder.layer.1.attention.attn that closes attention",
        ):
            analyse(model, "tiny")

    def test_a_fused_matrix_that_cannot_hold_three_parts_is_refused(self):
        model = meta(config_of("gpt2"))
        for block in model.h:
            block.attn.c_attn = _Wide(32, 200)

        with pytest.raises(
            BackboneError,
            match=r"h.1.attn.c_attn \(32 to 200 without bias\) and h.1.attn.c_proj \(32 to 32 with "
            r"bias\) do not fit together as attention",
        ):
            analyse(model, "tiny")


class _Wide(nn.Linear):
    """A layer that claims more outputs than it gives."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=False, device="meta")

    def forward(self, x):
        return super().forward(x)[..., :96]
