"""What was trained is saved and loaded, for every method, and refused where it does not fit."""

import pytest
import torch
from safetensors.torch import load_file, save_file

import autopeft
from autopeft.errors import PlanError
from autopeft.search_spaces.catalog import METHODS, slots_of
from autopeft.production.applying import applied
from tests.models import save_tiny
from tests.production.plans import LORA, logits_of, plan_for, plan_on, trained

PARTNERS = {"gate": {"lora@attention.query": 2}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(save_tiny(tmp_path_factory.mktemp("models") / "bert"))


def sizes_of(method, model):
    """One slot of a method, with what it needs beside it."""
    slots = slots_of(plan_for(model, LORA, "classification").backbone)
    slot = next(slot for slot in slots if slot.method == method)
    needs = METHODS[method].needs
    size = 1 if slot.most == 1 else 2
    if not needs:
        return {slot.name: min(size, slot.most or size)}
    slot = next(s for s in slots if s.method == method and any(n.endswith(f"@{s.place}") for n in needs))
    partner = next(n for n in sorted(needs) if n.endswith(f"@{slot.place}"))
    return {slot.name: 1, partner: 2}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_comes_back_with_equal_scores(method, model, tmp_path):
    """Applied, trained two steps, saved, and loaded into a fresh model."""
    plan = plan_for(model, sizes_of(method, model), "classification")
    one = trained(plan, "bert")

    autopeft.save(one, tmp_path)
    other = autopeft.load(autopeft.model_for(plan), tmp_path)

    before = logits_of(autopeft.model_for(plan), "bert")
    assert torch.equal(logits_of(other, "bert"), logits_of(one, "bert"))
    assert not torch.allclose(logits_of(one, "bert"), before, atol=1e-4)
