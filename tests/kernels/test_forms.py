"""The form of an operator follows from the device unless asked for, and nothing falls back."""

import pytest
import torch

from autopeft.errors import KernelError
from autopeft.kernels import forms
from autopeft.kernels.forms import check_operands, form_for, forms_on, in_autocast, using

HERE = torch.zeros(1)


class OnGpu:
    """A tensor of a machine with a GPU, as far as the choice looks at it."""

    device = torch.device("cuda", 0)


def test_a_processor_runs_the_eager_form():
    assert form_for(HERE) == "eager"


def test_a_gpu_runs_triton_where_it_is_installed():
    pytest.importorskip("triton")

    assert form_for(OnGpu()) == "triton"


def test_a_gpu_without_triton_is_refused(monkeypatch):
    monkeypatch.setattr(forms, "find_spec", lambda _: None)

    with pytest.raises(KernelError, match=r"run on cuda:0 through triton, which is not installed"):
        form_for(OnGpu())


def test_a_form_that_is_asked_for_ends_with_its_block():
    with using("naive"):
        assert form_for(HERE) == "naive"
        with using("eager"):
            assert form_for(HERE) == "eager"
        assert form_for(HERE) == "naive"
    assert form_for(HERE) == "eager"


def test_a_form_that_there_is_not_is_refused():
    with pytest.raises(KernelError, match="no form 'fast': ask for naive, eager, triton"):
        using("fast").__enter__()


def test_triton_is_refused_on_a_processor_where_it_does_not_interpret(monkeypatch):
    pytest.importorskip("triton")
    monkeypatch.setattr(forms, "_triton_interprets", lambda: False)

    with using("triton"), pytest.raises(KernelError, match="kernels cannot run on cpu: put the op"):
        form_for(HERE)


def test_a_form_that_is_asked_for_ends_with_an_error_too():
    with pytest.raises(ZeroDivisionError), using("naive"):
        1 / 0  # noqa: B018  # for the error
    assert form_for(HERE) == "eager"


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_form_of_every_operator_is_told(device):
    pytest.importorskip("triton")
    found = forms_on(device)

    assert {"lora_linear", "bottleneck", "prefix_attention", "scale_shift", "gated_sum"} <= {*found}
    assert set(found.values()) <= ({"triton"} if device == "cuda" else {"eager", "naive"})


def test_no_operator_runs_on_a_gpu_without_triton(monkeypatch):
    monkeypatch.setattr(forms, "find_spec", lambda _: None)

    assert set(forms_on("cuda").values()) == {None}


def test_operands_on_several_devices_are_named():
    with pytest.raises(KernelError, match="one device: x on cpu, weight on meta"):
        check_operands("some_operator", x=HERE, bias=None, weight=HERE.to("meta"))


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.complex64])
def test_operands_of_an_unknown_type_are_named(dtype):
    with pytest.raises(KernelError, match=f"some_operator cannot take x in {dtype}: its kernels"):
        check_operands("some_operator", weight=HERE, x=HERE.to(dtype))


@pytest.mark.parametrize(
    ("operand", "said"),
    [
        (HERE.to_sparse(), r"take x in torch\.sparse_coo: its kernels know dense memory"),
        (HERE.to("meta"), "take x on meta: it has a shape and no values"),
        (HERE[0], "take x without axes: it is a single number"),
    ],
)
def test_operands_that_are_no_numbers_in_memory_are_refused(operand, said):
    with pytest.raises(KernelError, match=f"some_operator cannot {said}"):
        check_operands("some_operator", x=operand)


def test_some_operands_may_be_a_single_number():
    check_operands("some_operator", ["gate"], x=HERE, gate=HERE[0])


def test_double_precision_is_for_processors():
    check_operands("some_operator", x=HERE.double(), weight=HERE.double())
    with using("triton"), pytest.raises(KernelError, match=r"cannot take x in torch\.float64"):
        check_operands("some_operator", x=HERE.double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_operands_of_the_three_types_go_together(dtype):
    check_operands("some_operator", x=HERE.to(dtype), weight=HERE, bias=None)


def test_autocast_decides_on_the_precision_inside_of_it_only():
    with torch.autocast("cpu", torch.bfloat16):
        assert in_autocast(HERE).dtype is torch.bfloat16
    assert in_autocast(HERE) is HERE
