"""Open event streams on one server: its memory over minutes, its work while nothing happens.

    python benchmarks/streams.py                       # 1,000 streams for three minutes
    python benchmarks/streams.py --streams 200 --minutes 0.5
    python benchmarks/streams.py --store postgresql+psycopg://...

All follow one job. In each minute nothing happens in the first half, and one event a second in the
second half; each event has to reach every stream. At the end all close, and are counted again.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from service import JOB, Running, listening, running

from autopeft.service.event import Happening

_PATIENCE = 60.0


def until(condition: Callable[[], bool]) -> float:
    """Wait for something, and return how long that took."""
    began = time.monotonic()
    while not condition() and time.monotonic() - began < _PATIENCE:
        time.sleep(0.05)
    return time.monotonic() - began


def tell(service: Running, number: int) -> None:
    """Add an event to the job that all streams follow."""
    happening = Happening(kind="message", message=f"event {number}")
    service.service.jobs.change(JOB, lambda job: job, happening)


def minute(service: Running, told: list[int], streams: int, seconds: float) -> str:
    """Let half of the time pass without any event, and tell of one a second in the other half."""
    quiet, began = service.seconds, time.monotonic()
    time.sleep(seconds / 2)
    idle = (service.seconds - quiet) / (time.monotonic() - began)
    busy, before, began, slowest = service.seconds, told[0], time.monotonic(), 0.0
    count = max(1, int(seconds / 2))
    for number in range(count):
        wanted = before + (number + 1) * streams
        tell(service, number)
        slowest = max(slowest, until(lambda wanted=wanted: told[0] >= wanted))
        time.sleep(max(0.0, began + number + 1 - time.monotonic()))
    working = (service.seconds - busy) / (time.monotonic() - began)
    due, came = count * streams, told[0] - before
    return (
        f"| {service.resident:.0f} | {100 * idle:.1f} | {100 * working:.0f} | {due:,} | {came:,} | "
        f"{slowest:.2f} |"
    )


def main() -> None:
    """Print a row for each minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--store", help="a file, unless an address is given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running(options.store or str(folder / "store.db"), folder) as service:
            print(f"without streams: {service.resident:.0f} MB\n")
            with listening(service, options.streams) as told:
                # the two events that the job has are told to each stream first
                until(lambda: told[0] >= 2 * options.streams)
                print(f"{told[0]:,} told at first, {service.resident:.0f} MB\n")
                print("| MB | idle, % of a core | 1 event/s, % | events due | told | slowest, s |")
                print("| --: | --: | --: | --: | --: | --: |")
                left = options.minutes
                while left > 0:
                    seconds = 60 * min(1.0, left)
                    print(minute(service, told, options.streams, seconds), flush=True)
                    left -= 1
            time.sleep(1)
            print(f"\nafter they have closed: {service.resident:.0f} MB")


if __name__ == "__main__":
    main()
