"""What is counted beforehand is what a training comes to, as far as a limit relies on it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from autopeft.training.room import spare_of

pytestmark = pytest.mark.slow  # trains MiniLM on long texts, each time in a process of its own

SCRIPT = Path(__file__).parents[2] / "benchmarks/memory.py"


@pytest.mark.parametrize("what", ["LoRA", "full ffn"])
@pytest.mark.parametrize("at_once", [2, 12])
def test_a_training_comes_to_what_was_predicted_and_what_a_limit_spares(what, at_once):
    """Below is what operators take for themselves, for which a limit spares 300 MiB."""
    options = ["--of", what, "--at-once", str(at_once)]
    texts = ["--max-length", "384", "--times", "12", "--rows", "40"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options, *texts], stdout=subprocess.PIPE, check=True
    )
    found = json.loads(done.stdout)

    assert found["measured"] - found["predicted"] < spare_of(0)
    assert found["predicted"] < 1.2 * found["measured"]
