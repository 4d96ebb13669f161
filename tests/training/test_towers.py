"""Models of two towers, of which a task uses one."""

import pytest

from autopeft.training.shape import read_shape
from autopeft.training.towers import tower_of
from tests.models import save_tiny


@pytest.mark.parametrize(("kind", "used"), [("image", "vision"), ("classification", "text")])
def test_the_tower_that_sees_the_data_is_kept_with_rows_of_its_own(tmp_path, kind, used):
    both = read_shape(str(save_tiny(tmp_path, "clip")))

    one = tower_of(both, kind)

    assert [(stack.name, stack.first, stack.blocks) for stack in one.stacks] == [(used, 0, 2)]
    assert {site.stack for site in one.sites} == {used}
    assert all(0 <= site.blocks[0] < site.blocks[1] <= 2 for site in one.sites)
    query = next(site for site in one.sites if site.place == "attention.query")
    before = both.site(query.name)
    assert one.module_path(query, 1) == both.module_path(before, before.blocks[0] + 1)
    assert (one.parameters, one.digest) == (both.parameters, both.digest)


@pytest.mark.parametrize("family", ["bert", "t5", "clip_vision_model"])
def test_a_model_without_towers_is_kept_whole(tmp_path, family):
    whole = read_shape(str(save_tiny(tmp_path, family)))

    assert tower_of(whole, "classification") == whole
