"""Every method goes the whole way: applied, trained, saved, loaded, exported, verified."""

from functools import cache

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

import autopeft
from autopeft.errors import PlanError
from autopeft.production.adapters import in_the_way, kind_of
from autopeft.production.exporting import export_merged, export_peft
from autopeft.production.opening import open_trained, transformer_in
from autopeft.production.terms import cells_of
from autopeft.production.verifying import verify
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.training.model_files import find_model
from autopeft.training.pretrained import load_backbone
from autopeft.training.shape import read_backbone
from tests.kinds import save_model
from tests.production import plans
from tests.production.plans import batch_for, logits_of, moved, plan_for, trained

SHAPES = ("bert", "gpt2", "llama", "t5", "vit")
OFTEN = {"lora-bert", "lora-gpt2", "lora-t5", "full-bert", "vera-bert", "serial_adapter-bert"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A tiny model of each shape, saved when it is first asked for."""
    folder = tmp_path_factory.mktemp("models")
    return cache(lambda family: str(save_model(folder / family, plans.kind_of(family), family)))


def sizes_of(method, model):
    """One slot of a method, with what it needs beside it; None where the model has no place."""
    slots = {slot.name: slot for slot in slots_of(read_backbone(find_model(model)))}
    for slot in slots.values():
        needs = [name.split("@")[0] for name in METHODS[method].needs]
        beside = sorted({f"{name}@{slot.site}" for name in needs} & set(slots))
        if slot.method == method and (beside or not needs):
            return {slot.name: min(2, slot.most or 2)} | dict.fromkeys(beside[:1], 2)
    return None


def every_method_and_shape():
    """Some go in every run; the others are marked slow."""
    names = [f"{method}-{family}" for family in SHAPES for method in METHODS]
    marks = {name: () if name in OFTEN else pytest.mark.slow for name in names}
    return [pytest.param(*name.split("-"), id=name, marks=marks[name]) for name in names]


@pytest.mark.parametrize(("method", "family"), every_method_and_shape())
def test_a_method_goes_the_whole_way(method, family, models, tmp_path):
    """What is loaded and what is exported gives equal scores; what no form can hold is refused."""
    model = models(family)
    if (sizes := sizes_of(method, model)) is None:
        pytest.skip(f"{family} has no place for {method}")
    plan = plan_for(model, sizes, plans.kind_of(family))
    one = moved(trained(plan, family))
    scores = logits_of(one, family)

    autopeft.save(one, tmp_path / "saved")

    other = autopeft.load(autopeft.model_for(plan), tmp_path / "saved")
    torch.testing.assert_close(logits_of(other, family), scores, rtol=1e-6, atol=1e-5)
    assert not torch.allclose(logits_of(autopeft.model_for(plan), family), scores, atol=1e-4)
    verified(plan, tmp_path / "saved")
    merged(plan, family, scores, tmp_path)
    in_peft(plan, family, scores, tmp_path)


def verified(plan, folder):
    assert [finding for finding in verify(plan, folder) if not finding.right] == []


def merged(plan, family, scores, folder):
    """Merge where the methods do, and hear of it where they do not."""
    opened = open_trained(plan, folder / "saved")
    if not all(merges(cell) for cell in cells_of(plan)):
        with pytest.raises(PlanError, match="cannot be merged: "):
            export_merged(opened, folder / "merged")
        return
    written = export_merged(opened, folder / "merged")
    files = find_model(str(folder / "merged"))
    other = headed(plan, load_backbone(files, plan.task.kind), written.head)
    assert_close(logits_of(other, family), scores)
    verified(plan, folder / "merged")


def merges(cell):
    """A layer without a bias has no place for one."""
    placed = cell.slot.method != "bitfit" or cell.site.bias
    return placed and METHODS[cell.slot.method].merges


def in_peft(plan, family, scores, folder):
    """Write an adapter of peft where it has one, and hear of the cells where it has none."""
    opened = open_trained(plan, folder / "saved")
    if cells := list(in_the_way(plan, kind_of(plan))):
        with pytest.raises(PlanError) as refused:
            export_peft(opened, folder / "peft")
        assert all(cell in str(refused.value) for cell in cells)
        return
    written = export_peft(opened, folder / "peft")
    plain = transformer_in(autopeft.model_for(plan))
    other = headed(plan, PeftModel.from_pretrained(plain, folder / "peft"), written.head)
    assert_close(in_order(other, family), scores)
    verified(plan, folder / "peft")


def in_order(model, family):
    """Return the scores of the tokens that were given; peft scores prompts too."""
    inputs = {name: value for name, value in batch_for(family).items() if name != "labels"}
    if plans.kind_of(family) != "causal_lm":
        return logits_of(model, family)
    with torch.no_grad():
        found = model.eval()(**inputs).logits
    mask = inputs["attention_mask"].bool()
    return found[:, -mask.shape[1] :][mask]


def headed(plan, backbone, head):
    """Put a backbone under the plan's own head, where it has one."""
    if plan.task.head == "lm":
        return backbone
    model = autopeft.model_for(plan)
    model.backbone = backbone
    model.load_state_dict(load_file(head), strict=False)
    return model


def assert_close(found, scores):
    """Sums in another order, in float32."""
    torch.testing.assert_close(found, scores, rtol=1e-3, atol=1e-4 * float(scores.abs().max()))
