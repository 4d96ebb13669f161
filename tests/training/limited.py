"""Trains under a limit of so many MiB; run as a process of its own.

That is two trials, or with ``supernet`` or ``gates`` some steps of these. Writes as JSON the states
of the trials, what was told, and the most MiB that the process ever had.
"""

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from autopeft import process

process.prepare()

import numpy as np  # noqa: E402  # libraries read the environment when they are loaded

from autopeft.search_spaces.written.reading import read_space  # noqa: E402
from autopeft.study import Study  # noqa: E402
from autopeft.supernet.elastic import Supernet  # noqa: E402
from autopeft.supernet.gating.differentiable import search_gates  # noqa: E402
from autopeft.supernet.gating.ground import Ground  # noqa: E402
from autopeft.supernet.gating.options import S3petOptions  # noqa: E402
from autopeft.supernet.training import Schedule, Training  # noqa: E402
from autopeft.training.room import Room  # noqa: E402
from autopeft.training.trainer import Trainer  # noqa: E402
from autopeft.wiring.sockets import evaluator_of  # noqa: E402
from tests.models import GOOD, PLAIN, recipe_of, save_tiny, study_on, table, trial_of, write_rows  # noqa: E402

WORDS = 500
CHANGES = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4}


def peak_mib() -> float:
    """Return the largest resident size of this process so far."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def of_supernet(study: Study, room: Room) -> tuple[list[str], Sequence[str]]:
    """Take three steps of a supernet."""
    trainer = opened(study, room)
    net = Supernet(trainer, study.space, study.ceiling, study.recipe, 0)
    *_, done = itertools.islice(Training(net, Schedule(trainings=20.0)).run(), 3)
    return [f"{done} steps"], room.told


def of_gates(study: Study, room: Room) -> tuple[list[str], Sequence[str]]:
    """Take three steps of a search with gates."""
    trainer = opened(study, room)
    space = read_space("s3pet").on(study.backbone)
    ground = Ground(
        trainer=trainer, space=space, ceiling=2000, recipe=study.recipe, seed=0, steps=3
    )
    *progress, _ = search_gates(ground, S3petOptions(order=1))
    return [f"{len(progress)} steps"], room.told


def opened(study: Study, room: Room) -> Trainer:
    """Load a study's model and data."""
    return Trainer.open(study.task, study.backbone, study.where, test=False, threads=1, room=room)


STEPS = {"supernet": of_supernet, "gates": of_gates}


def main() -> None:
    folder, limit, what = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
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
    if what in STEPS:
        states, told = STEPS[what](study, Room(limit * 2**20))
        sys.stdout.write(json.dumps({"states": states, "told": list(told), "peak": peak_mib()}))
        return
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
