"""Results of peft's method comparison in autopeft's terms."""

import json

import pytest

from autopeft.errors import DataError
from autopeft.search_spaces.catalog import slots_of
from autopeft.training.shape import read_shape
from autopeft.wiring.comparison import InexpressibleError, expressed, read_result
from tests.wiring.published import BACKBONE, LLAMA, PUBLISHED, REAL, a_document, write


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    config = tmp_path_factory.mktemp("llama") / "config.json"
    config.write_text(json.dumps(LLAMA), "utf-8")
    return read_shape(str(config))


def express(llama, folder, document):
    return expressed(read_result(write(folder, document)), llama, slots_of(llama))


def test_a_published_file_is_read_as_it_is():
    result = read_result(REAL)

    assert result.name == "lora/llama-3.2-3B-rank64-steps1000"
    assert result.model == "meta-llama/Llama-3.2-3B"
    assert (result.parameters, result.backbone_parameters) == (18_350_080, BACKBONE)
    assert (result.score, result.learning_rate) == (0.4139499620924943, 1e-4)
    assert (result.steps, result.batch_size, result.examples) == (1_000, 4, 4_000)


def test_a_published_file_is_expressed_exactly(llama):
    """LoRA of rank 64 on query and value: 28 · 64 · (3072 + 3072 + 3072 + 1024) parameters."""
    found = expressed(read_result(REAL), llama, slots_of(llama))

    assert (found.method, found.size, found.scale) == ("lora", 64, 2.0)
    assert [slot.site for slot in found.slots] == ["attention.query", "attention.value"]
    assert found.rows == tuple(range(28))


@pytest.mark.parametrize(
    ("name", "method", "size", "sites"),
    [
        ("lora/llama-3.2-3B-rank32", "lora", 32, {"attention.query", "attention.value"}),
        ("ia3/llama-3.2-3B-default", "ia3", 1,
         {"attention.key", "attention.value", "ffn.output"}),
        ("prefixtuning/llama-3.2-3B-lr_0.001", "prefix", 200, {"attention"}),
        ("ln_tuning/llama-3.2-3B-default", "layer_norm", 1,
         {"attention.norm", "ffn.norm", "final.norm"}),
    ],
)  # fmt: skip
def test_what_other_methods_train_is_counted_as_published(
    llama, tmp_path, name, method, size, sites
):
    found = express(llama, tmp_path, a_document(name))

    assert (found.method, found.size) == (method, size)
    assert {slot.site for slot in found.slots} == sites
    trained = sum(slot.parameters(size) * (slot.blocks[1] - slot.blocks[0]) for slot in found.slots)
    assert trained == PUBLISHED[name][1]


def test_rank_stabilised_lora_keeps_its_scale(llama, tmp_path):
    found = express(llama, tmp_path, a_document(r=32, lora_alpha=64, use_rslora=True))

    assert found.scale == pytest.approx(64 / 32**0.5)


def test_weight_decomposed_lora_is_dora(llama, tmp_path):
    document = a_document(use_dora=True)
    document["train_info"]["num_trainable_params"] = 9_175_040 + 28 * (3072 + 1024)

    found = express(llama, tmp_path, document)

    assert (found.method, found.size) == ("dora", 32)


def test_some_layers_alone_are_some_rows(llama, tmp_path):
    document = a_document(layers_to_transform=[0, 27])
    document["train_info"]["num_trainable_params"] = 9_175_040 // 14

    assert express(llama, tmp_path, document).rows == (0, 27)


def test_adaption_prompts_are_in_the_last_layers(llama, tmp_path):
    document = a_document()
    document["run_info"]["peft_config"] = {
        "peft_type": "ADAPTION_PROMPT", "target_modules": "self_attn", "adapter_len": 100,
        "adapter_layers": 20,
    }  # fmt: skip
    document["train_info"]["num_trainable_params"] = 20 * (100 * 3072 + 1)

    found = express(llama, tmp_path, document)

    assert (found.method, found.size, found.rows[0]) == ("llama_adapter", 100, 8)


def test_modules_may_be_a_pattern_or_all_linear_layers(llama, tmp_path):
    document = a_document(target_modules=r".*\.mlp\.\w+_proj")
    document["train_info"]["num_trainable_params"] = 28 * 10 * 3 * (3072 + 8192)

    found = express(llama, tmp_path, document)

    assert {slot.site for slot in found.slots} == {"ffn.gate", "ffn.input", "ffn.output"}
    assert found.size == 10

    document = a_document(target_modules="all-linear")
    document["train_info"]["num_trainable_params"] = 28 * (
        3 * (3072 + 8192) + 2 * (3072 + 3072) + 2 * (3072 + 1024)
    )
    assert len(express(llama, tmp_path, document).slots) == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_lora_weights": "pissa"}, "it is a variant of LoRA: init_lora_weights is 'pissa'"),
        ({"bias": "all"}, "it is a variant of LoRA: bias is 'all'"),
        ({"rank_pattern": {"q_proj": 8}}, "it is a variant of LoRA: rank_pattern is set"),
        ({"kasa_config": {"beta": 1}}, "it is a variant of LoRA: kasa_config is set"),
        ({"target_modules": None}, "it does not say which modules it changes"),
        ({"target_modules": ["query_proj"]}, "no site at the modules 'query_proj'"),
        ({"target_modules": "nothing.*"}, "no site at the modules 'nothing"),
        ({"target_modules": ["q_proj"]}, "it trains 9,175,040 parameters, and 'lora' at its mod"),
        ({"peft_type": "IA3", "target_modules": ["q_proj"]}, "no 'ia3' at attention.query"),
        ({"peft_type": "LILY"}, "Lily routes by the mean over the whole batch"),
        ({"peft_type": "NEWEST"}, "autopeft has no method of the type 'newest'"),
        ({"peft_type": "PREFIX_TUNING", "prefix_projection": True}, "come out of a network"),
        ({"peft_type": "P_TUNING", "encoder_reparameterization_type": "LSTM"}, "of an LSTM"),
        ({"layers_to_transform": [40]}, "the model has none of its layers"),
    ],
)
def test_what_is_not_the_same_is_said(llama, tmp_path, settings, message):
    with pytest.raises(InexpressibleError, match=message):
        express(llama, tmp_path, a_document(**settings))


def test_other_ways_of_training_are_not_the_same(llama, tmp_path):
    document = a_document()
    document["run_info"]["train_config"]["optimizer_type"] = "lora-fa"
    with pytest.raises(InexpressibleError, match="trained by 'lora-fa', and autopeft by AdamW"):
        express(llama, tmp_path, document)

    with pytest.raises(InexpressibleError, match="it trains all weights of the model"):
        express(llama, tmp_path, a_document("full-finetuning/llama-3.2-3B-lr_0.00001"))

    document = a_document()
    document["train_info"]["metrics"][-1]["test accuracy"] = float("nan")
    with pytest.raises(InexpressibleError, match="its score is no number"):
        express(llama, tmp_path, document)


def test_prompts_need_words(llama, tmp_path):
    document = a_document()
    document["run_info"]["peft_config"] = {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 5}
    result = read_result(write(tmp_path, document))

    with pytest.raises(InexpressibleError, match="the model has no place for 'prompt_tuning'"):
        expressed(result, llama, ())


def test_a_training_that_failed_is_no_result(tmp_path):
    document = a_document()
    document["train_info"]["status"] = "failed"

    with pytest.raises(InexpressibleError, match="its training ended as 'failed'"):
        read_result(write(tmp_path, document))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "is no result of peft's method comparison: Expecting value"),
        ("[]", "is no result of peft's method comparison"),
        ("{}", "it has no 'run_info'"),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, text, message):
    file = tmp_path / "other.json"
    file.write_text(text, "utf-8")

    with pytest.raises(DataError, match=message):
        read_result(file)


def test_a_result_without_a_test_is_refused(tmp_path):
    document = a_document()
    del document["train_info"]["metrics"][-1]

    with pytest.raises(DataError, match="it has no 'test accuracy'; give files of its folder"):
        read_result(write(tmp_path, document))
