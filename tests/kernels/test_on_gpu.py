"""Every operator gives on a GPU what its definition gives in float64, with all gradients.

Written for a machine with a GPU, and never run on one so far: the machine that this was written on
has none. `tests/benchmarks/test_parity.py` runs the same comparison there, of the eager forms.
"""

import pytest
import torch
from parity import DTYPES, ODD, USUAL, differences

from autopeft.kernels.forms import form_for
from autopeft.kernels.tuning import FILE

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="needs a GPU that Triton knows, and torch sees none"
    ),
]


@pytest.fixture(autouse=True)
def _fresh_choices(tmp_path, monkeypatch):
    """Time the ways to cut a kernel anew: those that lose are run as well."""
    monkeypatch.setenv("AUTOPEFT_CACHE", str(tmp_path))


@pytest.fixture
def gpu():
    return torch.device("cuda", torch.cuda.current_device())


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", [*ODD, *USUAL], ids=lambda case: case.name)
def test_output_and_gradients_are_those_of_the_definition(case, dtype, gpu):
    assert form_for(torch.empty(0, device=gpu)) == "triton"
    assert differences(case, dtype, gpu) == []


def test_the_ways_that_were_chosen_are_kept(gpu, tmp_path):
    assert differences(USUAL[0], torch.bfloat16, gpu) == []
    assert (tmp_path / FILE).exists()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
@pytest.mark.parametrize("case", USUAL, ids=lambda case: case.name)
def test_operands_may_lie_on_a_gpu_that_is_not_the_current_one(case):
    with torch.cuda.device(0):
        assert differences(case, torch.bfloat16, torch.device("cuda", 1)) == []


@pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
def test_a_call_is_repeated_bit_for_bit(case, gpu):
    from parity import results

    first, second = (results(case.operator, case.operands(torch.bfloat16, gpu)) for _ in range(2))

    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("case", ODD, ids=lambda case: case.name)
def test_a_compiled_call_gives_the_same(case, gpu):
    operands = case.operands(torch.bfloat16, gpu)
    compiled = torch.compile(case.operator, fullgraph=True)

    torch.testing.assert_close(compiled(operands), case.operator(operands))
