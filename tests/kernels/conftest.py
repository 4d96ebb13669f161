"""Cases of the benchmarks are tested on a GPU too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
