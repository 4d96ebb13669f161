"""Runs two trials under a limit of so many MiB; run as a process of its own.

Writes as JSON the states of the trials, what was told, and the most MiB that the process ever had.
"""

import json
import sys
from pathlib import Path

from autopeft import process

process.prepare()

import numpy as np  # noqa: E402  # libraries read the environment when they are loaded

from autopeft.wiring.sockets import evaluator_of  # noqa: E402
from tests.models import GOOD, PLAIN, recipe_of, save_tiny, study_on, table, trial_of, write_rows  # noqa: E402

WORDS = 500
CHANGES = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4}


def peak_mib() -> float:
    """Return the largest resident size of this process so far."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def main() -> None:
    folder, limit = Path(sys.argv[1]), int(sys.argv[2])
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(100):
        words = rng.choice((*PLAIN, *GOOD), size=rng.integers(WORDS // 2, WORDS))
        rows.append({"text": " ".join(words), "label": "good" if number % 2 else "bad"})
    model = save_tiny(folder / "model", max_position_embeddings=600, **CHANGES)
    study = study_on(
        str(model), write_rows(folder / "data.csv", rows), recipe_of(batch_size=32), max_length=512
    )
    evaluator = evaluator_of(study, 1, 1, memory=limit * 2**20)
    slots, states = study.space.slots, []
    for place in ("lora@attention.query", "serial_adapter@ffn.norm"):
        chosen = table(slots, study.backbone.blocks, {place: 4})
        *_, ended = evaluator.evaluate((trial_of(chosen, study.recipe),))
        states.append(str(ended.state))
    said = {"states": states, "told": list(evaluator.narrowed), "peak": peak_mib()}
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main()
