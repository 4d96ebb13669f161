"""LoRA against the `peft` library, and what its own file promises."""

import pytest
import torch
from transformers import AutoModel

from autopeft.methods.inject import injected
from autopeft.search_spaces.catalog import slots_of
from autopeft.training.model_files import find_model
from autopeft.training.pretrained import load_backbone, load_tokenizer
from autopeft.training.shape import read_backbone
from tests.methods.in_peft import last_names, output_of_peft
from tests.methods.small_models import FUSED, WIDTH, inside, shake, small
from tests.models import MINILM, Tiny, padded_inputs, table, tiny

RANK, SCALE = 4, 2.0
PLAIN = {"lora@attention.query": RANK, "lora@attention.value": RANK}


def shaken(small, configuration, inputs):
    """Return the output with random factors in place, and the factors."""
    generator = torch.Generator().manual_seed(3)
    slots = slots_of(small.backbone)
    with injected(
        small.model, small.backbone, slots, configuration, {"lora": SCALE}, generator
    ) as injection:
        for value in injection.state().values():
            value.add_(0.05 * torch.randn(value.shape, generator=generator))
        with torch.no_grad():
            hidden = small.model(**inputs).last_hidden_state
        return hidden, {name: value.clone() for name, value in injection.state().items()}


def output_from_disk(folder, state, inputs):
    """Return what the peft library makes of the same weights, factors and inputs."""
    from peft import LoraConfig, get_peft_model

    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    config = LoraConfig(r=RANK, lora_alpha=SCALE * RANK, target_modules=["query", "value"])
    model = get_peft_model(model, config).eval()
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in state.items():
            block, slot, factor = name.split("/")
            place = slot.removeprefix("lora@attention.")
            path = f"base_model.model.encoder.layer.{block}.attention.self.{place}"
            matrix, theirs = ("A", value) if factor == "down" else ("B", value.T)
            parameters[f"{path}.lora_{matrix}.default.weight"].copy_(theirs)
        return model(**inputs).last_hidden_state


def assert_as_in_peft(small, inputs):
    hidden, state = shaken(
        small, table(slots_of(small.backbone), small.backbone.blocks, PLAIN), inputs
    )
    expected = output_from_disk(small.files.path, state, inputs)

    seen = inputs["attention_mask"].bool()
    torch.testing.assert_close(hidden[seen], expected[seen], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        frozen = small.model(**inputs).last_hidden_state
    assert (hidden - frozen)[seen].abs().max() > 0.05, "the factors must matter"


def test_the_same_factors_give_the_same_output_as_in_peft(tmp_path):
    """To rounding: peft multiplies in another order."""
    assert_as_in_peft(tiny(tmp_path, "bert"), padded_inputs("bert"))


def test_the_same_factors_give_the_same_output_as_in_peft_on_a_real_model():
    files = find_model(MINILM)
    small = Tiny(files=files, backbone=read_backbone(files), model=load_backbone(files))
    texts = ["The battery died.", "Great for the jawbone, and better than I had hoped for."]
    assert_as_in_peft(small, dict(load_tokenizer(files)(texts, padding=True, return_tensors="pt")))


def test_the_scale_does_not_depend_on_the_rank(tmp_path):
    """Rank 2 padded with zero rows to rank 5 is the same map."""
    small, inputs = tiny(tmp_path, "bert"), padded_inputs("bert")
    slots = slots_of(small.backbone)
    narrow, state = shaken(small, table(slots, 2, {"lora@ffn.input": 2}), inputs)

    wide = table(slots, 2, {"lora@ffn.input": 5})
    with injected(
        small.model, small.backbone, slots, wide, {"lora": SCALE}, torch.Generator()
    ) as injection:
        padding = {name: torch.zeros(3, value.shape[1]) for name, value in state.items()}
        injection.load({name: torch.cat([v, padding[name]]) for name, v in state.items()})
        with torch.no_grad():
            found = small.model(**inputs).last_hidden_state

    torch.testing.assert_close(found, narrow, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("site", ["attention.qkv", "attention.output", "ffn.output"])
def test_the_same_factors_give_the_same_output_as_in_peft_on_transposed_layers(site):
    from peft import LoraConfig

    def fill(layer, values):
        layer.lora_A["default"].weight.copy_(values["down"])
        layer.lora_B["default"].weight.copy_(values["up"].T)

    model = small("gpt2")
    config = LoraConfig(r=RANK, lora_alpha=SCALE * RANK, target_modules=last_names(model, (site,)))
    with inside(model, {f"lora@{site}": RANK}) as injection:
        state = shake(injection, 0.4)
        found = model.hidden()

    expected = output_of_peft(model, config, state, fill)

    assert (found - model.hidden()).abs().max() > 0.05, "the factors must matter"
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_one_lora_on_a_fused_matrix_is_three_on_its_slices_that_share_the_first_factor():
    model = small("gpt2")
    with inside(model, {"lora@attention.qkv": 3}) as injection:
        state = shake(injection)
        expected = model.hidden()

    parts = {
        f"{block}/lora@{place}/{name}": (
            value if name == "down" else value[:, number * WIDTH : (number + 1) * WIDTH]
        )
        for number, place in enumerate(FUSED)
        for block in (0, 1)
        for name in ("down", "up")
        for value in (state[f"{block}/lora@attention.qkv/{name}"],)
    }
    with inside(model, {f"lora@{place}": 3 for place in FUSED}) as injection:
        injection.load(parts)
        torch.testing.assert_close(model.hidden(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["lora", "moslora", "adalora", "loha", "lokr"])
@pytest.mark.parametrize(
    ("scaling", "divisor"), [("constant", 1), ("inverse_sqrt", 3**0.5), ("inverse", 3)]
)
def test_a_scale_may_be_divided_by_the_rank_or_its_root(method, scaling, divisor):
    """As alpha / r of the paper, and as alpha / sqrt(r) of rsLoRA."""
    model, sizes = small("bert"), {f"{method}@ffn.output": 3}
    with inside(model, sizes, scales={method: SCALE}, rank_scaling=scaling) as injection:
        shake(injection)
        found = model.hidden()

    with inside(model, sizes, scales={method: SCALE / divisor}) as injection:
        shake(injection)
        assert torch.equal(found, model.hidden())


def test_the_scaling_by_rank_is_that_of_peft():
    """With its alpha for a scale, and its ``use_rslora`` for the root."""
    from peft import LoraConfig

    def fill(layer, values):
        layer.lora_A["default"].weight.copy_(values["down"])
        layer.lora_B["default"].weight.copy_(values["up"].T)

    model = small("bert")
    for scaling, rooted in (("inverse", False), ("inverse_sqrt", True)):
        config = LoraConfig(r=9, lora_alpha=7, use_rslora=rooted, target_modules=["query"])
        sizes = {"lora@attention.query": 9}
        with inside(model, sizes, scales={"lora": 7.0}, rank_scaling=scaling) as injection:
            state = shake(injection)
            found = model.hidden()
        expected = output_of_peft(model, config, state, fill)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
