"""The cost model counts what the definitions do, and bounds what is measured from below."""

import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from autopeft.kernels import cost
from autopeft.kernels.bottleneck import naive as bottleneck
from autopeft.kernels.cost import GPUS, Cost, Device, device_named, device_of
from autopeft.kernels.grouped_lora_linear import naive as grouped
from autopeft.kernels.lora_linear import naive as lora
from autopeft.kernels.prefix_attention import naive as attention

ROWS, INS, OUTS, RANK, HIDDEN = 12, 40, 24, 4, 8


def trained(*shape):
    return torch.randn(*shape, requires_grad=True)


def frozen(*shape):
    return torch.randn(*shape)


def counted(call):
    """Return the operations of the products in a call, and in its backward."""
    with FlopCounterMode(display=False) as forward:
        out = call()
    with FlopCounterMode(display=False) as backward:
        out.backward(torch.randn_like(out))
    return forward.get_total_flops(), backward.get_total_flops()


def size(*shapes, width=4):
    return width * sum(torch.Size(shape).numel() for shape in shapes)


@pytest.mark.parametrize("frozen_down", [False, True])
def test_lora_linear_counts_the_products_of_its_definition(frozen_down):
    down = (frozen if frozen_down else trained)(RANK, INS)
    call = (
        lora.lora_linear,
        trained(ROWS, INS),
        frozen(OUTS, INS),
        None,
        down,
        trained(RANK, OUTS),
        2.0,
    )
    found = cost.lora_linear(ROWS, INS, OUTS, RANK, width=4, frozen_down=frozen_down)

    assert (found.forward.flops, found.backward.flops) == counted(lambda: call[0](*call[1:]))


def test_lora_linear_moves_each_operand_once():
    """Forward x, W, D, U and y, and x Dᵀ for the backward; there also gradients in and out."""
    found = cost.lora_linear(ROWS, INS, OUTS, RANK, width=4)
    factors = size((RANK, INS), (RANK, OUTS))

    assert (
        found.forward.bytes == size((ROWS, INS), (OUTS, INS), (ROWS, OUTS), (ROWS, RANK)) + factors
    )
    assert (
        found.backward.bytes
        == size((ROWS, OUTS), (OUTS, INS), (ROWS, RANK), (ROWS, INS), (ROWS, INS)) + 2 * factors
    )


def test_a_ratio_moves_the_outputs_before_it_and_costs_no_products():
    """They are written forward and read backward, as the ratio is, whose gradient is written."""
    plain = cost.lora_linear(ROWS, INS, OUTS, RANK, width=2)
    found = cost.lora_linear(ROWS, INS, OUTS, RANK, width=2, ratio=True)
    outputs = size((ROWS, OUTS), width=2)

    assert found.forward.bytes - plain.forward.bytes == outputs + size((OUTS,))
    assert found.backward.bytes - plain.backward.bytes == outputs + 2 * size((OUTS,))
    assert found.both.flops == plain.both.flops


def test_halves_move_half_and_factors_stay_single():
    found = cost.lora_linear(ROWS, INS, OUTS, RANK, width=2, residual=True)
    streams = size((ROWS, INS), (OUTS, INS), (ROWS, OUTS), (ROWS, OUTS), (ROWS, RANK), width=2)

    assert found.forward.bytes == streams + size((RANK, INS), (RANK, OUTS))


def test_a_frozen_down_spares_the_backward_its_input_and_gradient():
    whole = cost.lora_linear(ROWS, INS, OUTS, RANK, width=4).backward
    found = cost.lora_linear(ROWS, INS, OUTS, RANK, width=4, frozen_down=True).backward

    assert whole.bytes - found.bytes == size((ROWS, INS), (RANK, INS))


def test_grouped_lora_linear_counts_the_products_of_its_definition():
    rows, ranks = (5, 3, 4), (4, 0, 2)
    operands = trained(12, INS), frozen(OUTS, INS), None, trained(6, INS), trained(6, OUTS)
    found = cost.grouped_lora_linear(rows, ranks, INS, OUTS, width=4)

    forward, backward = counted(
        lambda: grouped.grouped_lora_linear(*operands, (1.0, 1.0, 1.0), ranks, rows)
    )
    assert (found.forward.flops, found.backward.flops) == (forward, backward)


def test_bottleneck_counts_the_products_of_its_definition_and_the_first_one_again():
    operands = (
        trained(ROWS, INS),
        trained(HIDDEN, INS),
        trained(HIDDEN),
        trained(HIDDEN, OUTS),
        trained(OUTS),
    )
    found = cost.bottleneck(ROWS, INS, HIDDEN, OUTS, width=4)

    forward, backward = counted(lambda: bottleneck.bottleneck(*operands, 2.0))
    again = 2 * ROWS * INS * HIDDEN
    assert (found.forward.flops, found.backward.flops) == (forward, backward + again)
    assert found.forward.bytes == size(
        (ROWS, INS), (ROWS, OUTS), (HIDDEN, INS), (HIDDEN,), (HIDDEN, OUTS), (OUTS,)
    )


def test_a_norm_and_a_residual_are_traffic():
    plain = cost.bottleneck(ROWS, INS, HIDDEN, OUTS, width=2).forward
    found = cost.bottleneck(ROWS, INS, HIDDEN, OUTS, width=2, norm=True, residual=True).forward

    assert found.bytes - plain.bytes == size((INS,), (INS,)) + size((ROWS, OUTS), width=2)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_prefix_attention_counts_the_products_of_its_definition_and_the_scores_again(groups):
    shape = {"batch": 2, "heads": 4, "queries": 7, "keys": 9, "prefix": 3, "head": 8}
    query, key, value = trained(2, 4, 7, 8), trained(2, groups, 9, 8), trained(2, groups, 9, 8)
    prefix = trained(3, groups * 8), trained(3, groups * 8)
    found = cost.prefix_attention(**shape, key_heads=groups, width=4)

    forward, backward = counted(
        lambda: attention.prefix_attention(query, key, value, prefix, None, 1.0)
    )
    again = 2 * 2 * 4 * 7 * (9 + 3) * 8
    assert (found.forward.flops, found.backward.flops) == (forward, backward + again)
    operands = sum(x.nbytes for x in (query, key, value, *prefix))
    sums = size((2, 2, 4, 7))
    assert found.forward.bytes == operands + query.nbytes + sums
    assert found.backward.bytes == 2 * operands + 2 * query.nbytes + sums


def test_causal_attention_leaves_out_half_of_the_sequence_and_nothing_of_the_prefix():
    shape = {"batch": 1, "heads": 1, "key_heads": 1, "queries": 4, "keys": 4, "prefix": 2}
    found = cost.prefix_attention(**shape, head=8, width=4, causal=True).forward

    assert found.flops == 4 * (4 * 5 // 2 + 4 * 2) * 8


@pytest.mark.parametrize(("shift", "flops"), [(True, (2, 4)), (False, (1, 3))])
def test_scaling_is_traffic(shift, flops):
    found = cost.scale_shift(ROWS, OUTS, width=2, shift=shift)

    assert (found.forward.flops, found.backward.flops) == tuple(ROWS * OUTS * n for n in flops)
    assert found.forward.bytes == size((ROWS, OUTS), (ROWS, OUTS), width=2) + size((OUTS,)) * (
        1 + shift
    )
    assert found.backward.bytes == size(*[(ROWS, OUTS)] * 3, width=2) + size((OUTS,)) * (2 + shift)


def test_a_gated_sum_reads_every_stream_once():
    found = cost.gated_sum(ROWS, OUTS, 3, width=2, gates=3 * ROWS)

    assert found.forward.bytes == size(*[(ROWS, OUTS)] * 5, width=2) + size((3, ROWS))
    assert found.backward.bytes == size(*[(ROWS, OUTS)] * 7, width=2) + 2 * size((3, ROWS))
    assert found.both == found.forward + found.backward


def test_the_slower_of_products_and_traffic_bounds_the_time():
    device = Device(name="", flops={torch.float32: 100.0}, bandwidth=10.0)

    assert device.seconds(Cost(flops=1_000, bytes=20), torch.float32) == 10.0
    assert device.seconds(Cost(flops=1_000, bytes=200), torch.float32) == 20.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("AMD Instinct MI300X", "MI300X"),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_a_gpu_is_known_by_its_name(name, expected):
    found = device_named(name)

    assert (found and found.name) == expected


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.name)
def test_one_large_product_is_bound_by_arithmetic_and_one_of_few_rows_by_traffic(gpu):
    def bound_by_products(rows):
        found = cost.lora_linear(rows, 4096, 4096, 8, width=2).forward
        return gpu.seconds(found, torch.bfloat16) > found.bytes / gpu.bandwidth

    assert bound_by_products(8192)
    assert not bound_by_products(16)


def test_no_product_on_this_processor_is_much_faster_than_its_bound():
    """A bound of a processor is measured, and noise has a share in it: half is not to be had."""
    device = device_of(torch.device("cpu"))
    x_NI, weight_OI = torch.ones(512, 512), torch.ones(512, 512)
    began = time.perf_counter()
    x_NI @ weight_OI
    measured = time.perf_counter() - began

    flops = Cost(flops=2 * 512**3, bytes=0)
    assert device.seconds(flops, torch.float32) < 2 * measured
    assert "ms (at least" in device.beside(measured, flops, torch.float32)
