"""Plans in models whose frozen weights are in half precision."""

from functools import cache

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

import autopeft
from autopeft.errors import PlanError
from autopeft.production.applying import applied
from autopeft.production.exporting import export_merged
from autopeft.production.opening import open_trained
from autopeft.production.verifying import verify
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.training.model_files import find_model
from autopeft.training.shape import read_backbone
from tests.kinds import save_model
from tests.production.plans import LORA, batch_for, kind_of, moved, plan_on

OPAQUE = ("autopeft.methods.opaque", "autopeft.methods.xlora")
NATIVE = [name for name, method in METHODS.items() if not method.attach.startswith(OPAQUE)]
REFUSED = {"magnitude_mask"}
BESIDE = {"gate": {"lora": 2}}
SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """The directory of a tiny model of a family, made once."""

    @cache
    def made(family):
        folder = tmp_path_factory.mktemp(family) / "model"
        save_model(folder, kind_of(family), family)
        return folder

    return made


def plan_with(folder, family, method):
    """Put a method at the first of its sites, everywhere it goes."""
    slots = [s for s in slots_of(read_backbone(find_model(str(folder)))) if s.method == method]
    if not slots:
        pytest.skip(f"{family} has no place for {method}")
    size = 1 if METHODS[method].size == "switch" or method == "low_rank_adapter" else 2
    beside = {f"{other}@{slots[0].site}": size for other, size in BESIDE.get(method, {}).items()}
    return plan_on(folder, {slots[0].name: size} | beside, family)


def given(family, dtype=torch.bfloat16):
    batch = batch_for(family)
    return {n: v.to(dtype) if v.is_floating_point() else v for n, v in batch.items()}


def scores(model, batch):
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        return model.eval()(**inputs).logits.float()


def learned(model, batch, *, autocast=False):
    """Train two steps, as anyone's loop would, and score."""
    autopeft.choose_by(model, [batch])
    groups = autopeft.parameter_groups(model)
    optimizer = torch.optim.SGD([p for g in groups for p in g["params"]], lr=1e-2)
    model.train()
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        return scores(model, batch)


def apart(one, two):
    return float((one - two).abs().mean() / two.abs().mean())


@pytest.mark.parametrize("family", ["bert", "llama", pytest.param("gpt2", marks=SLOW)])
@pytest.mark.parametrize("method", [m for m in NATIVE if m not in REFUSED])
def test_every_method_is_trained_in_single_beside_half(method, family, models):
    """With and without autocast the scores are those of a model in single, to half's rounding."""
    plan = plan_with(models(family), family, method)
    single = learned(autopeft.apply(plan, autopeft.model_for(plan)), batch_for(family))

    for autocast in (False, True):
        model = autopeft.apply(plan, autopeft.model_for(plan).to(torch.bfloat16))
        found = learned(model, given(family), autocast=autocast)

        trained = [p for p in model.parameters() if p.requires_grad]
        assert {p.dtype for p in trained} == {torch.float32}
        assert apart(found, single) < 0.05  # bf16 has 8 bits: 0.4% a rounding, and some of them


@pytest.mark.parametrize(
    "family", ["llama", *(pytest.param(f, marks=SLOW) for f in ("bert", "gpt2"))]
)
@pytest.mark.parametrize("method", [m for m in NATIVE if m not in REFUSED])
def test_every_method_is_kept_and_merged_beside_half(method, family, models, tmp_path):
    plan = plan_with(models(family), family, method)
    batch = given(family)
    model = moved(autopeft.apply(plan, autopeft.model_for(plan).to(torch.bfloat16)))
    before = scores(model, batch)

    autopeft.save(model, tmp_path)
    again = autopeft.load(autopeft.model_for(plan).to(torch.bfloat16), tmp_path)

    assert torch.equal(scores(again, batch), before)
    held = applied(again)
    if all(attached.merge for attached in held.injection.cells().values()):
        held.injection.merge()
        head = {name: p.detach().clone() for name, p in held.head.items()}
        autopeft.remove(again)
        assert {p.dtype for p in again.parameters()} == {torch.bfloat16}
        for name, value in head.items():
            again.get_parameter(name).data = value  # so that only the merge is measured
        assert apart(scores(again, batch), before) < 0.05


def test_what_is_merged_is_rounded_once(models):
    """Two products in one matrix: their sum in single, then the nearest number in half."""
    folder = models("bert")
    plan = plan_on(folder, {"lora@attention.query": 2, "loha@attention.query": 2})
    single = moved(autopeft.apply(plan, autopeft.model_for(plan).bfloat16().float()))
    half = moved(autopeft.apply(plan, autopeft.model_for(plan).to(torch.bfloat16)))

    merged = []
    for model in (single, half):
        applied(model).injection.merge()
        autopeft.remove(model)
        merged.append(model.backbone.get_parameter("encoder.layer.0.attention.self.query.weight"))

    assert torch.equal(merged[0].to(torch.bfloat16), merged[1])


def test_float16_is_taken_as_well(models):
    plan = plan_on(models("bert"), LORA | {"layer_norm@ffn.norm": 1, "full@ffn": 1})
    single = learned(autopeft.apply(plan, autopeft.model_for(plan)), batch_for("bert"))

    model = autopeft.apply(plan, autopeft.model_for(plan).to(torch.float16))

    assert apart(learned(model, batch_for("bert")), single) < 0.01


def test_a_classifier_of_half_precision_is_trained_in_single_and_given_back(models):
    plan = plan_on(models("bert"), LORA)
    model = AutoModelForSequenceClassification.from_pretrained(
        models("bert"), num_labels=2, dtype=torch.bfloat16
    )
    own = model.classifier.weight
    before = own.detach().clone()

    autopeft.apply(plan, model)
    learned(model, given("bert"))
    trained = model.classifier.weight

    assert trained.dtype == torch.float32
    autopeft.remove(model)
    assert model.classifier.weight is own
    assert torch.equal(own, trained.to(torch.bfloat16))
    assert not torch.equal(own, before)


def test_steps_too_small_for_half_precision_add_up(models):
    plan = plan_on(models("bert"), {"full@attention": 1})
    model = autopeft.apply(plan, autopeft.model_for(plan).to(torch.bfloat16))
    weight = model.backbone.encoder.layer[0].attention.self.query.weight
    before = weight.detach().bfloat16()

    with torch.no_grad():
        for _ in range(64):
            weight += 1e-4 * before.abs()

    assert torch.equal(before + 1e-4 * before.abs(), before)  # which a step alone would leave
    assert torch.all(weight >= before)
    assert not torch.equal(weight.bfloat16(), before)


def test_weights_trained_beside_half_are_verified_and_exported(models, tmp_path):
    plan = plan_on(models("llama"), LORA, "llama")
    model = autopeft.apply(plan, autopeft.model_for(plan).to(torch.bfloat16))
    autopeft.save(moved(model), tmp_path / "trained")

    written = export_merged(open_trained(plan, tmp_path / "trained"), tmp_path / "merged")

    assert all(finding.right for finding in verify(plan, tmp_path / "trained"))
    assert written.drift.largest < 1e-3


@pytest.mark.parametrize("method", sorted(REFUSED))
def test_what_is_worked_out_of_exact_weights_is_refused(method, models):
    plan = plan_with(models("bert"), "bert", method)

    with pytest.raises(
        PlanError, match=rf"{method}@\S+ in block 0 works out of exact weights .* bfloat16 rounds"
    ):
        autopeft.apply(plan, autopeft.model_for(plan).to(torch.bfloat16))


def test_double_precision_is_refused_with_what_to_do(models):
    plan = plan_on(models("bert"), LORA)

    with pytest.raises(PlanError, match=r"weights are float64, .* load it with one of these"):
        autopeft.apply(plan, nn.ModuleDict({"inner": autopeft.model_for(plan).double()}))
