import time

from autopeft.training.hardware import bf16_speedup, this_hardware
from autopeft.wiring.request import fastest_precision


def test_the_machine_has_a_name_and_cores():
    found = this_hardware()

    assert found.processor
    assert found.cores >= 1


def test_the_speed_of_bf16_is_measured_once():
    """Some milliseconds, and then the same number without any."""
    found = bf16_speedup()
    began = time.perf_counter()

    assert bf16_speedup() == found > 0
    assert time.perf_counter() - began < 1e-3


def test_the_default_precision_goes_by_what_was_measured():
    assert fastest_precision() == ("bf16" if bf16_speedup() > 1.3 else "fp32")
