"""What was trained is saved and loaded, for every method, and refused where it does not fit."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForSequenceClassification

import autopeft
from autopeft.errors import PlanError
from autopeft.files import write_json
from autopeft.production.applying import applied
from autopeft.search_spaces.catalog import METHODS, slots_of
from tests.models import save_tiny
from tests.production.plans import LORA, batch_for, logits_of, moved, plan_for, plan_on, trained

# all methods go the whole way in test_round_trips
OFTEN = {"lora", "bitfit", "prefix_mlp", "serial_adapter", "fish_mask", "vera", "gate", "oft"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("models") / "bert"))


@pytest.fixture(scope="module")
def plan(model):
    return plan_for(model, LORA, "classification")


@pytest.fixture(scope="module")
def saved(plan, tmp_path_factory):
    """A directory with weights, and the scores that they gave."""
    one = moved(trained(plan, "bert"))
    return autopeft.save(one, tmp_path_factory.mktemp("saved")), logits_of(one, "bert")


def sizes_of(method, model):
    """One slot of a method, with what it needs beside it."""
    slots = slots_of(plan_for(model, LORA, "classification").backbone)
    for slot in slots:
        partners = [n for n in METHODS[method].needs if n.endswith(f"@{slot.place}")]
        if slot.method == method and (partners or not METHODS[method].needs):
            size = min(2, slot.most or 2)
            return {slot.name: size} | dict.fromkeys(sorted(partners)[:1], 2)
    raise AssertionError(f"no slot of {method}")


@pytest.mark.parametrize("method", sorted(OFTEN))
def test_a_method_comes_back_with_equal_scores(method, model, tmp_path):
    """Applied, trained two steps, saved, and loaded into a fresh model."""
    plan = plan_for(model, sizes_of(method, model), "classification")
    one = trained(plan, "bert")

    autopeft.save(one, tmp_path)
    other = autopeft.load(autopeft.model_for(plan), tmp_path)

    before = logits_of(autopeft.model_for(plan), "bert")
    assert torch.equal(logits_of(other, "bert"), logits_of(one, "bert"))
    assert not torch.allclose(logits_of(one, "bert"), before, atol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "vit"])
def test_every_architecture_comes_back_with_equal_scores(family, tmp_path):
    sizes = {"lora@attention.query": 2, "parallel_adapter@ffn": 2, "prefix@attention": 2}
    plan = plan_on(tmp_path / "model", sizes, family)
    one = trained(plan, family)

    autopeft.save(one, tmp_path / "saved")
    other = autopeft.load(autopeft.model_for(plan), tmp_path / "saved")

    assert torch.equal(logits_of(other, family), logits_of(one, family))


def test_the_directory_holds_what_was_trained_and_nothing_of_the_backbone(saved, plan):
    folder, _ = saved

    tensors = load_file(folder / "adapter.safetensors")

    assert {file.name for file in folder.iterdir()} == {"adapter.safetensors", "plan.json"}
    assert sum(t.numel() for t in tensors.values()) == plan.parameters + plan.head_parameters
    assert autopeft.read_plan(folder) == plan
    with safe_open(folder / "adapter.safetensors", "pt") as file:
        assert file.metadata()["plan"] == plan.digest


def test_a_head_of_transformers_comes_back_with_a_pooler_that_no_file_has(plan, tmp_path):
    def fresh():
        found = AutoModelForSequenceClassification.from_pretrained(plan.where.model, num_labels=2)
        torch.nn.init.normal_(found.bert.pooler.dense.weight)
        return found

    one = moved(autopeft.apply(plan, fresh())).eval()
    autopeft.save(one, tmp_path)

    other = autopeft.load(fresh(), tmp_path).eval()

    assert torch.equal(logits_of(other, "bert"), logits_of(one, "bert"))


def test_weights_are_loaded_into_a_model_that_has_the_plan_already(saved, plan):
    folder, scores = saved
    model = autopeft.apply(plan, autopeft.model_for(plan), seed=8)

    assert torch.equal(logits_of(autopeft.load(model, folder), "bert"), scores)


def trainable_in(model):
    return {name: parameter.requires_grad for name, parameter in model.named_parameters()}


class Wrapped(nn.Module):
    """What hands on to the model inside, as DDP does."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def edited(saved, tmp_path, change, **says):
    """Write the weights again with something changed."""
    folder, _ = saved
    with safe_open(folder / "adapter.safetensors", "pt") as file:
        known = file.metadata()
    tensors = load_file(folder / "adapter.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / "adapter.safetensors", known | says)
    (tmp_path / "plan.json").write_bytes((folder / "plan.json").read_bytes())
    return tmp_path


DOWN = "1/lora@attention.query/down"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.update({DOWN: t[DOWN] * float("nan")}),
            r"is spoiled: down of lora@attention\.query in block 1 holds .* train again",
        ),
        (
            lambda t: t.update({"head/weight": t["head/weight"] / 0}),
            "weight of the head holds values that are no finite numbers",
        ),
        (
            lambda t: t.pop(DOWN),
            r"lacks down of lora@attention\.query in block 1 \(1 missing\): .* train this one",
        ),
        (
            lambda t: t.update({"1/dora@ffn.input/down": t[DOWN].clone()}),
            r"has down of dora@ffn\.input in block 1, which the plan does not have \(1 too many\)",
        ),
        (
            lambda t: t.update({DOWN: t[DOWN][:1].clone()}),
            r"block 1 in the shape \(1, 32\) instead of \(2, 32\): it was trained at another size",
        ),
        (
            lambda t: t.update({"head/weight": t["head/weight"][:1].clone()}),
            r"weight of the head in the shape \(1, 32\) instead of \(2, 32\)",
        ),
        (
            lambda t: t.pop("head/bias"),
            r"brings another head \(weight\) than the model has \(weight, bias\): give the model",
        ),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_with_the_cell(change, message, saved, plan, tmp_path):
    folder = edited(saved, tmp_path, change)
    model = autopeft.model_for(plan)
    before, trainable = logits_of(model, "bert"), trainable_in(model)

    with pytest.raises(PlanError, match=message):
        autopeft.load(model, folder)
    assert "autopeft" not in vars(model)
    assert torch.equal(logits_of(model, "bert"), before)
    assert trainable_in(model) == trainable
    assert any(trainable.values())


@pytest.mark.parametrize(
    "says",
    [
        {"backbone": "nojson"},
        {"backbone": "[1]"},
        {"backbone": '{"name": ["a"]}'},
        {"backbone": '{"name": [NaN]}'},
        {"labels": "nojson"},
        {"labels": "3"},
        {"labels": "[1.0]"},
    ],
    ids=str,
)
def test_weights_that_say_what_cannot_be_read_leave_the_model_alone(says, saved, plan, tmp_path):
    folder = edited(saved, tmp_path, lambda _: None, **says)
    model = autopeft.model_for(plan)
    names, trainable = set(model.state_dict()), trainable_in(model)

    with pytest.raises(PlanError, match=r"says of itself what cannot be read .*: it was changed"):
        autopeft.load(model, folder)
    assert "autopeft" not in vars(model)
    assert (set(model.state_dict()), trainable_in(model)) == (names, trainable)


def test_an_interruption_takes_the_plan_out_again(saved, plan, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("autopeft.production.keeping.check_fit", interrupted)
    model = autopeft.model_for(plan)

    with pytest.raises(KeyboardInterrupt):
        autopeft.load(model, saved[0])
    assert "autopeft" not in vars(model)


@pytest.mark.parametrize("wrap", [Wrapped, torch.compile], ids=["module", "compiled"])
@pytest.mark.parametrize("inside", [True, False], ids=["applied", "fresh"])
def test_weights_go_into_what_a_model_is_wrapped_in(wrap, inside, saved, plan):
    folder, scores = saved
    model = autopeft.model_for(plan)
    if inside:
        autopeft.apply(plan, model, seed=8)

    outer = wrap(model)

    assert autopeft.load(outer, folder) is outer
    assert torch.equal(logits_of(model, "bert"), scores)


def test_weights_of_another_plan_are_refused(saved, plan, tmp_path):
    folder = edited(saved, tmp_path, lambda _: None, plan="f" * 64)

    with pytest.raises(PlanError, match=r"trained from another plan \(ffffffffffff\) than the one"):
        autopeft.load(autopeft.model_for(plan), folder)


def test_a_model_with_another_plan_in_it_takes_no_weights(saved, plan):
    model = autopeft.apply(replace(plan, seed=77), autopeft.model_for(plan))

    with pytest.raises(PlanError, match=r"another plan in it than the weights: call autopeft\.rem"):
        autopeft.load(model, saved[0])


def test_another_backbone_of_the_same_shape_is_refused(saved, tmp_path):
    other = plan_for(str(save_tiny(tmp_path / "other", seed=9)), LORA, "classification")

    with pytest.raises(PlanError, match=r"trained on another backbone: its \S+ differs; give"):
        autopeft.load(autopeft.model_for(other), saved[0])


def test_a_model_with_other_weights_than_the_plans_is_not_opened(plan, tmp_path):
    other = save_tiny(tmp_path / "other", seed=9)

    with pytest.raises(PlanError, match="does not have the weights that the plan was made for"):
        autopeft.model_for(plan, str(other))


def test_the_head_may_be_left_as_it_is(saved, plan):
    model = AutoModelForSequenceClassification.from_pretrained(plan.where.model, num_labels=5)

    autopeft.load(model, saved[0], head=False)

    state = applied(model).injection.state()
    assert torch.equal(state[DOWN], load_file(saved[0] / "adapter.safetensors")[DOWN])


def test_what_diverged_is_not_saved(plan, tmp_path):
    model = autopeft.apply(plan, autopeft.model_for(plan))
    with torch.no_grad():
        applied(model).injection.named()[DOWN].fill_(float("inf"))

    with pytest.raises(PlanError, match=r"what was trained is spoiled: down of lora@attention\.qu"):
        autopeft.save(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_without_weights_is_named(plan, tmp_path):
    write_json(tmp_path / "plan.json", plan.to_json())

    with pytest.raises(PlanError, match=r"cannot read the weights in .*adapter\.safetensors"):
        autopeft.load(autopeft.model_for(plan), tmp_path)


def test_weights_of_autopeft_train_are_taken_too(saved, plan, tmp_path):
    """They know neither class nor fingerprint."""
    folder = saved[0]
    tensors = load_file(folder / "adapter.safetensors")
    says = {"plan": plan.digest, "format": "autopeft/1"}
    save_file(tensors, tmp_path / "adapter.safetensors", says)
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()), encoding="utf-8")

    model = autopeft.load(autopeft.model_for(plan), tmp_path)

    assert torch.equal(logits_of(model, "bert"), saved[1])


def test_a_regression_comes_back_in_the_scale_of_its_labels(tmp_path):
    plan = plan_on(tmp_path / "model", LORA, kind="regression")
    one = autopeft.apply(plan, autopeft.model_for(plan))
    one.mean.fill_(100.0)
    one.spread.fill_(2.5)
    autopeft.save(one, tmp_path / "saved")

    other = autopeft.load(autopeft.model_for(plan), tmp_path / "saved")

    assert torch.equal(logits_of(other, "bert"), logits_of(one, "bert"))
    assert logits_of(other, "bert").mean() > 90


@pytest.fixture
def mesh(tmp_path):
    """One process that shards as several do."""
    store = f"file://{tmp_path / 'store'}"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_a_loop_that_divides_the_frozen_weights_is_saved_as_ever(tmp_path, mesh):
    plan = plan_on(tmp_path / "model", LORA)
    model = autopeft.apply(plan, autopeft.model_for(plan))
    whole = {parameter for parameter in model.parameters() if parameter.requires_grad}
    for block in model.backbone.encoder.layer:
        fully_shard(block, mesh=mesh, ignored_params=whole)
    optimizer = torch.optim.SGD(whole, lr=1e-2)

    model.train()(**batch_for("bert")).loss.backward()
    optimizer.step()
    autopeft.save(model, tmp_path / "saved")

    fresh = autopeft.load(autopeft.model_for(plan), tmp_path / "saved")
    assert torch.allclose(logits_of(fresh, "bert"), logits_of(model, "bert"), atol=1e-6)


def test_trained_weights_that_were_divided_are_not_saved_as_they_were(tmp_path, mesh):
    plan = plan_on(tmp_path / "model", LORA)
    model = autopeft.apply(plan, autopeft.model_for(plan))
    fully_shard(model.backbone.encoder.layer[0], mesh=mesh)

    with pytest.raises(
        PlanError, match=r"0/lora@attention\.query/down is no longer in the model: "
    ):
        autopeft.save(model, tmp_path / "saved")
