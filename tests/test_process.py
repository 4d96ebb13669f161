"""What a process keeps, by the C libraries' own count."""

import os
import subprocess
import sys

import pytest

_SHAPES = """
import ctypes, json, sys

class Counts(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc = ctypes.CDLL("libc.so.6")
libc.mallinfo2.restype = Counts

from autopeft import process
process.prepare()
import torch

def kept():
    return libc.mallinfo2().uordblks / 2**20

torch.set_num_threads(1)
weight_OI = torch.ones(256, 128, dtype=torch.bfloat16)
with torch.inference_mode():
    torch.ones(3, 128, dtype=torch.bfloat16) @ weight_OI.T
    before = kept()
    for tokens in range(100, 700):
        torch.ones(tokens, 128, dtype=torch.bfloat16) @ weight_OI.T
print(kept() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="counts by glibc")
def test_products_of_ever_new_shapes_do_not_add_up():
    """Six hundred compiled products would be about 200 MiB; as many as are kept are below 80."""
    clean = {n: v for n, v in os.environ.items() if not n.endswith("CACHE_CAPACITY")}
    done = subprocess.run(
        [sys.executable, "-c", _SHAPES], env=clean, capture_output=True, text=True, check=True
    )

    assert float(done.stdout) < 80


def test_what_a_user_has_set_is_left_alone(monkeypatch):
    from autopeft import process

    monkeypatch.setenv("LRU_CACHE_CAPACITY", "7")
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    process.prepare()

    assert os.environ["LRU_CACHE_CAPACITY"] == "7"
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "128"
