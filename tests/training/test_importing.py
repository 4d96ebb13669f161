"""What is imported before there is a model to be loaded."""

import subprocess
import sys

import pytest

from tests.models import save_tiny

LOADING = """
import sys
from pathlib import Path
from autopeft.training.importing import import_all
import_all()
before = len(sys.modules)
from autopeft.training.model_files import find_model
from autopeft.training.pretrained import load_backbone
load_backbone(find_model(sys.argv[1]))
print(len(sys.modules) - before, before)
"""


@pytest.mark.slow
def test_loading_a_model_imports_little_more(tmp_path):
    """Nearly all of the time that a process needs to be warm has passed by then."""
    done = subprocess.run(
        [sys.executable, "-c", LOADING, str(save_tiny(tmp_path))],
        check=True,
        capture_output=True,
        text=True,
    )
    more, before = map(int, done.stdout.split())

    assert more < before / 10
