"""A plan of a published configuration, without a study."""

from pathlib import Path

import pytest

from autopeft.plan import Plan
from autopeft.training.production import Outcome, train
from autopeft.wiring.named import plan_of
from autopeft.wiring.request import Request
from tests.kinds import write_pictures
from tests.models import opinions, save_tiny, write_rows


def plan(model: Path, data, **changes) -> Plan:
    usual = {
        "model": str(model), "data": data, "budget": "", "space": "", "strategy": "", "seed": 0,
        "epochs": 1, "finals": 0, "precision": "fp32",
    }  # fmt: skip
    return plan_of(Request(**(usual | changes)), "lora-r8-qv")


@pytest.mark.parametrize(("kind", "head"), [("classification", 2 * 25), ("image", 2 * 33)])
def test_of_two_towers_one_is_planned_and_trained(tmp_path, kind, head):
    """The head of CLIP is as wide as the tower that is used, 24 or 32."""
    image = kind == "image"
    data = (
        write_pictures(tmp_path / "images", 40)
        if image
        else write_rows(tmp_path / "data.csv", opinions(40))
    )
    made = plan(save_tiny(tmp_path / "model", "clip"), data)
    out = tmp_path / "out"
    out.mkdir()
    *_, outcome = train(made, made.where, out, seed=0, threads=1)

    assert Plan.from_json(made.to_json()) == made
    assert made.backbone.blocks == 2
    assert isinstance(outcome, Outcome)
    assert (outcome.parameters, outcome.head_parameters) == (made.parameters, head)
    assert made.head_parameters == head


def test_what_was_not_measured_is_not_stated(tmp_path):
    made = plan(
        save_tiny(tmp_path / "model"),
        write_rows(tmp_path / "data.csv", opinions(40)),
        rank_scaling="inverse",
    )

    assert (made.expected, made.scaffold_parameters) == (None, None)
    assert made.recipe.rank_scaling == "inverse"
    assert made.provenance.ceiling == made.parameters
