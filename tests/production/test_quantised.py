"""Plans in models whose frozen matrices are held in 8 or 4 bits."""

import json

import pytest
import torch

import autopeft
from autopeft.errors import PlanError
from autopeft.methods.precision import is_quantised
from autopeft.production.applying import applied
from autopeft.production.exporting import export_merged
from autopeft.production.opening import open_trained
from autopeft.production.verifying import verify
from tests.kinds import save_model
from tests.production.plans import LORA, batch_for, kind_of, moved, plan_on
from tests.production.test_half import NATIVE, apart, learned, plan_with, scores

pytest.importorskip("bitsandbytes")
pytest.importorskip("accelerate")

WIDE = {
    "bert": {"hidden_size": 64, "intermediate_size": 128},
    "llama": {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16},
    "gpt2": {"n_embd": 64, "n_inner": 128},
}
"""In 4 bits 64 numbers share a scale."""
REFUSED = {"full", "magnitude_mask", "fish_mask"}


def config_of(bits, skipped):
    from transformers import BitsAndBytesConfig

    options = {"llm_int8_skip_modules": ["classifier", "lm_head", *skipped]}
    if bits == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, **options)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", **options)


def quantised(plan, bits="nf4", skipped=()):
    """Load a plan's model as users of transformers do, in fewer bits."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    causal = kind_of(plan.backbone.architecture) == "causal_lm"
    kind = AutoModelForCausalLM if causal else AutoModelForSequenceClassification
    return kind.from_pretrained(
        plan.where.model, quantization_config=config_of(bits, skipped), dtype=torch.float32
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantised")
    for family in ("bert", "llama", "gpt2"):
        save_model(folder / family, kind_of(family), family, **WIDE[family])
    return folder


@pytest.mark.parametrize("bits", ["int8", "nf4"])
@pytest.mark.parametrize("family", ["bert", "llama", "gpt2"])
@pytest.mark.parametrize("method", [m for m in NATIVE if m not in REFUSED])
def test_every_method_is_trained_beside_fewer_bits(method, family, bits, models, tmp_path):
    plan = plan_with(models / family, family, method)
    batch = batch_for(family)
    model = autopeft.apply(plan, quantised(plan, bits))
    packed = {n: v.clone() for n, v in model.state_dict().items() if not v.is_floating_point()}
    start = [p.detach().clone() for p in applied(model).injection.by_method()[method]]

    after = learned(model, batch)

    named = applied(model).injection.named()
    assert any(map(is_quantised, model.modules()))
    assert {p.dtype for p in named.values()} == {torch.float32}
    trained = applied(model).injection.by_method()[method]
    assert any(not torch.equal(one, two) for one, two in zip(start, trained, strict=True))
    assert all(torch.equal(model.state_dict()[n], value) for n, value in packed.items())
    autopeft.save(model, tmp_path)
    again = autopeft.load(quantised(plan, bits), tmp_path)
    assert apart(scores(again, batch), after) < 1e-5


@pytest.mark.parametrize("bits", ["int8", "nf4"])
def test_methods_at_one_matrix_are_trained_beside_fewer_bits(bits, models):
    sizes = LORA | {"bitfit@attention.query": 1, "dora@attention.key": 2, "ssf@ffn.input": 1}
    plan = plan_on(models / "bert", sizes)
    model = autopeft.apply(plan, quantised(plan, bits))

    learned(model, batch_for("bert"))

    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("method", ["full", "fish_mask", "magnitude_mask", "oft", "xlora"])
def test_what_needs_the_matrix_itself_is_refused_or_leaves_it_as_it_is(method, models):
    plan = plan_with(models / "bert", "bert", method)
    with pytest.raises(
        PlanError, match=rf"{method}@\S+ in block 0 \w+ .* bitsandbytes: .*"
    ) as told:
        autopeft.apply(plan, quantised(plan))

    listed = str(told.value).partition("llm_int8_skip_modules=")[2].partition("]")[0] + "]"
    skipped = [path.replace(".0.", ".*.") for path in json.loads(listed.replace("'", '"'))]
    model = quantised(plan, skipped=_every(skipped))

    learned(autopeft.apply(plan, model), batch_for("bert"))


def _every(patterns):
    return [p.replace("*", str(number)) for p in patterns for number in range(2)]


def test_merging_is_refused_there_and_done_on_the_models_own_weights(models, tmp_path):
    plan = plan_on(models / "llama", LORA, "llama")
    model = moved(autopeft.apply(plan, quantised(plan)))
    with pytest.raises(
        PlanError, match="nothing can be merged into quantised weights: autopeft ex"
    ):
        applied(model).injection.merge()
    autopeft.save(model, tmp_path / "trained")

    written = export_merged(open_trained(plan, tmp_path / "trained"), tmp_path / "merged")

    assert written.drift.largest < 1e-3
    assert all(finding.right for finding in verify(plan, tmp_path / "trained"))


def test_a_plan_taken_out_leaves_the_quantised_model_as_it_was(models):
    plan = plan_on(models / "bert", LORA | {"bitfit@block": 1})
    model = quantised(plan)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    moved(autopeft.apply(plan, model).bert)
    scores(model, batch_for("bert"))
    autopeft.remove(model)

    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_quantised_head_cannot_be_trained(models, tmp_path):
    from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig

    plan = plan_on(models / "bert", LORA)
    AutoModelForSequenceClassification.from_pretrained(models / "bert").save_pretrained(tmp_path)
    both = BitsAndBytesConfig(load_in_4bit=True)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path, quantization_config=both)

    with pytest.raises(PlanError, match=r"the head classifier is quantised, .*_modules=\['class"):
        autopeft.apply(plan, model)


def test_a_model_whose_weights_were_repacked_is_refused(models):
    plan = plan_on(models / "bert", LORA)
    model = quantised(plan)
    layer = model.bert.encoder.layer[0].attention.self.query
    if not layer.support_avx512bf16_for_cpu:
        pytest.skip("this processor repacks nothing")
    scores(model, batch_for("bert"))

    with pytest.raises(PlanError, match=r"were repacked when it was evaluated, .* load it again"):
        autopeft.apply(plan, model)


def test_what_torchao_has_quantised_is_taken_as_well(models, tmp_path):
    quantization = pytest.importorskip("torchao.quantization")
    sizes = LORA | {"dora@attention.key": 2, "bitfit@attention.query": 1, "ia3@ffn.output": 1}
    plan = plan_on(models / "bert", sizes)
    model = autopeft.model_for(plan)
    quantization.quantize_(model.backbone.encoder, quantization.Int8WeightOnlyConfig())
    single = learned(autopeft.apply(plan, autopeft.model_for(plan)), batch_for("bert"))

    found = learned(autopeft.apply(plan, model), batch_for("bert"))

    assert apart(found, single) < 0.05
    with pytest.raises(PlanError, match="nothing can be merged into quantised weights"):
        applied(model).injection.merge()
    assert autopeft.save(model, tmp_path) == tmp_path
