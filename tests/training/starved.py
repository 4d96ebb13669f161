"""Trains with an address space too small for a batch; run as a process of its own.

Writes as JSON the losses of trainings: one of single examples to begin with, two under the limit,
and one without it; and what was told after each.
"""

import json
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from autopeft import process

process.prepare()

import numpy as np  # noqa: E402  # libraries read the environment when they are loaded
import torch  # noqa: E402

from autopeft.training.room import Room  # noqa: E402
from tests.models import GOOD, PLAIN, Bench, save_tiny, write_rows  # noqa: E402

SIZES = {"lora@attention.query": 2, "serial_adapter@ffn.norm": 2}
WORDS = 250


def bench(folder: Path) -> Bench:
    """Open a tiny model of some width on long texts."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(40):
        words = rng.choice((*PLAIN, *GOOD), size=WORDS - number)
        rows.append({"text": " ".join(words), "label": "good" if number % 2 else "bad"})
    model = save_tiny(
        folder / "model", hidden_size=256, intermediate_size=512, max_position_embeddings=300
    )
    return Bench(model, write_rows(folder / "data.csv", rows), max_length=WORDS)


@dataclass(frozen=True)
class Address:
    """The address space of this process."""

    status: Path = Path("/proc/self/statm")

    def allow(self, more: int) -> None:
        """Allow so many bytes more than there are."""
        now = int(self.status.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + more, resource.RLIM_INFINITY))

    def free(self) -> None:
        """Allow any."""
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)


def main() -> None:
    # oneDNN's compiled products, once refused the memory for their code, are never compiled again
    torch.backends.mkldnn.enabled = False
    found, address = bench(Path(sys.argv[1])), Address()
    batches = {"warm": 1, "first": 32, "second": 32, "plain": 32}
    said = {}
    for name, batch in batches.items():
        if name == "first":
            address.allow(int(sys.argv[2]))
        if name == "plain":
            address.free()
            found.trainer.room = Room()
        try:
            said[name] = found.run(SIZES, batch_size=batch).loss
        except Exception as error:  # what it is goes to the test
            said[name] = f"{type(error).__name__}: {error}"
        said[f"{name} told"] = list(found.trainer.room.told)
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main()
