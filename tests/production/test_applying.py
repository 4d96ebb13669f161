"""A plan in somebody's model: what is trained, what is refused, and how it comes out again."""

import copy
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
)

import autopeft
from autopeft.errors import PlanError
from autopeft.files import write_json
from autopeft.production.applying import applied
from autopeft.search_spaces.catalog import slots_of
from autopeft.training.shape import architecture_for, shape_of
from tests.models import save_tiny, table
from tests.production.plans import LORA, batch_for, logits_of, plan_on, trained

MIXED = LORA | {"serial_adapter@ffn.norm": 2, "prefix@attention": 3, "bitfit@ffn.input": 1}


class Mean(nn.Module):
    """Somebody's own module around a backbone."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.out = nn.Linear(32, 2)

    def forward(self, **inputs):
        return self.out(self.encoder(**inputs).last_hidden_state.mean(1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("applying")


@pytest.fixture
def plan(folder):
    return plan_on(folder / "model", MIXED)


def classifier(plan):
    return AutoModelForSequenceClassification.from_pretrained(plan.where.model, num_labels=2)


def trained_names(model):
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_only_the_plans_parameters_and_the_head_are_trained(plan):
    model = classifier(plan)

    assert autopeft.apply(plan, model) is model

    counted = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert counted == plan.parameters + plan.head_parameters
    assert {n for n in trained_names(model) if not n.startswith("bert.")} == {
        "classifier.weight",
        "classifier.bias",
    }


def test_the_head_of_a_language_model_stays_frozen(tmp_path):
    plan = plan_on(tmp_path / "model", {"lora@attention.query": 2}, "llama")

    model = autopeft.apply(plan, autopeft.model_for(plan))

    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == plan.parameters


def test_a_module_of_ones_own_around_the_backbone_is_taken(plan):
    model = autopeft.apply(plan, Mean(AutoModel.from_pretrained(plan.where.model)))

    assert {n for n in trained_names(model) if n.startswith("out.")} == {"out.weight", "out.bias"}
    assert applied(model).base is model.encoder


def test_a_plan_is_found_inside_what_is_wrapped_around_the_model(plan):
    model = autopeft.apply(plan, classifier(plan))
    wrapped = nn.ModuleDict({"module": model})

    assert applied(wrapped) is applied(model)


def test_a_path_of_a_plan_does_as_well(plan, tmp_path):
    write_json(tmp_path / "plan.json", plan.to_json())

    assert applied(autopeft.apply(str(tmp_path / "plan.json"), classifier(plan))).plan == plan


def test_the_seed_of_the_plan_gives_the_same_start_again(plan):
    one, two = (autopeft.apply(plan, classifier(plan)) for _ in range(2))
    other = autopeft.apply(plan, classifier(plan), seed=99)
    states = [applied(model).injection.state() for model in (one, two, other)]

    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_what_is_removed_leaves_the_model_as_it_was(plan):
    model = autopeft.model_for(plan)
    before = logits_of(model, "bert")
    names = set(model.state_dict())

    autopeft.apply(plan, model)
    assert not torch.equal(logits_of(model, "bert"), before)
    autopeft.remove(model)

    assert torch.equal(logits_of(model, "bert"), before)
    assert set(model.state_dict()) == names


def test_what_could_be_trained_before_can_be_so_again(plan):
    model = classifier(plan)
    model.bert.embeddings.requires_grad_(requires_grad=False)
    before = trained_names(model)

    autopeft.remove(autopeft.apply(plan, model))

    assert trained_names(model) == before
    assert any(name.startswith("bert.encoder") for name in before)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile], ids=["parallel", "compiled"])
def test_a_plan_is_found_in_what_its_model_is_wrapped_in(plan, wrap):
    model = classifier(plan)
    before, names = logits_of(model, "bert"), set(model.state_dict())
    outer = wrap(autopeft.apply(plan, model))

    with pytest.raises(PlanError, match="has a plan in it already"):
        autopeft.apply(plan, outer)
    assert autopeft.remove(outer) is outer

    assert torch.equal(logits_of(model, "bert"), before)
    assert set(model.state_dict()) == names
    assert "autopeft" not in vars(model)


def test_a_plan_goes_into_what_a_wrapper_is_around(plan):
    outer = nn.DataParallel(classifier(plan))

    autopeft.apply(plan, outer)

    assert set(applied(outer).head) == {"classifier.weight", "classifier.bias"}
    assert "autopeft" in vars(outer.module)


def test_every_method_has_its_own_learning_rate(plan):
    rates = {"lora": 1e-3, "serial_adapter": 2e-3, "prefix": 3e-3, "bitfit": 4e-3}
    plan = replace(plan, recipe=replace(plan.recipe, learning_rates=rates, weight_decay=0.1))

    groups = autopeft.parameter_groups(autopeft.apply(plan, classifier(plan)))

    assert {g["name"]: g["lr"] for g in groups} == rates | {"head": plan.recipe.head_learning_rate}
    assert {g["weight_decay"] for g in groups} == {0.1}
    assert sum(p.numel() for g in groups for p in g["params"]) == plan.parameters + 66


def test_the_recipes_dropout_is_set_and_put_back(plan):
    model = classifier(plan)
    usual = model.bert.embeddings.dropout.p

    autopeft.apply(replace(plan, recipe=replace(plan.recipe, dropout=0.25)), model)
    assert model.bert.embeddings.dropout.p == model.dropout.p == 0.25
    autopeft.remove(model)

    assert model.bert.embeddings.dropout.p == usual


def test_the_trainer_of_transformers_trains_it(plan, tmp_path):
    """With the plan's rates, through a checkpoint, and with AdaLoRA's penalty."""
    plan = plan_on(tmp_path / "model", MIXED | {"adalora@attention.key": 2})
    model = autopeft.apply(plan, classifier(plan))
    batch = batch_for("bert")
    rows = [{name: value[row] for name, value in batch.items()} for row in range(3)] * 2
    optimizer = torch.optim.AdamW(autopeft.parameter_groups(model))
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=2, per_device_train_batch_size=3,
        report_to="none", save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    before = {name: value.clone() for name, value in model.state_dict().items()}

    Trainer(
        model=model, args=arguments, train_dataset=rows, optimizers=(optimizer, None),
        callbacks=[autopeft.FollowPlan(model)],
    ).train()  # fmt: skip

    after = model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert moved <= trained_names(model)


def test_a_second_plan_is_refused(plan):
    model = autopeft.apply(plan, classifier(plan))

    with pytest.raises(
        PlanError, match=r"has a plan in it already: call autopeft\.remove\(model\)"
    ):
        autopeft.apply(plan, model)


def test_a_model_without_a_plan_has_no_groups():
    with pytest.raises(PlanError, match=r"there is no plan in this Linear: call autopeft\.apply"):
        autopeft.parameter_groups(nn.Linear(2, 2))


def test_a_copy_would_share_its_methods_and_is_refused(plan):
    with pytest.raises(PlanError, match=r"cannot be copied: copy it before autopeft\.apply"):
        copy.deepcopy(autopeft.apply(plan, classifier(plan)))


def test_another_architecture_is_refused(plan, tmp_path):
    other = AutoModel.from_pretrained(save_tiny(tmp_path / "other", "gpt2"))

    with pytest.raises(
        PlanError, match=r"the plan is for a bert .*, and there is none in the GPT2"
    ):
        autopeft.apply(plan, other)


def test_another_size_of_the_same_architecture_is_refused(plan, tmp_path):
    deeper = save_tiny(tmp_path / "deeper", num_hidden_layers=3)
    wider = save_tiny(tmp_path / "wider", intermediate_size=64)

    with pytest.raises(PlanError, match="2 blocks of width 32, and this bert has 3 blocks of wid"):
        autopeft.apply(plan, AutoModel.from_pretrained(deeper))
    with pytest.raises(PlanError, match=r"model whose ffn\.\w+ is another than this one's \(it ho"):
        autopeft.apply(plan, AutoModel.from_pretrained(wider))


def test_batches_without_labels_choose_no_mask(tmp_path):
    plan = plan_on(tmp_path / "model", {"fish_mask@attention.query": 1})
    model = autopeft.apply(plan, autopeft.model_for(plan))
    batch = {name: value for name, value in batch_for("bert").items() if name != "labels"}

    with pytest.raises(PlanError, match="a batch gave no loss: give batches with their labels"):
        autopeft.choose_by(model, [batch])


def test_choosing_does_nothing_where_no_method_asks(plan):
    autopeft.choose_by(autopeft.apply(plan, classifier(plan)), [])


def test_a_model_of_seven_billion_parameters_takes_a_plan_within_two_seconds(tmp_path):
    """On the meta device, which has shapes and no memory."""
    config = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    base = model.base_model
    shape = shape_of(base, architecture_for(base, "llama"), name="llama", digest="0" * 64)
    slots = slots_of(shape)
    sizes = table(slots, 32, {"lora@attention.query": 8, "lora@attention.value": 8})
    tiny = plan_on(tmp_path / "model", {"lora@attention.query": 2}, "llama")
    plan = replace(
        tiny, backbone=shape, slots=slots, configuration=sizes, parameters=sizes.parameters(slots)
    )

    began = time.perf_counter()
    autopeft.apply(plan, model)

    assert time.perf_counter() - began < 2
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == plan.parameters


def test_importing_autopeft_loads_no_torch():
    code = "import sys, autopeft; assert 'torch' not in sys.modules"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_that_autopeft_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'autopeft' has no attribute 'appply'"):
        _ = autopeft.appply


def test_two_steps_change_nothing_but_the_plan(plan):
    model = trained(plan, "bert")
    fresh = autopeft.model_for(plan)

    autopeft.remove(model)

    for name, value in fresh.backbone.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[name], value)


def test_the_trainer_goes_on_from_its_own_checkpoint(plan, tmp_path):
    """Four steps in a row leave the weights that two and two leave."""
    rows = [{name: value[row] for name, value in batch_for("bert").items()} for row in range(3)] * 2

    def run(resume=None):
        torch.manual_seed(0)
        model = autopeft.apply(plan, classifier(plan))
        torch.nn.init.ones_(model.classifier.weight)
        optimizer = torch.optim.AdamW(autopeft.parameter_groups(model))
        arguments = TrainingArguments(
            output_dir=str(tmp_path / "out"), max_steps=4, per_device_train_batch_size=3, seed=1,
            report_to="none", save_strategy="steps", save_steps=2, disable_tqdm=True,
            lr_scheduler_type="constant",
        )  # fmt: skip
        trainer = Trainer(
            model=model, args=arguments, train_dataset=rows, optimizers=(optimizer, None)
        )
        trainer.train(resume_from_checkpoint=resume)
        return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}

    whole = run()
    again = run(str(tmp_path / "out" / "checkpoint-2"))

    for name, value in whole.items():
        assert torch.allclose(value, again[name], atol=1e-6), name
