"""A model in which it is known which cells can do anything, to test searches for structures.

Of four blocks two have an attention whose output is multiplied by zero: whatever LoRA learns at
their query, key or value makes no difference. The budget is that of the cells of the two others, so
of 924 structures that fill it one is the best, and every other one has cells that do nothing.
"""

from dataclasses import replace
from typing import Any

import pytest
import torch

from autopeft.budget import Budget
from autopeft.evaluators.gated import GatedStructures
from autopeft.search_spaces.written.reading import parse_space
from autopeft.study import Study
from tests.models import Bench, opinions, recipe_of, save_tiny, study_on, write_rows

DEAD = (0, 2)
CELLS = """
name: cells
groups: [{slots: [lora@attention.query, lora@attention.key, lora@attention.value], sizes: [0, 2]}]
"""


class PlantedOptimumContract:
    """What a strategy that searches for a structure promises; a subclass names it.

    Told nothing, it proposes the only structure first that spends nothing on what cannot learn.
    """

    NAME: str
    STRATEGY: type[Any]

    @pytest.fixture(scope="class")
    @classmethod
    def planted(cls, tmp_path_factory: Any) -> tuple[Bench, Study]:
        folder = tmp_path_factory.mktemp("planted")
        data = write_rows(folder / "data.csv", opinions(160))
        model = save_tiny(folder / "model", num_hidden_layers=4)
        bench = Bench(model, data)
        with torch.no_grad():
            for block in DEAD:
                bench.trainer.blocks[block].attention.output.dense.weight.zero_()
        study = study_on(str(model), data, recipe_of(epochs=8))
        space = parse_space(CELLS, "cells.yaml").on(study.backbone)
        half = space.largest().parameters(space.slots) // 2
        return bench, replace(study, strategy=cls.NAME, space=space, budget=Budget.parse(str(half)))

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_of_924_structures_it_finds_the_one_without_a_cell_that_can_do_nothing(
        self, planted: tuple[Bench, Study], tmp_path: Any, seed: int
    ) -> None:
        bench, study = planted
        options = {"steps": "20"} | ({"prune_steps": "10"} if self.NAME == "bipeft" else {})
        study = replace(study, seed=seed, options=options)
        structures = GatedStructures(study, tmp_path, threads=1, trainer=lambda: bench.trainer)

        first = self.STRATEGY(study, structures).ask()

        taken = [sum(map(bool, row)) for row in first.configuration.sizes]
        assert taken == [0 if block in DEAD else 3 for block in range(4)]
